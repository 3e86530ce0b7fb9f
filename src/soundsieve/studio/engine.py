"""Questions to recordings: who is next, how far it is, and the track in the end."""

from __future__ import annotations

import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from soundsieve.errors import AudioError, SoundsieveError, reason
from soundsieve.pouring import pour
from soundsieve.studio.limits import CancelledError, FullError, GoneError
from soundsieve.studio.question import Question
from soundsieve.studio.store import Recording, Store, Track
from soundsieve.studio.turns import Turns

if TYPE_CHECKING:
    from soundsieve.separator import Separator

__all__ = ["Engine", "Job", "Question", "State"]

State: TypeAlias = Literal["waiting", "working", "done", "failed", "cancelled"]

_JOBS_KEPT = 256


@dataclass(eq=False)
class Job:
    """A question on its way to a track.

    Attributes:
        id: unguessable.
        recording_id: what it is about.
        question: what is asked.
        person: who asks, for fair turns.
        state: where it is on its way; the last three are for good.
        progress: how much is done, 0 to 1.
        track: the answer, once it is done.
        error: why it failed, or that it was cancelled.
    """

    recording_id: str
    question: Question
    person: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: State = "waiting"
    progress: float = 0.0
    track: Track | None = None
    error: SoundsieveError | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def result(self) -> Track:
        """The track of a job that has ended.

        Raises:
            SoundsieveError: what went wrong.
        """
        if self.track is None:
            raise self.error or SoundsieveError("this question is not answered yet")
        return self.track

    def _end(self, state: State, track: Track | None = None, error: SoundsieveError | None = None) -> None:
        self.state, self.track, self.error = state, track, error
        self.ended.set()


