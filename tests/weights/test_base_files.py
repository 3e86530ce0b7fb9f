"""Base size, from files as they are published to the answer: made-up weights, converted by the command, against what
the published implementation computed from the same weights.
"""

from __future__ import annotations

import csv
import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_weights import drawn, rng, signal, unit
from torch import Tensor

import soundsieve
from soundsieve.cli.main import main
from soundsieve.encoders.clap import CLAPConfig
from soundsieve.query import Condition
from soundsieve.systems.clapsep import CLAPSep
from soundsieve.weights.layouts.clap import tower_constants

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data" / "clapsep"
MEASURED = np.load(DATA / "vectors.npz")
WAVEFORM = 1e-5
"""Of the waveform's peak; another order of summation makes 6e-7."""


def rows() -> list[dict[str, str]]:
    with (DATA / "keys.csv").open() as file:
        return list(csv.DictReader(file))


def shape_of(row: dict[str, str]) -> tuple[int, ...]:
    return () if row["shape"] == "scalar" else tuple(map(int, row["shape"].split("x")))


def constant(key: str, shape: tuple[int, ...], constants: dict[str, Tensor]) -> Tensor:
    """What is not drawn: as computed here, or a counter's zero."""
    name = key.split("audio_branch.")[-1]
    return constants[name].clone() if name in constants else torch.zeros(shape, dtype=torch.int64)


def write_clap(path: Path) -> None:
    """All 505 entries, in the outer table of LAION's training."""
    constants = tower_constants(CLAPConfig().audio)
    state: OrderedDict[str, Tensor] = OrderedDict()
    for row in rows():
        key = row["key"].replace("clap_model.model.", "module.")
        if key != row["key"]:
            shape = shape_of(row)
            state[key] = constant(key, shape, constants) if row["kind"] == "computed" else drawn(key, shape)
    state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    assert len(state) == 505
    optimizer = {"state": {}, "param_groups": [{"lr": np.float64(1e-4), "params": [0]}]}
    torch.save({"epoch": 15, "name": "made-up", "optimizer": optimizer, "state_dict": state}, path)


def write_slim(path: Path) -> None:
    """The 264 entries, and the 36 of the frozen CLAP that come along by their name."""
    index = next(iter(t for key, t in tower_constants(CLAPConfig().audio).items() if key.endswith("position_index")))
    state = {}
    for row in rows():
        key, shape = row["key"], shape_of(row)
        if row["in_small_file"] == "maybe":
            state[key] = drawn(key.replace("clap_model.model.", "module."), shape)
        elif row["in_small_file"] == "yes" and row["kind"] == "computed":
            state[key] = index.clone() if shape else torch.tensor(0)
        elif row["in_small_file"] == "yes":
            state[key] = drawn(key, shape)
    assert len(state) == 300
    torch.save(state, path)


def write_tokenizer(path: Path) -> None:
    """As many tokens as RoBERTa's, each the decimal digits of its number."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {"<s>": 0, "<pad>": 1, "</s>": 2} | {str(i): i for i in range(3, 50265)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    path.write_text(tokenizer.to_str(), "utf-8")
    assert json.loads(path.read_text("utf-8"))["model"]["vocab"]["50264"] == 50264


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("published")
    write_clap(folder / "clap.pt")
    write_slim(folder / "best_model.ckpt")
    write_tokenizer(folder / "tokenizer.json")
    yield folder
    for path in folder.iterdir():  # gigabytes
        path.unlink()


def near(found: np.ndarray | Tensor, name: str, scale: float) -> None:
    difference = np.abs(np.asarray(found, dtype=np.float64) - MEASURED[name]).max()
    assert difference <= scale, f"{name}: {difference:.3g}"


@pytest.mark.parametrize("lora", ["merged", "kept"])
def test_converted_files_answer_as_the_published_implementation(folder: Path, lora: str) -> None:
    one = folder / f"{lora}.safetensors"
    weights = [str(folder / "best_model.ckpt"), "--clap", str(folder / "clap.pt")]
    with pytest.raises(SystemExit) as end:
        main(["convert", *weights, "--tokenizer", str(folder / "tokenizer.json"), "-o", str(one), "--lora", lora])
    assert not end.value.code
    separator = soundsieve.load(one)
    system, mixture = separator.system, signal("mix10", 320000, 32000)
    assert isinstance(system, CLAPSep)
    assert system.config.lora_rank == (0 if lora == "merged" else 16)

    words = {
        name: " ".join(map(str, rng(f"0:tokens:{name}").integers(4, 50260, size=n)))
        for name, n in (("pos", 11), ("neg", 6))
    }
    near(system.clap.embed_text([words["pos"], words["neg"]]).detach(), "text_query.embeds", 1e-5)
    target = separator.separate(mixture[0].numpy(), words["pos"], exclude=words["neg"], sample_rate=32000).target
    peak = WAVEFORM * float(MEASURED["text_query.pred.stats"][2])
    near(target[None, :2048], "text_query.pred.head", peak)
    near(target[None, -512:], "text_query.pred.tail", peak)
    near(target[None, ::61], "text_query.pred.stride61", peak)

    with torch.inference_mode():
        full = system(mixture, Condition(unit("pos", 512), unit("neg", 512)))
    near(full, "direct_posneg.pred.full", WAVEFORM * float(MEASURED["direct_posneg.pred.stats"][2]))
    one.unlink()


def test_the_files_themselves_answer_alike(folder: Path) -> None:
    """Without a conversion, and without a tokenizer: by an example clip."""
    separator = soundsieve.load(
        "clapsep", weights=folder / "best_model.ckpt", clap=folder / "clap.pt", tokenizer="none"
    )
    like, unlike = signal("query5", 240000, 48000, 330), signal("query8n", 384000, 48000, 110)
    clips = [(clip.numpy(), 48000) for clip in (like, unlike)]
    mixture = signal("mix10", 320000, 32000)[0].numpy()
    target = separator.separate(mixture, like=clips[0], unlike=clips[1], sample_rate=32000).target
    peak = WAVEFORM * float(MEASURED["audio_query.pred.stats"][2])
    near(target[None, :2048], "audio_query.pred.head", peak)
    near(target[None, ::61], "audio_query.pred.stride61", peak)
