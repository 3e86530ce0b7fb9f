from __future__ import annotations

import io
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from identity_system import IdentityConfig, IdentitySystem
from signals import tone, tone_and_noise

import soundsieve
from soundsieve import audio
from soundsieve.errors import AudioError, ConfigError, QueryError, WeightsError
from soundsieve.presence import Finder
from soundsieve.query import Condition, Query
from soundsieve.separator import Separation, Separator, load
from soundsieve.systems.base import Estimate


@pytest.fixture
def sieve(identity: IdentitySystem) -> Separator:
    return Separator(identity)


def half() -> Separator:
    return Separator(IdentitySystem(IdentityConfig(gain=0.5)))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_length_channels_and_rate_are_restored(sieve: Separator, rate: int, channels: int) -> None:
    mixture = tone_and_noise(0.5, rate, channels)[:, :-1]
    out = sieve.separate(mixture, "a dog", sample_rate=rate)
    for part in (out.target, out.residual):
        assert part.shape == mixture.shape
        assert part.dtype == np.float32
    assert out.sample_rate == rate


@pytest.mark.parametrize("length", [1, 2, 3, 17, 1000])
def test_very_short_recordings(sieve: Separator, length: int) -> None:
    for rate in (8000, 16000, 96000):
        out = sieve.separate(np.full((2, length), 0.25, np.float32), "a dog", sample_rate=rate)
        assert out.target.shape == (2, length)


def test_minutes(sieve: Separator) -> None:
    mixture = tone(1000, 150.3, 8000)
    out = sieve.separate(mixture, "a dog", sample_rate=8000)
    assert np.abs(out.target - mixture).max() < 1e-4


def test_an_identity_network_at_the_same_rate_returns_the_recording(sieve: Separator) -> None:
    mixture = tone_and_noise(3.777, 16000, 2)
    out = sieve.separate(mixture, "a dog", sample_rate=16000)
    assert np.abs(out.target - mixture).max() < 1e-6


def test_what_lies_above_the_systems_rate_stays_in_the_residual(sieve: Separator) -> None:
    low, high = tone(1000, 0.5, 48000), tone(15000, 0.5, 48000)
    out = sieve.separate(low + high, "a dog", sample_rate=48000)
    assert np.abs(out.target - low).max() < 2e-3
    assert np.abs(out.residual - high).max() < 2e-3


def test_channels_are_separated_on_their_own() -> None:
    mixture = tone_and_noise(1.2, 16000, 2)
    both = half().separate(mixture, "a dog", sample_rate=16000).target
    alone = [half().separate(channel, "a dog", sample_rate=16000).target for channel in mixture]
    assert np.array_equal(both, np.stack(alone))


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("bits", [16, 24])
def test_parts_of_an_integer_recording_add_up_bit_for_bit(rate: int, bits: int) -> None:
    full = 2 ** (bits - 1)
    numbers = np.random.default_rng(0).integers(-full, full, (2, rate))
    mixture = (numbers / full).astype(np.float32)
    mixture[:, ::7] /= 2**9 if bits == 16 else 1  # very quiet samples too
    mixture = np.rint(mixture * full) / np.float32(full)
    for gain in (0.3, -0.7, 1.0):
        system = Separator(IdentitySystem(IdentityConfig(gain=gain)))
        out = system.separate(mixture.astype(np.float32), "a dog", sample_rate=rate)
        assert np.array_equal(out.target + out.residual, mixture)


def test_parts_of_a_float_recording_add_up_to_rounding() -> None:
    mixture = tone_and_noise(1, 44100, 2)
    out = half().separate(mixture, "a dog", sample_rate=44100)
    # One rounding in the difference and one in the sum, each half a unit in the last place of what is below 1.
    assert np.abs(out.target + out.residual - mixture).max() <= 2**-24


def test_a_quiet_integer_recording_keeps_a_fine_target() -> None:
    mixture = np.full((1, 16000), 3 / 2**15, np.float32)
    target = half().separate(mixture, "a dog", sample_rate=16000).target
    assert np.abs(target - 1.5 / 2**15).max() <= 2**-24


