"""What the HTTP API takes and gives, as JSON; what is said of each field here is what ``/docs`` says."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from soundsieve.studio.engine import Engine, Job, State
from soundsieve.studio.question import Question
from soundsieve.studio.store import Recording, Track


class Problem(BaseModel):
    """What went wrong, in a sentence."""

    error: str


class Span(BaseModel):
    """A stretch of the recording, in seconds."""

    start: float
    end: float


class TrackShown(BaseModel):
    """The answer to one question."""

    id: str
    description: str = Field(description="What was asked, in a phrase.")
    presence: float | None = Field(description="How likely it is that the sound is there, 0 to 1.")
    found: bool = Field(description="Whether that is enough to say that it is.")
    spans: list[Span] = Field(description="Where it was found.")
    seconds_taken: float
    command: str = Field(description="The command line that does the same.")
    python: str = Field(description="The lines of Python that do the same.")
    warning: str | None = Field(description="What is to be known of everything else, if there is something.")


class RecordingShown(BaseModel):
    """A recording in the studio. Who knows its id may use it."""

    id: str
    name: str
    seconds: float
    sample_rate: int = Field(description="Hz.")
    channels: int
    kept_minutes: float = Field(description="How long it stays after it was last used.")
    tracks: list[TrackShown]


class QuestionAsked(BaseModel):
    """What to take out of a recording: words, example clips, a stretch of the recording itself, or several of these."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", description="What to extract, in words.", examples=["a dog barking"])
    exclude: list[str] = Field([], description="What to leave out, in words.", examples=[["rain falling"]])
    like: list[str] = Field([], description="Ids of recordings that sound like it.", examples=[[]])
    unlike: list[str] = Field([], description="Ids of recordings that sound like what to leave out.", examples=[[]])
    region: Span | None = Field(None, description="A stretch of the recording as one more example.", examples=[None])
    invert: bool = Field(False, description="Whether everything else is wanted instead.", examples=[False])

    def question(self) -> Question:
        """As the engine takes it.

        Raises:
            QueryError: it cannot be asked.
        """
        region = None if self.region is None else (self.region.start, self.region.end)
        return Question(self.text, tuple(self.exclude), tuple(self.like), tuple(self.unlike), self.invert, region)


class JobShown(BaseModel):
    """A question on its way."""

    id: str
    recording: str
    state: State
    progress: float = Field(description="How much is done, 0 to 1.")
    before: int = Field(description="How many questions are answered before this one is begun.")
    words: str = Field(description="What is going on, in words; if it failed, why.")
    track: TrackShown | None


class Health(BaseModel):
    """Whether the studio can answer."""

    ready: bool
    state: str = Field(description="loading, ready, or why the model cannot be loaded.")
    model: str
    version: str
    working: int
    waiting: int


def recording_shown(recording: Recording, kept_minutes: float) -> RecordingShown:
    """A recording as JSON has it."""
    return RecordingShown(
        id=recording.id,
        name=recording.name,
        seconds=recording.seconds,
        sample_rate=recording.sample_rate,
        channels=recording.channels,
        kept_minutes=kept_minutes,
        tracks=[track_shown(track) for track in list(recording.tracks.values())],
    )


def track_shown(track: Track) -> TrackShown:
    """A track as JSON has it."""
    return TrackShown(
        id=track.id,
        description=track.description,
        presence=track.presence,
        found=track.found,
        spans=[Span(start=start, end=end) for start, end in track.spans],
        seconds_taken=track.seconds_taken,
        command=track.command,
        python=track.python,
        warning=track.warning,
    )


def job_shown(engine: Engine, job: Job) -> JobShown:
    """A job as JSON has it, as it is now."""
    return JobShown(
        id=job.id,
        recording=job.recording_id,
        state=job.state,
        progress=job.progress,
        before=engine.before(job),
        words=engine.words(job),
        track=None if job.track is None else track_shown(job.track),
    )
