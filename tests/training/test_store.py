"""Decoded clips: as decoded, found again, made anew when they change, whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
import toy_benchmark

from soundsieve import audio
from soundsieve.errors import AudioError
from soundsieve.evaluation.pairs import Clip, read_clips
from soundsieve.training.store import ClipStore, Ragged


def test_a_store_holds_what_was_decoded(corpus: Path, cache: Path) -> None:
    clips = read_clips(corpus)
    store = ClipStore(corpus.parent, clips, cache=cache)
    assert len(store) == 12
    for i, clip in enumerate(clips):
        np.testing.assert_allclose(store[i], toy_benchmark.sounds(clip.path).numpy(), atol=2 / 32767)
    assert np.array_equal(store.sounds(clips[5].path).numpy(), store[5])


def test_a_store_is_made_once_and_anew_when_a_clip_changes(tmp_path: Path) -> None:
    told: list[str] = []
    rng = np.random.default_rng(0)
    audio.encode(tmp_path / "a.wav", rng.uniform(-0.5, 0.5, (1, 800)).astype(np.float32), 32000)
    clips = [Clip("a.wav", "a", "An a.", "a")]

    def make() -> ClipStore:
        return ClipStore(tmp_path, clips, cache=tmp_path / "c", progress=lambda what, done, of: told.append(what))

    first = make()[0]
    assert told == ["decoding clips"]
    assert np.array_equal(make()[0], first)
    assert told == ["decoding clips"]
    audio.encode(tmp_path / "a.wav", rng.uniform(-0.5, 0.5, (1, 900)).astype(np.float32), 32000)
    assert len(make()[0]) == 900
    assert len(told) == 2


def test_the_store_resamples_and_mixes_down(tmp_path: Path) -> None:
    stereo = np.stack([np.full(4410, 0.5), np.full(4410, -0.1)]).astype(np.float32)
    audio.encode(tmp_path / "s.wav", stereo, 44100)
    store = ClipStore(tmp_path, [Clip("s.wav", "s", "An s.", "s")], cache=tmp_path / "c")
    assert len(store[0]) == 3200
    np.testing.assert_allclose(store[0][1000:2000], 0.2, atol=1e-3)


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav"):
        ClipStore(tmp_path, [Clip("gone.wav", "x", "An x.", "x")], cache=tmp_path)


def test_a_clip_that_nothing_can_be_made_of_is_named(corpus: Path, cache: Path) -> None:
    store = ClipStore(corpus.parent, read_clips(corpus), cache=cache)

    def refuse(samples: np.ndarray) -> np.ndarray:
        raise AudioError("a clip is silent")

    with pytest.raises(AudioError, match=rf"^{store.clips[0].path}: a clip is silent$"):
        store.derive("nothing", [], refuse)


def test_an_interrupted_store_is_not_taken_for_whole(tmp_path: Path) -> None:
    def arrays():
        yield np.zeros((3, 2), np.float16)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Ragged.make(tmp_path / "x.npy", arrays())
    assert list(tmp_path.iterdir()) == []


def test_ragged_arrays_come_back(tmp_path: Path) -> None:
    arrays = [np.arange(6).reshape(3, 2), np.zeros((0, 2), int), np.ones((1, 2), int)]
    store = Ragged.make(tmp_path / "x.npy", iter(arrays))
    assert len(store) == 3
    for i, array in enumerate(arrays):
        assert np.array_equal(store[i], array)


def test_two_runs_may_make_the_same_store_at_once(tmp_path: Path) -> None:
    def arrays(*, alone: bool):
        yield np.ones((3, 2), np.float16)
        if not alone:  # the other run begins later and ends earlier
            Ragged.make(tmp_path / "x.npy", arrays(alone=True))
        yield np.zeros((1, 2), np.float16)

    store = Ragged.make(tmp_path / "x.npy", arrays(alone=False))
    assert [view.tolist() for view in store] == [[[1, 1]] * 3, [[0, 0]]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "x.offsets.npy"]
