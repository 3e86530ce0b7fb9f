from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from published_files import as_debug, debug_system, laion_file
from signals import tone_and_noise

from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.errors import AudioError, ConfigError, QueryError, WeightsError
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.systems.lassnet import LASSNet, LASSNetConfig
from soundsieve.training.captions.encoders import CLAPEncoder, JointEncoder, SieveEncoder, load_encoder
from soundsieve.weights.checkpoint import save_system
from soundsieve.weights.clap import save_clap


@pytest.fixture(scope="module")
def clap_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clap") / "clap.safetensors"
    torch.manual_seed(0)
    save_clap(path, CLAP(CLAPConfig.debug()))
    return path


def test_a_sieve_says_of_clips_what_its_queries_say(encoder: JointEncoder) -> None:
    assert isinstance(encoder, SieveEncoder)
    samples = tone_and_noise(12.5, encoder.sample_rate, 1)  # a segment and a part of one
    wanted = encoder.sieve.embed_clips([(samples, encoder.sample_rate)])
    torch.testing.assert_close(encoder.embed_audio(torch.from_numpy(samples)), wanted)


def test_a_batch_is_its_clips_one_by_one(encoder: JointEncoder, clap_file: Path) -> None:
    for one in (encoder, load_encoder(clap_file)):
        clips = 0.1 * torch.randn(3, one.sample_rate, generator=torch.Generator().manual_seed(0))
        apart = torch.cat([one.embed_audio(clip[None]) for clip in clips])
        torch.testing.assert_close(one.embed_audio(clips), apart, atol=1e-5, rtol=0)
        assert apart.shape == (3, one.width)
        torch.testing.assert_close(apart.norm(dim=1), torch.ones(3))
        assert not apart.requires_grad


def test_a_silent_segment_does_not_count(encoder: JointEncoder) -> None:
    clip = 0.1 * torch.randn(1, 10 * encoder.sample_rate, generator=torch.Generator().manual_seed(0))
    followed = torch.cat([clip, torch.zeros_like(clip)], 1)
    torch.testing.assert_close(encoder.embed_audio(followed), encoder.embed_audio(clip))
    with pytest.raises(AudioError, match="silent"):
        encoder.embed_audio(torch.cat([clip, torch.zeros_like(clip)]))


def test_the_digest_is_that_of_the_towers_alone(encoder: JointEncoder) -> None:
    assert isinstance(encoder, SieveEncoder)
    again = load_encoder("debug")
    assert isinstance(again, SieveEncoder)
    assert again.digest == encoder.digest
    with torch.no_grad():
        again.sieve.reader.project.weight += 1
    assert SieveEncoder(again.sieve, "other").digest == encoder.digest
    with torch.no_grad():
        again.sieve.text.project.weight[0, 0] += 1e-3
    assert SieveEncoder(again.sieve, "other").digest != encoder.digest


def test_a_system_embeds_as_the_clap_in_it(clap_file: Path, tmp_path: Path) -> None:
    alone = load_encoder(clap_file)
    assert isinstance(alone, CLAPEncoder)
    assert (alone.name, alone.width, alone.sample_rate) == ("clap.safetensors", 16, 32000)
    system = CLAPSep(CLAPSepConfig.debug(), clap=alone.clap)
    save_system(tmp_path / "system.safetensors", system)
    inside = load_encoder(tmp_path / "system.safetensors")
    assert inside.digest == alone.digest
    assert torch.equal(inside.embed_text(["a dog"]), alone.embed_text(["a dog"]))


def test_the_clap_that_laion_published_embeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_debug(monkeypatch)
    system = debug_system()
    published = load_encoder(laion_file(tmp_path / "clap.pt", system), tokenizer="none")
    assert isinstance(published, CLAPEncoder)
    assert published.name == "clap.pt"
    clip = 0.1 * torch.randn(1, published.sample_rate, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(published.embed_audio(clip), system.clap.embed_audio(clip).detach())
    torch.testing.assert_close(published.embed_text(["a dog"]), system.clap.embed_text(["a dog"]).detach())


def test_other_weights_have_another_digest(clap_file: Path, tmp_path: Path) -> None:
    alone = load_encoder(clap_file)
    assert isinstance(alone, CLAPEncoder)
    changed = CLAP(replace(alone.clap.config, audio=replace(alone.clap.config.audio, fmin_hz=60.0)))
    changed.load_state_dict(alone.clap.state_dict(), strict=False)
    assert CLAPEncoder(changed, "changed").digest != alone.digest


def test_what_has_no_common_space_is_refused(tmp_path: Path) -> None:
    save_system(tmp_path / "lassnet.safetensors", LASSNet(LASSNetConfig.debug()))
    with pytest.raises(ConfigError, match="is a lassnet, in which captions and clips share no space: give a CLAP"):
        load_encoder(tmp_path / "lassnet.safetensors")


def test_bad_files_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights at nothing"):
        load_encoder("nothing.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0" + b'{"a":')
    with pytest.raises(WeightsError, match="is damaged"):
        load_encoder(tmp_path / "cut.safetensors")


def test_without_a_tokenizer_no_text_is_read(clap_file: Path) -> None:
    alone = load_encoder(clap_file)
    assert isinstance(alone, CLAPEncoder)
    alone.clap.tokenizer = None
    with pytest.raises(QueryError, match="has no tokenizer"):
        alone.check_text(["a dog"])


def test_texts_that_cannot_be_read_are_found_before_they_are_embedded(encoder: JointEncoder) -> None:
    encoder.check_text(["a dog", "a cat"])
    for text in ("日本", "", "x" * 100):
        with pytest.raises(QueryError):
            encoder.check_text(["a dog", text])