class Engine:
    """Answers questions about the recordings of a store; threads may use it together.

    The model is loaded in the background: questions wait for it. `Limits.max_working` of them are worked on at a time,
    a segment after another, so that a job that is cancelled lets go of its place within one.

    Args:
        store: the recordings.
        model: a name or a file, as `soundsieve.load` takes it.
        load: what loads it; by default `soundsieve.load` with the model's name.
        threads: CPU threads of each job; by default what torch takes.
        start: whether to begin with loading now, instead of at `start`.
    """

    def __init__(
        self,
        store: Store,
        model: str = "starter",
        *,
        load: Callable[[], Separator] | None = None,
        threads: int | None = None,
        start: bool = True,
    ) -> None:
        self.store, self.model, self.limits = store, model, store.limits
        self._load, self._threads = load, threads
        self._turns: Turns[Job] = Turns(store.limits)
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._started = False
        self._loaded = threading.Event()
        self._separator: Separator | None = None
        self._failure: SoundsieveError | None = None
        self._closed = threading.Event()
        if start:
            self.start()

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._separator is not None

    @property
    def state(self) -> str:
        """``loading``, ``ready``, or a sentence that says why the model cannot be loaded."""
        return str(self._failure) if self._failure else "ready" if self.ready else "loading"

    @property
    def working(self) -> int:
        """How many questions are worked on now."""
        return sum(job.state == "working" for job in list(self._jobs.values()))

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._turns)

    def start(self) -> None:
        """Begin to load the model, and then to answer."""
        with self._lock:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._prepare, name="studio-model", daemon=True).start()
        for number in range(self.limits.max_working):
            threading.Thread(target=self._work, name=f"studio-work-{number}", daemon=True).start()

    def close(self) -> None:
        """Cancel everything."""
        self._closed.set()
        self._loaded.set()
        for job in self._turns.close():
            job._end("cancelled", error=_changed_mind())
        for job in list(self._jobs.values()):
            job.cancelled.set()

    def submit(self, recording_id: str, question: Question, *, person: str = "") -> Job:
        """Ask without waiting for the answer.

        Args:
            recording_id: what it is about.
            question: what is asked.
            person: who asks: everybody gets their turn, however much the others ask. By default the recording's owner.

        Raises:
            GoneError: the recording, or an example clip, is not here (any more).
            QueryError: the model does not understand this kind of question.
            AudioError: an example is too long, or not within the recording.
            FullError: the recording has as many tracks as it may.
            BusyError: too many questions are waiting.
            WeightsError: the model cannot be loaded.
        """
        if self._failure is not None:
            raise self._failure
        recording = self.store.get(recording_id)
        self._check(recording, question)
        job = Job(recording_id, question, person or recording.owner or recording_id)
        with self._lock:
            open_jobs = [
                one for one in self._jobs.values() if one.recording_id == recording_id and not one.ended.is_set()
            ]
            if len(recording.tracks) + len(open_jobs) >= self.limits.max_tracks:
                raise FullError(
                    f"this recording has {self.limits.max_tracks} tracks, the most there may be: remove one"
                )
            self._turns.put(job.person, job)
            self._jobs[job.id] = job
            ended = [id for id, one in self._jobs.items() if one.ended.is_set()]
            for id in ended[: max(0, len(self._jobs) - _JOBS_KEPT)]:
                del self._jobs[id]
        self.start()
        return job

    def job(self, id: str) -> Job:
        """A question that was asked, by its id.

        Raises:
            GoneError: there is none (any more).
        """
        job = self._jobs.get(id)
        if job is None:
            raise GoneError("this question is not here (any more)")
        return job

    def cancel(self, job: Job) -> None:
        """Give a question up, whether it waits or is worked on; its place is free for the next at once."""
        job.cancelled.set()
        if self._turns.remove(job):
            job._end("cancelled", error=_changed_mind())

    def before(self, job: Job) -> int:
        """How many questions have to be answered before this one is begun; 0 if it is."""
        waiting = self._turns.before(job)
        return 0 if waiting is None else waiting + max(0, self.working - self.limits.max_working + 1)

    def words(self, job: Job) -> str:
        """What is going on with a question, in a few words."""
        if job.state == "waiting":
            before = self.before(job)
            if not before:
                return "about to start" if self.ready else "the model is being loaded"
            return f"waiting: {before} {'question' if before == 1 else 'questions'} before this one"
        if job.state == "working":
            return f"listening: {job.progress:.0%}"
        return str(job.error) if job.error else "done"

    def _check(self, recording: Recording, question: Question) -> None:
        most = self.limits.max_example_s
        for id in (*question.like, *question.unlike):
            clip = self.store.get(id)
            if clip.seconds > most:
                raise AudioError(f"the example {clip.name} lasts {clip.seconds:.1f} s: {most:g} s are enough, cut it")
        if question.region is not None:
            start_s, end_s = question.region
            if end_s > recording.seconds + 0.0005:
                raise AudioError(f"the region ends at {end_s:.2f} s, the recording at {recording.seconds:.2f} s")
            if end_s - start_s > most:
                raise AudioError(f"the region lasts {end_s - start_s:.1f} s: {most:g} s are enough")
        if self._separator is not None:
            self._separator.system.check_query(question.query())

    def _prepare(self) -> None:
        try:
            self._separator = self._load() if self._load else self._load_by_name()
        except SoundsieveError as error:
            self._failure = error
        except Exception as error:
            traceback.print_exc()
            self._failure = SoundsieveError(f"the model {self.model} cannot be loaded: {reason(error)}")
        self._loaded.set()

    def _load_by_name(self) -> Separator:
        from soundsieve.separator import load

        return load(self.model)

    def _work(self) -> None:
        self._loaded.wait()
        if self._separator is not None and self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)
        while (job := self._turns.take()) is not None:
            try:
                job.state = "working"
                job._end("done", track=self._answer(job))
            except CancelledError as error:
                job._end("cancelled", error=error)
            except SoundsieveError as error:
                job._end("failed", error=error)
            except OSError as error:
                job._end("failed", error=FullError(f"the answer cannot be stored: {reason(error)}"))
            except Exception:
                traceback.print_exc(file=sys.stderr)
                job._end("failed", error=SoundsieveError("something went wrong in the studio itself, sorry"))

    def _answer(self, job: Job) -> Track:
        if self._separator is None:
            raise self._failure or _changed_mind()
        question, separator = job.question, self._separator
        with ExitStack() as stack:
            recording = stack.enter_context(self.store.using(job.recording_id))
            began = time.monotonic()
            clips = {id: stack.enter_context(self.store.using(id)) for id in (*question.like, *question.unlike)}
            self._check(recording, question)
            id = secrets.token_urlsafe(18)
            sound, rest = (recording.folder / f"{id}.{part}.wav" for part in ("sound", "rest"))
            names = {id: clip.name for id, clip in clips.items()}

            def advance(done: float) -> None:
                job.progress = done
                if job.cancelled.is_set() or self._closed.is_set():
                    raise _changed_mind()
                if recording.gone:
                    raise GoneError("the recording was removed before the answer was there")

            advance(0.0)
            try:
                paths = {id: clip.path for id, clip in clips.items()}
                with self.store.room(2 * recording.path.stat().st_size):
                    out = separator.separate_stream(
                        recording.path, batch=1, progress=advance, **question.options(paths)
                    )
                    pour(out, None, (sound, rest), subtype="FLOAT", replace=False)
                (presence,), (spans,) = out.presences, out.spans
                track = Track(
                    id,
                    recording.id,
                    question.describe(names),
                    question,
                    rest if question.invert else sound,
                    sound if question.invert else rest,
                    presence if question.wants_something else None,
                    bool(spans) or not question.wants_something,
                    tuple((round(span.start_s, 3), round(span.end_s, 3)) for span in spans)
                    if question.wants_something
                    else (),
                    time.monotonic() - began,
                    question.command(recording.name, names, self.model),
                    question.python(recording.name, names, self.model),
                    separator.system.warning_of_rest,
                )
                self.store.keep(track)
            except BaseException as error:
                for path in (sound, rest):
                    path.unlink(missing_ok=True)
                if isinstance(error, AudioError):
                    said = str(error)
                    for one in (recording, *clips.values()):
                        said = said.replace(str(one.path), one.name)
                    raise AudioError(said) from error
                raise
        return track


def _changed_mind() -> CancelledError:
    return CancelledError("cancelled")