@pytest.mark.parametrize("rate", [16000, 44100])
def test_silence_in_silence_out(rate: int) -> None:
    class Hums(IdentitySystem):
        def forward(self, mixture: torch.Tensor, condition: object) -> torch.Tensor:
            return mixture + 0.1

    out = Separator(Hums()).separate(np.zeros((2, rate), np.float32), "a dog", sample_rate=rate)
    assert not out.target.any()
    assert not out.residual.any()
    assert out.presence == 0.0
    mixture = np.concatenate([tone(440, 1, rate), np.zeros((1, rate), np.float32)])
    out = Separator(Hums()).separate(mixture, "a dog", sample_rate=rate)
    assert out.target[0].any()
    assert not out.target[1].any()
    assert out.presence == pytest.approx(0.9)


def test_a_flat_array_gives_flat_answers(sieve: Separator) -> None:
    out = sieve.separate(tone_and_noise(0.3, 8000)[0], "a dog", sample_rate=8000)
    assert out.target.shape == out.residual.shape == (2400,)


def test_arrays_tensors_and_files_agree(tmp_path: Path) -> None:
    mixture = tone_and_noise(0.7, 22050, 2)
    audio.encode(tmp_path / "a.wav", mixture, 22050, subtype="FLOAT")
    answers = [
        half().separate(mixture, "a dog", sample_rate=22050),
        half().separate(mixture.astype(np.float64), "a dog", sample_rate=22050),
        half().separate(torch.from_numpy(mixture).requires_grad_(), "a dog", sample_rate=22050),
        half().separate(np.asfortranarray(mixture), "a dog", sample_rate=22050),
        half().separate(tmp_path / "a.wav", "a dog"),
        half().separate(str(tmp_path / "a.wav"), "a dog"),
    ]
    for out in answers:
        assert np.array_equal(out.target, answers[0].target)
        assert np.array_equal(out.residual, answers[0].residual)
        assert out.sample_rate == 22050


def test_other_floats_and_arrays_that_must_not_be_written(sieve: Separator) -> None:
    coarse = torch.from_numpy(tone_and_noise(0.3, 16000)).bfloat16()
    expected = sieve.separate(coarse.float(), "a dog", sample_rate=16000).target
    assert np.array_equal(sieve.separate(coarse, "a dog", sample_rate=16000).target, expected)
    assert np.array_equal(sieve.separate(coarse, "a dog", sample_rate=np.float64(16000)).target, expected)
    fixed = coarse.float().numpy()
    fixed.flags.writeable = False
    assert np.array_equal(sieve.separate(fixed, "a dog", sample_rate=16000).target, expected)


def test_the_callers_array_is_left_alone(sieve: Separator) -> None:
    mixture = tone_and_noise(0.3, 44100, 2)
    before = mixture.copy()
    out = sieve.separate(mixture, "a dog", sample_rate=44100)
    out.target[:] = 7
    out.residual[:] = 7
    assert np.array_equal(mixture, before)


@pytest.mark.parametrize("name", ["dog.wav", "sheep.flac", "knock.ogg", "whistle.mp3", "coin.opus"])
def test_real_recordings(clips: Path, name: str) -> None:
    mixture, rate = audio.decode(clips / name)
    out = half().separate(clips / name, "a dog")
    assert out.sample_rate == rate
    assert out.target.shape == mixture.shape
    assert np.abs(out.target + out.residual - mixture).max() <= 2**-24
    # Half of what fits below 8 kHz is in the target; nothing is louder than the recording.
    assert np.linalg.norm(out.target) <= 0.51 * np.linalg.norm(mixture)
    assert np.linalg.norm(out.target) >= 0.1 * np.linalg.norm(mixture)


def test_a_query_is_encoded_once(sieve: Separator, identity: IdentitySystem, clips: Path) -> None:
    mixture = tone_and_noise(3, 8000, 2)
    for _ in range(3):
        sieve.separate(mixture, "a dog", sample_rate=8000, like=clips / "dog.wav")
    assert len(identity.encoded) == 1
    sieve.separate(mixture, "a cat", sample_rate=8000)
    assert len(identity.encoded) == 2


