from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from published_files import came_along, clap_entries, debug_system, whole_entries
from torch import Tensor

from soundsieve.errors import WeightsError
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights.layouts import clap as clap_layout
from soundsieve.weights.layouts.clap import clap_state, tower_constants
from soundsieve.weights.layouts.clapsep import clapsep_key, clapsep_state, is_trained, published_state

DATA = Path(__file__).parents[1] / "data" / "clapsep"
CONFIG = CLAPSepConfig.debug()


@pytest.fixture(scope="module")
def system() -> CLAPSep:
    return debug_system()


def slim(system: CLAPSep) -> dict[str, Tensor]:
    return dict(published_state(system.state_dict(), system.config))


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


# --- the key lists of the published files ---


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (DATA / "keys.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_published_entry_is_accounted_for(rows: list[dict[str, str]]) -> None:
    """At base size: what is read, computed or unused is exactly what the authors' training writes."""
    config = CLAPSepConfig.base()
    with torch.device("meta"):
        names = CLAPSep(config).state_dict()
    constants = tower_constants(config.clap.audio)
    unused = {f"clap_model.model.{key}" for key in (*clap_layout._TRANSFORMS, "logit_scale_t")}
    for branch in ("clap_model.model.audio_branch.", "audio_branch."):
        unused |= {branch + key for key in (*clap_layout._HEADS, *constants)}
    unused |= {f"decoder_model.layers.{k}.blocks.0.attn.relative_position_index" for k in range(4)}
    unused |= {"stft.conv_real.weight", "stft.conv_imag.weight"}
    unused |= {"istft.ola_window", "istft.conv_real.weight", "istft.conv_imag.weight"}
    read = {clapsep_key(name): "x".join(map(str, tensor.shape)) or "scalar" for name, tensor in names.items()}
    assert not unused & read.keys()
    assert unused | read.keys() == {row["key"] for row in rows}
    assert len(rows) == 1024
    for row in rows:
        if row["key"] in read:
            assert read[row["key"]] == row["shape"], row["key"]
            assert row["kind"] != "computed" or row["key"].endswith("num_batches_tracked")
    for key, tensor in constants.items():
        shape = next(row["shape"] for row in rows if row["key"] == f"audio_branch.{key}")
        assert "x".join(map(str, tensor.shape)) == shape


def test_the_slim_file_holds_what_is_listed(rows: list[dict[str, str]]) -> None:
    listed = {row["key"] for row in rows if row["in_small_file"] == "yes"}
    assert len(listed) == 264
    assert {row["key"] for row in rows if is_trained(row["key"])} == listed


def test_constants_are_those_of_a_plain_dft() -> None:
    real, imaginary = clap_layout.stft_basis(8)
    frame = torch.arange(8.0)
    window = torch.hann_window(8, periodic=True)
    spectrum = torch.fft.rfft(frame * window)
    torch.testing.assert_close(real[:, 0] @ frame, spectrum.real, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(imaginary[:, 0] @ frame, spectrum.imag, atol=1e-5, rtol=1e-5)


# --- there ---


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_clap_comes_back(system: CLAPSep, prefix: str) -> None:
    published = clap_entries(system, prefix=prefix)
    assert_same(clap_state(published, CONFIG.clap), system.clap.state_dict())
    for key in ("text_branch.embeddings.position_ids", "audio_branch.bn0.num_batches_tracked", "logit_scale_t"):
        del published[prefix + key]
    assert_same(clap_state(published, CONFIG.clap), system.clap.state_dict())


@pytest.mark.parametrize("extras", [True, False])
def test_the_slim_layout_comes_back(system: CLAPSep, extras: bool) -> None:
    published = slim(system) | (came_along(system) if extras else {})
    assert_same(clapsep_state(published, system.clap.state_dict(), CONFIG), system.state_dict())


def test_the_whole_layout_comes_back_and_equals_the_slim_one(system: CLAPSep) -> None:
    clap = clap_state(clap_entries(system), CONFIG.clap)
    expected = clapsep_state(slim(system), clap, CONFIG)
    assert_same(clapsep_state(whole_entries(system), None, CONFIG), expected)
    assert_same(clapsep_state(whole_entries(system), clap, CONFIG), expected)


def test_other_precisions_become_float32(system: CLAPSep) -> None:
    published = {key: t.double() if t.is_floating_point() else t for key, t in clap_entries(system).items()}
    assert_same(clap_state(published, CONFIG.clap), system.clap.state_dict())


# --- and back ---


def test_another_alpha_goes_into_the_factors(system: CLAPSep) -> None:
    louder = published_state(system.state_dict(), replace(CONFIG, lora_alpha=3.0))
    for key, tensor in slim(system).items():
        torch.testing.assert_close(louder[key], 3 * tensor if key.endswith("lora_B") else tensor)


def test_merged_factors_cannot_be_published(system: CLAPSep) -> None:
    with pytest.raises(WeightsError, match="its LoRA has been merged"):
        published_state(system.state_dict(), replace(CONFIG, lora_rank=0))


# --- what does not fit ---

QKV = "module.audio_branch.layers.0.blocks.0.attn.qkv.weight"
Change = Callable[[dict[str, Tensor]], None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop(QKV), rf"missing {re.escape(QKV[7:])}; unexpected none"),
        (lambda d: d.update({"module.more": torch.zeros(1)}), "missing none; unexpected more"),
        (lambda d: d.update({QKV: torch.zeros(2, 2)}), rf"{re.escape(QKV[7:])} has shape \(2, 2\), not \(24, 8\)"),
        (lambda d: d.update({QKV: d[QKV].long()}), r"attn.qkv.weight has torch.int64 values, not torch.float32"),
        (lambda d: d[QKV].view(-1)[0].fill_(torch.nan), "attn.qkv.weight has values that are not finite"),
        (lambda d: d["module.audio_branch.logmel_extractor.melW"].mul_(1.1), "melW is not what this system computes"),
        (
            lambda d: d["module.text_branch.embeddings.position_ids"].add_(1),
            "position_ids is not what this system computes",
        ),
        (
            lambda d: d["module.audio_branch.spectrogram_extractor.stft.conv_real.weight"].zero_(),
            "conv_real.weight is not what this system computes",
        ),
    ],
)
def test_a_clap_that_does_not_fit(system: CLAPSep, change: Change, message: str) -> None:
    published = clap_entries(system)
    change(published)
    with pytest.raises(WeightsError, match=message) as caught:
        clap_state(published, CONFIG.clap, what="x.pt")
    assert "x.pt" in str(caught.value)


