from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from studio_parts import GatedSystem, Studio, answered, samples, wav

from soundsieve.errors import AudioError, QueryError, SoundsieveError, WeightsError
from soundsieve.separator import Separator, load
from soundsieve.studio.engine import Engine, Job, Question
from soundsieve.studio.limits import BusyError, CancelledError, FullError, GoneError
from soundsieve.studio.store import Store


def until(happens: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_an_answer_is_a_track_that_adds_up(studio: Studio) -> None:
    engine = studio()
    recording = engine.store.add(wav(2.5, channels=2), "street.wav")
    track = answered(engine, recording.id, Question("a dog", ("rain",)))
    mixture = samples(recording.path)
    assert np.array_equal(samples(track.target_path) + samples(track.rest_path), mixture)
    assert np.allclose(samples(track.target_path), mixture / 2, atol=1e-3)
    assert (track.description, track.presence, track.found) == ("a dog without rain", pytest.approx(0.9), True)
    assert track.spans == ((0.0, 2.5),)
    assert track.command == "soundsieve extract 'a dog' street.wav --exclude rain"
    assert recording.tracks == {track.id: track}
    assert not list(recording.folder.glob("*.part*"))


def test_it_is_the_answer_that_a_separator_gives(clips: Path, tmp_path: Path) -> None:
    with Store(folder=tmp_path) as store:
        engine = Engine(store, "debug")
        recording = store.add(clips / "dog.wav", "dog.wav")
        example = store.add(clips / "knock.ogg", "knock.ogg")
        track = answered(engine, recording.id, Question("a dog", like=(example.id,), region=(0.1, 0.4)))
        expected = load("debug").separate(
            clips / "dog.wav", "a dog", like=str(clips / "knock.ogg"), like_spans=[(0.1, 0.4)], batch=1
        )
        assert np.array_equal(samples(track.target_path), expected.target)
        assert np.array_equal(samples(track.rest_path), expected.residual)
        engine.close()


def test_invert_swaps_what_is_wanted_and_the_rest(studio: Studio) -> None:
    engine = studio()
    recording = engine.store.add(wav(), "street.wav")
    plain, inverted = (answered(engine, recording.id, Question("a dog", invert=invert)) for invert in (False, True))
    assert np.array_equal(samples(plain.target_path), samples(inverted.rest_path))
    assert np.array_equal(samples(plain.rest_path), samples(inverted.target_path))
    assert inverted.description == "everything but a dog"


def test_what_is_to_be_known_of_the_rest_comes_along(studio: Studio, system: GatedSystem) -> None:
    engine = studio()
    recording = engine.store.add(wav(0.2), "street.wav")
    assert answered(engine, recording.id, Question("a dog")).warning is None
    system.aligned = False  # it makes its answers anew
    warning = answered(engine, recording.id, Question("rain")).warning
    assert warning == system.warning_of_rest
    assert "still holds the sound" in warning


def test_everything_but_something_is_neither_found_nor_missed(studio: Studio) -> None:
    engine = studio()
    track = answered(engine, engine.store.add(wav(), "street.wav").id, Question(exclude=("rain",)))
    assert (track.presence, track.found, track.spans) == (None, True, ())


def test_progress_goes_segment_by_segment(studio: Studio, system: GatedSystem) -> None:
    engine = studio()
    recording = engine.store.add(wav(20.0), "street.wav")
    system.open.clear()
    job = engine.submit(recording.id, Question("a dog"))
    seen = []
    while not job.ended.is_set():
        seen.append((job.progress, engine.words(job)))
        system.let_through.release()
        time.sleep(0.01)
    assert job.state == "done"
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert len({*fractions} - {0.0, 1.0}) >= 2
    assert any(words.startswith("listening: ") for _, words in seen)


def test_a_cancelled_question_lets_the_next_one_in_at_once(studio: Studio, system: GatedSystem) -> None:
    engine = studio()
    long, short = (engine.store.add(wav(length), "a.wav", owner=str(length)) for length in (60.0, 1.0))
    system.open.clear()
    first = engine.submit(long.id, Question("a dog"))
    second = engine.submit(short.id, Question("rain"))
    assert system.reached.acquire(timeout=20)
    assert (first.state, engine.words(second)) == ("working", "waiting: 1 question before this one")
    engine.cancel(first)
    for _ in range(12):  # a block of the recording is a few segments of this system; there are 60
        system.let_through.release()
    until(lambda: first.ended.is_set())
    assert first.state == "cancelled"
    until(lambda: second.state in ("working", "done"))
    system.open.set()
    assert second.ended.wait(20)
    assert second.state == "done"
    assert not list(long.folder.glob("*sound*")), "nothing half-written is left"
    with pytest.raises(CancelledError):
        first.result()


def test_a_waiting_question_is_cancelled_without_delay(studio: Studio, system: GatedSystem) -> None:
    engine = studio()
    recording = engine.store.add(wav(), "a.wav")
    system.open.clear()
    engine.submit(recording.id, Question("a dog"))
    assert system.reached.acquire(timeout=20)
    waiting = engine.submit(recording.id, Question("rain"))
    engine.cancel(waiting)
    assert waiting.state == "cancelled"
    assert engine.waiting == 0


def test_people_take_turns(studio: Studio, system: GatedSystem) -> None:
    engine = studio(max_waiting_each=3)
    mine, theirs = (engine.store.add(wav(0.2), "a.wav", owner=owner) for owner in ("me", "them"))
    system.open.clear()
    jobs: list[Job] = [engine.submit(mine.id, Question("a dog"))]
    assert system.reached.acquire(timeout=20)
    jobs += [engine.submit(mine.id, Question(f"a dog {i}")) for i in range(3)]
    with pytest.raises(BusyError, match="3 of your questions"):
        engine.submit(mine.id, Question("one more"))
    jobs.append(engine.submit(theirs.id, Question("rain")))
    assert [engine.before(job) for job in jobs] == [0, 2, 3, 4, 1]
    order: list[int] = []
    while len(order) < len(jobs):
        system.let_through.release()
        until(lambda: system.reached.acquire(blocking=False) or all(job.ended.is_set() for job in jobs))
        order += [number for number, job in enumerate(jobs) if job.ended.is_set() and number not in order]
    assert order == [0, 4, 1, 2, 3]


def test_a_recording_has_so_many_tracks(studio: Studio, system: GatedSystem) -> None:
    engine = studio(max_tracks=2)
    recording = engine.store.add(wav(0.2), "a.wav")
    track = answered(engine, recording.id, Question("a dog"))
    system.open.clear()
    job = engine.submit(recording.id, Question("rain"))
    with pytest.raises(FullError, match="2 tracks, the most there may be: remove one"):
        engine.submit(recording.id, Question("wind"))
    engine.store.drop_track(recording.id, track.id)
    assert not list(recording.folder.glob(f"{track.id}*"))
    system.open.set()
    assert job.ended.wait(20)
    answered(engine, recording.id, Question("wind"))


def test_a_recording_that_goes_takes_its_question_with_it(studio: Studio, system: GatedSystem) -> None:
    engine = studio()
    recording = engine.store.add(wav(20.0), "a.wav")
    system.open.clear()
    job = engine.submit(recording.id, Question("a dog"))
    assert system.reached.acquire(timeout=20)
    engine.store.drop(recording.id)
    system.open.set()
    assert job.ended.wait(20)
    assert isinstance(job.error, GoneError)
    until(lambda: not recording.folder.exists())


def test_an_example_that_goes_meanwhile_is_there_until_the_answer(studio: Studio, system: GatedSystem) -> None:
    engine = studio()
    recording, clip = (engine.store.add(wav(length), "a.wav") for length in (20.0, 0.2))
    system.open.clear()
    job = engine.submit(recording.id, Question("a dog", like=(clip.id,)))
    assert system.reached.acquire(timeout=20)
    engine.store.drop(clip.id)
    assert clip.path.exists()
    system.open.set()
    assert job.ended.wait(20)
    assert job.state == "done"
    until(lambda: not clip.folder.exists())


@pytest.mark.parametrize(
    ("question", "error", "complaint"),
    [
        (Question("a dog", like=("nowhere",)), GoneError, "not here"),
        (Question("a dog", region=(0.5, 1.5)), AudioError, r"the region ends at 1\.50 s, the recording at 1\.00 s"),
        (Question("a dog", region=(0.0, 0.9)), AudioError, r"the region lasts 0\.9 s: 0\.5 s are enough"),
    ],
)
def test_what_does_not_fit_the_recording_is_told_at_once(
    question: Question, error: type[SoundsieveError], complaint: str, studio: Studio
) -> None:
    engine = studio(max_example_s=0.5)
    recording = engine.store.add(wav(), "a.wav")
    with pytest.raises(error, match=complaint):
        engine.submit(recording.id, question)
    with pytest.raises(AudioError, match=r"the example a\.wav lasts 1\.0 s: 0\.5 s are enough"):
        engine.submit(recording.id, Question("a dog", unlike=(recording.id,)))


def test_a_kind_of_question_that_the_model_does_not_take(studio: Studio, system: GatedSystem) -> None:
    system.queries = frozenset({"audio"})
    engine = studio()
    until(lambda: engine.ready)
    with pytest.raises(QueryError, match="text"):
        engine.submit(engine.store.add(wav(), "a.wav").id, Question("a dog"))


def test_questions_wait_for_the_model(tmp_path: Path, system: GatedSystem) -> None:
    loaded = threading.Event()

    def slowly() -> Separator:
        loaded.wait(20)
        return Separator(system)

    with Store(folder=tmp_path) as store:
        engine = Engine(store, load=slowly)
        job = engine.submit(store.add(wav(), "a.wav").id, Question("a dog"))
        assert (engine.ready, engine.state, engine.words(job)) == (False, "loading", "the model is being loaded")
        loaded.set()
        assert job.ended.wait(20)
        assert (engine.ready, engine.state, job.state) == (True, "ready", "done")
        engine.close()


def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with Store(folder=tmp_path) as store:
        engine = Engine(store, "no such model", start=False)
        recording = store.add(wav(), "a.wav")
        waiting = engine.submit(recording.id, Question("a dog"))
        assert waiting.ended.wait(20)
        assert isinstance(waiting.error, WeightsError)
        assert "no such model" in engine.state
        with pytest.raises(WeightsError, match="no such model"):
            engine.submit(recording.id, Question("a dog"))
        engine.close()


def test_a_fault_inside_is_an_apology_and_not_the_end(
    studio: Studio, system: GatedSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = studio()
    recording = engine.store.add(wav(), "a.wav")
    with monkeypatch.context() as patch:
        patch.setattr(system, "encode_query", lambda query: 1 / 0)
        with pytest.raises(SoundsieveError, match="something went wrong in the studio itself"):
            answered(engine, recording.id, Question("a dog"))
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert answered(engine, recording.id, Question("rain")).found


def test_closing_ends_what_is_under_way(studio: Studio, system: GatedSystem) -> None:
    engine = studio()
    recording = engine.store.add(wav(20.0), "a.wav")
    system.open.clear()
    jobs = [engine.submit(recording.id, Question(words)) for words in ("a dog", "rain")]
    assert system.reached.acquire(timeout=20)
    engine.close()
    system.open.set()
    for job in jobs:
        assert job.ended.wait(20)
        assert job.state == "cancelled"


def test_jobs_that_ended_are_forgotten_after_a_while(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundsieve.studio.engine._JOBS_KEPT", 3)
    engine = studio(max_tracks=100)
    recording = engine.store.add(wav(0.1), "a.wav")
    jobs = []
    for number in range(5):
        jobs.append(engine.submit(recording.id, Question(f"a dog {number}")))
        assert jobs[-1].ended.wait(20)
    with pytest.raises(GoneError, match="this question is not here"):
        engine.job(jobs[0].id)
    assert engine.job(jobs[-1].id) is jobs[-1]