def test_an_example_clip_that_changed_is_encoded_again(
    sieve: Separator, identity: IdentitySystem, tmp_path: Path
) -> None:
    for seconds in (0.1, 0.2):
        audio.encode(tmp_path / "a.wav", tone(440, seconds, 8000), 8000)
        sieve.separate(tone_and_noise(0.2, 8000), sample_rate=8000, like=tmp_path / "a.wav")
    samples = tone(440, 0.1, 8000)
    for _ in range(2):  # samples in memory may change in place
        sieve.separate(tone_and_noise(0.2, 8000), sample_rate=8000, like=(samples, 8000))
    assert len(identity.encoded) == 4


def test_the_system_gets_decoded_examples(sieve: Separator, identity: IdentitySystem, clips: Path) -> None:
    out = sieve.separate(
        tone_and_noise(0.2, 8000),
        "a dog",
        sample_rate=8000,
        exclude=["rain", "wind"],
        like=clips / "sheep.flac",
        unlike=[clips / "dog.wav", (tone(440, 0.1, 8000)[0], 8000)],
    )
    seen = identity.encoded[0]
    assert seen.text == ("a dog",)
    assert seen.exclude == ("rain", "wind")
    assert [(clip[0].shape, clip[1]) for clip in seen.like] == [((2, 17640), 22050)]
    assert [(clip[0].shape, clip[1]) for clip in seen.unlike] == [((1, 24000), 16000), ((1, 800), 8000)]
    assert out.query.like == (clips / "sheep.flac",)
    assert out.query.audio_weight == seen.audio_weight == 0.5


def test_the_weight_of_examples_reaches_the_system(sieve: Separator, identity: IdentitySystem, clips: Path) -> None:
    for weight in (0, 0.25, 0.25):
        out = sieve.separate(GOOD, "a dog", sample_rate=8000, like=clips / "dog.wav", audio_weight=weight)
        assert identity.encoded[-1].audio_weight == out.query.audio_weight == weight
    assert len(identity.encoded) == 2  # another weight is another question
    with pytest.raises(QueryError, match="not both"):
        sieve.separate(GOOD, sample_rate=8000, query=Query("a dog"), audio_weight=0.5)


def test_a_query_may_be_given_whole(sieve: Separator) -> None:
    query = Query("a dog", exclude="rain")
    assert sieve.separate(tone_and_noise(0.2, 8000), sample_rate=8000, query=query).query is query
    with pytest.raises(QueryError, match="not both"):
        sieve.separate(tone_and_noise(0.2, 8000), "a dog", sample_rate=8000, query=query)


def test_presence_is_the_largest_or_estimated() -> None:
    mixture = tone_and_noise(3, 16000, 2)
    assert half().separate(mixture, "a dog", sample_rate=16000).presence == pytest.approx(0.9)
    estimated = []
    for gain in (0.001, 0.1, 1.0):
        mute = Separator(IdentitySystem(IdentityConfig(presence=None, gain=gain)))
        estimated.append(mute.separate(mixture, "a dog", sample_rate=16000).presence)
    assert 0 < estimated[0] < 0.01 < estimated[1] < 0.2 < 0.6 < estimated[2] < 1


def test_save_writes_target_or_residual(tmp_path: Path) -> None:
    mixture = tone_and_noise(0.3, 44100, 2)
    out = half().separate(mixture, "a dog", sample_rate=44100)
    out.save(tmp_path / "target.wav", subtype="FLOAT")
    out.save(tmp_path / "rest.flac", part="residual", subtype="PCM_24")
    assert np.array_equal(audio.decode(tmp_path / "target.wav")[0], out.target)
    assert np.abs(audio.decode(tmp_path / "rest.flac")[0] - out.residual).max() <= 2**-23
    assert audio.probe(tmp_path / "rest.flac").sample_rate == 44100
    with pytest.raises(ConfigError, match="choose target or residual"):
        out.save(tmp_path / "x.wav", part="both")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "name", "kind"),
    [
        ("PCM_16", "wav", "PCM_16"),
        ("PCM_24", "flac", "PCM_24"),
        ("FLOAT", "wav", "FLOAT"),
        ("FLOAT", "flac", "PCM_24"),
        ("DOUBLE", "flac", "PCM_24"),
        ("PCM_U8", "wav", "PCM_16"),
        ("FLOAT", "ogg", "VORBIS"),
        (None, "wav", "FLOAT"),
        (None, "flac", "PCM_24"),
    ],
)
def test_files_are_as_fine_as_the_recording(tmp_path: Path, source: str | None, name: str, kind: str) -> None:
    samples = tone_and_noise(0.4, 16000, 2)
    if source is None:
        given: dict = {"mixture": samples, "sample_rate": 16000}
    else:
        audio.encode(tmp_path / "a.wav", samples, 16000, subtype=source)
        given = {"mixture": tmp_path / "a.wav"}
    third = Separator(IdentitySystem(IdentityConfig(gain=0.3)))
    third.extract_file(
        given.pop("mixture"), "a dog", target=tmp_path / f"t.{name}", residual=tmp_path / f"r.{name}", **given
    )
    out = third.separate(samples if source is None else tmp_path / "a.wav", "a dog", **given)
    out.save(tmp_path / f"st.{name}")
    out.save(tmp_path / f"sr.{name}", part="residual")
    for target, residual in (("t", "r"), ("st", "sr")):
        assert [audio.probe(tmp_path / f"{one}.{name}").subtype for one in (target, residual)] == [kind, kind]
        both = [audio.decode(tmp_path / f"{one}.{name}")[0] for one in (target, residual)]
        if kind in ("PCM_16", "PCM_24") and source == kind:
            assert np.array_equal(both[0] + both[1], audio.decode(tmp_path / "a.wav")[0])
        assert np.array_equal(both[0], audio.decode(tmp_path / f"t.{name}")[0])