def test_a_basis_of_either_sign_is_taken(system: CLAPSep) -> None:
    published = clap_entries(system)
    published["module.audio_branch.spectrogram_extractor.stft.conv_imag.weight"].neg_()
    clap_state(published, CONFIG.clap)


FILM = "decoder_model.film.norm.weight"
FROZEN = "clap_model.model.audio_branch.layers.0.blocks.0.attn.qkv.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop(FILM), f"missing {FILM}; unexpected none"),
        (lambda d: d.update({"audio_branch.norm.weight": torch.zeros(16)}), "unexpected audio_branch.norm.weight"),
        (lambda d: d.update({FILM: torch.zeros(3)}), rf"{FILM} has shape \(3,\), not \(16,\)"),
        (lambda d: d[FILM].fill_(torch.inf), f"{FILM} has values that are not finite"),
        (lambda d: d[FROZEN].add_(0.1), f"made with another CLAP than the one given: {FROZEN} differs"),
    ],
)
def test_a_slim_file_that_does_not_fit(system: CLAPSep, change: Change, message: str) -> None:
    published = {key: tensor.clone() for key, tensor in (slim(system) | came_along(system)).items()}
    change(published)
    with pytest.raises(WeightsError, match=message):
        clapsep_state(published, system.clap.state_dict(), CONFIG)


def test_a_slim_file_needs_a_clap(system: CLAPSep) -> None:
    with pytest.raises(WeightsError, match=r"x\.ckpt holds only what was trained: give the CLAP file"):
        clapsep_state(slim(system), None, CONFIG, what="x.ckpt")


def test_a_whole_file_with_another_clap_beside_it(system: CLAPSep) -> None:
    clap = {name: tensor.clone() for name, tensor in system.clap.state_dict().items()}
    clap["text_projection.0.bias"] += 1
    with pytest.raises(WeightsError, match=r"another CLAP than the one given beside it .*: text_projection\.0\.bias"):
        clapsep_state(whole_entries(system), clap, CONFIG)


def test_a_whole_file_that_lacks_some_of_its_clap(system: CLAPSep) -> None:
    published = whole_entries(system)
    del published["clap_model.model.text_projection.0.bias"]
    with pytest.raises(WeightsError, match=r"its CLAP does not fit: missing text_projection\.0\.bias"):
        clapsep_state(published, None, CONFIG)
    published = whole_entries(system)
    del published["audio_branch.norm.bias"]
    with pytest.raises(WeightsError, match=r"missing audio_branch\.norm\.bias"):
        clapsep_state(published, None, CONFIG)