def test_peaks_past_full_scale_stay(tmp_path: Path) -> None:
    loud = 3 * tone_and_noise(0.4, 16000) / np.abs(tone_and_noise(0.4, 16000)).max()
    audio.encode(tmp_path / "a.wav", loud, 16000, subtype="FLOAT")
    half().extract_file(tmp_path / "a.wav", "a dog", target=tmp_path / "t.wav", residual=tmp_path / "r.wav")
    both = sum(audio.decode(tmp_path / name)[0] for name in ("t.wav", "r.wav"))
    assert np.abs(both - loud).max() <= 2**-22


def test_what_an_answer_is_made_from_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    samples = tone_and_noise(0.2, 16000)
    for name in ("a.wav", "clip.wav"):
        audio.encode(name, samples, 16000)
    Path("link.wav").symlink_to("a.wav")
    before = Path("a.wav").read_bytes()
    for place in ("a.wav", "./a.wav", tmp_path / "a.wav", "link.wav", "clip.wav"):
        for part in ("target", "residual"):
            with pytest.raises(AudioError, match="is what the answer is made from"):
                half().extract_file("a.wav", "a dog", like="clip.wav", **{part: place})
    with audio.Reader("a.wav") as reader, pytest.raises(AudioError, match="is what the answer is made from"):
        half().extract_file(reader, "a dog", target="a.wav")
    with pytest.raises(ConfigError, match="both target and residual"):
        half().extract_file("a.wav", "a dog", target="b.wav", residual="./b.wav")
    assert Path("a.wav").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "clip.wav", "link.wav"]


def test_all_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio.encode(tmp_path / "a.wav", tone_and_noise(0.2, 16000), 16000)
    whole = audio.Writer._verify

    def failing(self: audio.Writer) -> None:
        whole(self)
        if failed is None or self.path.suffix == failed:
            raise OSError("no space left on device")

    monkeypatch.setattr(audio.Writer, "_verify", failing)
    for failed in (".wav", ".flac"):
        with pytest.raises(AudioError, match=re.escape(f"cannot write {tmp_path}/out{failed}")):
            half().extract_file(
                tmp_path / "a.wav", "a dog", target=tmp_path / "out.wav", residual=tmp_path / "out.flac"
            )
        assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_flat_answer_is_saved_too(tmp_path: Path) -> None:
    flat = np.zeros(100, np.float32)
    Separation(flat, flat, 8000, Query("a dog"), Finder(8000, 0.5)).save(tmp_path / "a.wav")
    assert audio.decode(tmp_path / "a.wav")[0].shape == (1, 100)


GOOD = np.zeros((1, 100), np.float32)


@pytest.mark.parametrize(
    ("mixture", "sample_rate", "message"),
    [
        (GOOD, None, "give sample_rate"),
        (GOOD, 0, "sample rate of 0"),
        (GOOD, -8000, "sample rate of -8000"),
        (GOOD, 44100.5, "sample rate of 44100.5"),
        (GOOD, True, "sample rate of True"),
        (GOOD, "abc", "sample rate of 'abc'"),
        (GOOD, [1], "sample rate of [1]"),
        (GOOD, float("nan"), "sample rate of nan"),
        (GOOD, float("inf"), "sample rate of inf"),
        (GOOD, 50, "sample rate of 50: it is a whole number of Hz from 1000 to 1000000"),
        (GOOD, 10**12, "sample rate of 1000000000000"),
        (torch.zeros(1, 100).to_sparse(), 8000, "give a dense one"),
        (torch.zeros(1, 100, dtype=torch.int16), 8000, "int16 samples: give floats"),
        (torch.zeros(1, 100, device="meta"), 8000, "give a dense one"),
        (np.zeros((1, 0), np.float32), 8000, "holds no samples"),
        (np.zeros(0, np.float32), 8000, "holds no samples"),
        (np.zeros((1, 1, 100), np.float32), 8000, "give (C, T)"),
        (np.float32(3), 8000, "a path, bytes, an open binary file, a numpy array or a torch tensor; got float32"),
        (np.zeros((1, 100), np.int16), 8000, "int16 samples: give floats"),
        (np.zeros((1, 100), complex), 8000, "complex128 samples: give floats"),
        (np.zeros((8000, 2), np.float32), 8000, "8000 channels of 2 samples: channels come first"),
        (np.array([[0, np.nan]], np.float32), 8000, "not finite, the first at 0.000 s"),
        (np.array([[0, np.inf]], np.float32), 8000, "not finite"),
        (np.array([[0, 1e300]]), 8000, "not finite"),
        ([0.0, 1.0], 8000, "got float"),
        (None, 8000, "got NoneType"),
        ("missing.wav", None, "no file at missing.wav"),
        ("missing.wav", 8000, "a file knows its own"),
    ],
)
def test_recordings_that_cannot_be_used(sieve: Separator, mixture: object, sample_rate: object, message: str) -> None:
    with pytest.raises(AudioError, match=re.escape(message)):
        sieve.separate(mixture, "a dog", sample_rate=sample_rate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, QueryError, "nothing was asked"),
        ({"text": " "}, QueryError, "the text is empty"),
        ({"text": "rain", "exclude": "Rain"}, QueryError, "both wanted and excluded"),
        ({"like": "missing.wav"}, AudioError, "no file at missing.wav"),
        ({"like": (GOOD.astype(np.int16), 8000)}, AudioError, "an example clip has int16 samples"),
        ({"unlike": (GOOD * np.nan, 8000)}, AudioError, "an example clip is broken"),
        ({"text": "a dog", "audio_weight": -0.1}, QueryError, "audio_weight is -0.1: it lies between 0"),
        ({"text": "a dog", "segment_s": -1.0}, ConfigError, "segment_s is -1.0"),
        ({"text": "a dog", "overlap": 2.0}, ConfigError, "overlap is 2.0"),
        ({"text": "a dog", "batch": 0}, ConfigError, "batch is 0"),
        ({"text": "a dog", "batch": 2.5}, ConfigError, "batch is 2.5"),
        ({"text": "a dog", "overlap": "a"}, ConfigError, "overlap is 'a'"),
        ({"text": "a dog", "segment_s": "5"}, ConfigError, "segment_s is '5'"),
        ({"text": "a dog", "threshold": "x"}, ConfigError, "threshold is 'x'"),
    ],
)
def test_questions_that_cannot_be_answered(
    sieve: Separator, options: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sieve.separate(GOOD, sample_rate=8000, **options)


def test_a_system_says_what_it_takes() -> None:
    deaf = Separator(IdentitySystem(IdentityConfig(queries=("text",))))
    with pytest.raises(
        QueryError, match=re.escape("identity does not take example clips (like, unlike); it takes text")
    ):
        deaf.separate(GOOD, sample_rate=8000, like=(GOOD, 8000))


def test_an_unknown_device_is_not_replaced(identity: IdentitySystem) -> None:
    with pytest.raises(ConfigError, match="device 'gramophone' cannot be used"):
        Separator(identity, "gramophone")
    with pytest.raises(ConfigError, match="device 'gramophone' cannot be used"):
        load("debug", "gramophone")


def test_load_takes_names_and_paths(identity_file: str) -> None:
    assert isinstance(load(identity_file).system, IdentitySystem)
    assert isinstance(load(Path(identity_file)).system, IdentitySystem)
    with pytest.raises(WeightsError, match=re.escape("no model 'nonesuch'; known: starter, debug, clapsep, ")):
        load("nonesuch")
    with pytest.raises(WeightsError, match=r"no weights at none\.safetensors"):
        load("none.safetensors")


def test_the_debug_model_answers_and_repeats_itself() -> None:
    mixture = tone_and_noise(1.3, 44100, 2)
    first, second = (
        soundsieve.load("debug").separate(mixture, "a dog", sample_rate=44100, exclude="rain") for _ in range(2)
    )
    assert first.target.shape == mixture.shape
    assert np.array_equal(first.target, second.target)
    assert first.presence == second.presence
    assert first.presence is not None
    assert 0 <= first.presence <= 1


# Anything in


def test_one_recording_in_every_form(tmp_path: Path) -> None:
    mixture = tone_and_noise(0.7, 22050, 2)
    path = tmp_path / "a.wav"
    audio.encode(path, mixture, 22050, subtype="FLOAT")
    expected = half().separate(mixture, "a dog", sample_rate=22050)
    with path.open("rb") as file, audio.Reader(path) as reader:
        forms: list = [
            path,
            str(path),
            path.read_bytes(),
            bytearray(path.read_bytes()),
            io.BytesIO(path.read_bytes()),
            file,
        ]
        for form in forms:
            out = half().separate(form, "a dog")
            assert np.array_equal(out.target, expected.target)
            assert out.sample_rate == 22050
        stream = half().separate_stream(reader, "a dog")
        assert np.array_equal(np.concatenate([block.target for block in stream], 1), expected.target)
        assert reader.read(0, 1).shape == (2, 1)  # left open
    with pytest.raises(AudioError, match="a file knows its own"):
        half().separate(b"RIFF", "a dog", sample_rate=8000)
    with pytest.raises(AudioError, match="not a recording"):
        half().separate(b"no sound at all", "a dog")


def test_a_list_gives_a_list(sieve: Separator, identity: IdentitySystem, clips: Path) -> None:
    seen: list[float] = []
    answers = sieve.separate([clips / "dog.wav", (clips / "sheep.flac").read_bytes()], "a dog", progress=seen.append)
    assert [out.sample_rate for out in answers] == [16000, 22050]
    assert np.array_equal(answers[0].target, sieve.separate(clips / "dog.wav", "a dog").target)
    assert len(identity.encoded) == 1
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert sieve.separate([], "a dog") == []
    arrays = sieve.separate([GOOD, torch.zeros(7)], "a dog", sample_rate=8000)
    assert [out.target.shape for out in arrays] == [(1, 100), (7,)]


def test_what_cannot_be_asked_is_said_before_the_recording_is_read(sieve: Separator) -> None:
    with pytest.raises(QueryError, match="nothing was asked"):
        sieve.separate("missing.wav")
    with pytest.raises(QueryError, match="nothing was asked"):
        sieve.separate_stream("missing.wav")
    with pytest.raises(QueryError, match="nothing was asked"):
        sieve.split("missing.wav", [])
    with pytest.raises(TypeError, match="unexpected keyword argument 'words'"):
        sieve.separate_stream(GOOD, words="a dog")  # type: ignore[call-arg]


# Block by block


def test_a_stream_is_the_separation_in_parts(tmp_path: Path) -> None:
    mixture = tone_and_noise(7.3, 44100, 2)
    audio.encode(tmp_path / "a.wav", mixture, 44100, subtype="FLOAT")
    whole = half().separate(mixture, "a dog", sample_rate=44100)
    seen: list[float] = []
    stream = half().separate_stream(tmp_path / "a.wav", "a dog", progress=seen.append)
    assert (stream.sample_rate, stream.channels, stream.samples) == (44100, 2, mixture.shape[1])
    blocks = list(stream)
    assert len(blocks) > 3
    assert np.array_equal(np.concatenate([block.target for block in blocks], 1), whole.target)
    assert np.array_equal(np.concatenate([block.residual for block in blocks], 1), whole.residual)
    assert stream.presences == (whole.presence,)
    assert stream.spans == (whole.spans,)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_stream_may_be_left_early(tmp_path: Path) -> None:
    audio.encode(tmp_path / "a.wav", tone_and_noise(5, 8000), 8000)
    with half().separate_stream(tmp_path / "a.wav", "a dog") as stream:
        next(stream)
    assert list(stream) == []


def test_a_recording_that_breaks_half_way_closes_the_stream(tmp_path: Path) -> None:
    samples = tone_and_noise(20, 8000)
    samples[0, 100000] = np.nan
    import soundfile

    soundfile.write(tmp_path / "a.wav", samples.T, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match=re.escape("not finite, the first at 12.500 s")):
        list(half().separate_stream(tmp_path / "a.wav", "a dog"))
    with pytest.raises(AudioError, match="not finite"):
        half().extract_file(tmp_path / "a.wav", "a dog", target=tmp_path / "b.wav", residual=tmp_path / "c.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_from_disk_to_disk(tmp_path: Path, subtype: str) -> None:
    mixture = tone_and_noise(3.3, 44100, 2)
    audio.encode(tmp_path / "a.wav", mixture, 44100, subtype=subtype)
    whole = half().separate(tmp_path / "a.wav", "a dog")
    done = half().extract_file(
        tmp_path / "a.wav", "a dog", target=tmp_path / "t.wav", residual=tmp_path / "r.wav", subtype="FLOAT"
    )
    target, residual = (audio.decode(tmp_path / name)[0] for name in ("t.wav", "r.wav"))
    assert np.array_equal(target, whole.target)
    assert np.array_equal(residual, whole.residual)
    assert done.target is not None
    assert done.target.path == tmp_path / "t.wav"
    assert (done.samples, done.sample_rate, done.presence) == (mixture.shape[1], 44100, whole.presence)
    assert done.spans == whole.spans
    nothing = half().extract_file(tmp_path / "a.wav", "a dog")
    assert nothing.target is nothing.residual is None


# Several sounds


@pytest.mark.parametrize("rate", [16000, 44100])
def test_splits_add_up(rate: int, tmp_path: Path) -> None:
    mixture = np.rint(tone_and_noise(2.2, rate, 2) * 2**15).astype(np.float32) / 2**15
    gains = Separator(IdentitySystem(IdentityConfig(gain=0.7)))
    splits = gains.split(mixture, ["a dog", Query("rain")], sample_rate=rate)
    assert [query.text for query in splits.queries] == [("a dog",), ("rain",)]
    assert np.array_equal(sum(splits.targets) + splits.rest, mixture)
    if rate == 16000:  # each claims 0.7 of everything: they get a half
        assert all(np.abs(target - mixture / 2).max() < 1e-4 for target in splits.targets)
    one = gains.split(mixture, "a dog", sample_rate=rate)
    assert np.array_equal(one.targets[0], gains.separate(mixture, "a dog", sample_rate=rate).target)
    flat = gains.split(mixture[0], ["a dog", "rain"], sample_rate=rate)
    assert flat.rest.shape == mixture[0].shape
    audio.encode(tmp_path / "a.wav", mixture, rate)
    parts = list(gains.split_stream(tmp_path / "a.wav", ["a dog", "rain"]))
    assert np.array_equal(np.concatenate([part.residual for part in parts], 1), splits.rest)


class Axes(IdentitySystem):
    """Every word has an axis of its own; remembers what it is asked."""

    def encode_query(self, query: Query) -> Condition:
        axes = torch.eye(4)[["dog", "hound", "rain", "wind"].index(query.text[0])][None]
        wanted = torch.eye(4)[:1] if query.text[0] == "hound" else axes  # the same thing as a dog
        return Condition(wanted, torch.eye(4)[3:] if query.exclude else torch.zeros(1, 4))

    def estimate_many(self, mixture: torch.Tensor, conditions: Sequence[Condition]) -> list[Estimate]:
        self.asked = [(c.positive[0].tolist(), (c.negative[0] > 0).tolist()) for c in conditions]
        return super().estimate_many(mixture, conditions)


def test_splits_exclude_each_other() -> None:
    system = Axes()
    Separator(system).split(GOOD, ["dog", "hound", Query("rain", exclude="noise")], sample_rate=8000)
    assert system.asked == [
        ([1, 0, 0, 0], [False, False, True, False]),
        ([1, 0, 0, 0], [False, False, True, False]),
        ([0, 0, 1, 0], [True, False, False, True]),
    ]
    Separator(system).split(GOOD, ["dog", "hound"], sample_rate=8000)
    assert system.asked == [([1, 0, 0, 0], [False] * 4)] * 2
    only_words = Axes(IdentityConfig(queries=("text",)))
    Separator(only_words).split(GOOD, ["dog", "rain"], sample_rate=8000)
    assert [negative for _, negative in only_words.asked] == [[False] * 4] * 2


# Moments of the recording itself


def test_moments_of_the_recording_are_examples(identity: IdentitySystem, tmp_path: Path) -> None:
    mixture = tone_and_noise(2, 16000, 2)
    audio.encode(tmp_path / "a.wav", mixture, 16000, subtype="FLOAT")
    sieve = Separator(identity)
    sieve.separate(tmp_path / "a.wav", like_spans=[(0.5, 0.75)], unlike_spans=[(1, 1.5), (0, 0.1)])
    sieve.separate(mixture, query=Query("a dog"), sample_rate=16000, like_spans=[(0.5, 0.75)])
    sieve.separate(mixture, like=[(mixture, 16000)], like_spans=[(0.5, 0.75)], sample_rate=16000)
    from_file, with_words, with_clip = identity.encoded
    assert np.array_equal(from_file.like[0][0], mixture[:, 8000:12000])
    assert [clip[0].shape[1] for clip in from_file.unlike] == [8000, 1600]
    assert with_words.text == ("a dog",)
    assert np.array_equal(with_words.like[0][0], mixture[:, 8000:12000])
    assert len(with_clip.like) == 2


@pytest.mark.parametrize(
    ("moment", "error", "message"),
    [
        ((0.5, 0.5), QueryError, "ends after it starts"),
        ((-1, 0.5), QueryError, "starts at 0 or later"),
        ((0.5, float("nan")), QueryError, "ends after it starts"),
        (3, QueryError, "a moment of a recording is (start, end) in seconds"),
        ((1, 2, 3), QueryError, "a moment of a recording is (start, end)"),
        ((0.5, 1.5), AudioError, "lasts 1.000 s: there is no part from 0.500 to 1.500 s"),
    ],
)
def test_moments_that_are_none(
    sieve: Separator, tmp_path: Path, moment: object, error: type[Exception], message: str
) -> None:
    audio.encode(tmp_path / "a.wav", tone_and_noise(1, 8000), 8000)
    for mixture, rate in ((tone_and_noise(1, 8000), 8000), (tmp_path / "a.wav", None)):
        with pytest.raises(error, match=re.escape(message)):
            sieve.separate(mixture, sample_rate=rate, like_spans=[moment])  # type: ignore[list-item]


# Threads


def test_threads_do_not_meet() -> None:
    """Two threads on one Separator give the same answers as one after the other."""
    mixtures = [tone_and_noise(1.5, rate, 2, seed) for seed, rate in enumerate((16000, 44100, 32000, 8000))]
    rates = (16000, 44100, 32000, 8000)
    asked = ["a dog", "rain", "a cat", "a dog"]
    separator = load("debug")

    def answer(index: int) -> np.ndarray:
        return separator.separate(mixtures[index], asked[index], sample_rate=rates[index]).target

    one_by_one = [answer(index) for index in range(4)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(answer, [0, 1, 2, 3] * 3))
    for index, target in enumerate(together):
        assert np.array_equal(target, one_by_one[index % 4])


def test_what_lies_above_the_systems_rate_is_in_the_residual_of_the_starter() -> None:
    low, high = tone(500, 1.5, 96000), tone(30000, 1.5, 96000)
    out = load("starter").separate(low + high, "a flute", sample_rate=96000)
    spectrum = np.abs(np.fft.rfft(np.stack([out.target[0], out.residual[0], high[0]])))
    above = spectrum[:, int(1.5 * 17000) :]
    assert np.square(above[0]).sum() < 1e-8 * np.square(above[2]).sum()
    assert np.abs(above[1] - above[2]).max() < 1e-3 * above[2].max()
