"""What the page's player is told and given: a recording and its tracks, pictures of them, and sounds in pieces."""

from __future__ import annotations

import asyncio
import io
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool

from soundsieve import audio
from soundsieve.errors import AudioError
from soundsieve.studio.limits import GoneError
from soundsieve.studio.pictures import frequency_marks, levels_db, png
from soundsieve.studio.store import Recording, Store, Track

MIXTURE = "mixture"
TARGET, REST = ".target", ".rest"
"""A sound of a recording is called ``mixture``, or by its track's id and one of these."""
MOST_S = 30.0
"""The longest piece of a sound that is given at once, in seconds."""

_SURE, _UNSURE = 0.85, 0.15
_PRIVATE = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
_FRESH = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
_SHOWN = {".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def scene(recording: Recording) -> dict[str, Any]:
    """A recording as the page draws it, its tracks the oldest first; ready for JSON."""
    samples = recording.info.samples
    return {
        "id": recording.id,
        "name": recording.name,
        "sampleRate": recording.sample_rate,
        "channels": recording.channels,
        "frames": samples,
        "seconds": samples / recording.sample_rate,
        "marks": [{"place": place, "text": text} for place, text in frequency_marks(recording.sample_rate)],
        "tracks": [_track(track) for track in list(recording.tracks.values())],
    }


def _track(track: Track) -> dict[str, Any]:
    return {
        "id": track.id,
        "description": track.description,
        "wanted": track.question.wants_something,
        "found": track.found,
        "verdict": verdict(track.presence, found=track.found),
        "spans": [{"start": start, "end": end} for start, end in track.spans],
        "took": track.seconds_taken,
        "command": track.command,
        "python": track.python,
        "warning": track.warning,
    }


def verdict(presence: float | None, *, found: bool) -> str:
    """Whether a sound is there, in words; ``presence`` is None where nothing in particular was wanted."""
    if presence is None:
        return ""
    if found:
        return "It is there." if presence >= _SURE else "It is probably there."
    if presence > _UNSURE:
        return "Probably not there: what you hear may be something else."
    return "Not there, as far as the model can tell."


def sound_path(recording: Recording, sound: str) -> Path:
    """Where a sound of a recording lies.

    Raises:
        GoneError: it has no such sound.
    """
    if sound == MIXTURE:
        return recording.path
    for ending in (TARGET, REST):
        track = recording.tracks.get(sound.removesuffix(ending))
        if sound.endswith(ending) and track is not None:
            return track.target_path if ending == TARGET else track.rest_path
    raise GoneError("this sound is no longer here: ask for it again")


def piece(path: Path, start: int, frames: int) -> bytes:
    """A part of a sound as a wav file of 16 bits, for listening; what is past full scale is clipped.

    Args:
        path: of the sound.
        start: its first sample.
        frames: how many, of every channel; fewer where the sound ends before.

    Raises:
        AudioError: the part is not within the sound.
    """
    with audio.Reader(path) as recording:
        if start >= recording.info.samples:
            raise AudioError("the recording ends before that")
        samples = recording.read(start, min(start + frames, recording.info.samples))
        content = io.BytesIO()
        rate = recording.info.sample_rate
        with audio.Writer(content, rate, len(samples), subtype="PCM_16", clip_mode="clamp") as writer:
            writer.write(samples)
    return content.getvalue()


def picture(recording: Recording, sound: str) -> bytes:
    """The spectrogram of a sound as PNG; every sound of a recording on the scale of the recording itself.

    Raises:
        GoneError: it has no such sound.
        AudioError: a file cannot be read.
    """
    loudest = float(_levels(recording.path).max())
    return png(_levels(sound_path(recording, sound)), loudest)


@lru_cache(maxsize=32)
def _levels(path: Path) -> npt.NDArray[np.float32]:
    return levels_db(path)


def routes(store: Store) -> APIRouter:
    """What the page's player fetches; the addresses hold ids that nobody can guess."""
    router = APIRouter(prefix="/studio", include_in_schema=False)

    @router.get("/sounds/{recording_id}/{sound}.wav")
    def samples(recording_id: str, sound: str, start: int = Query(ge=0), frames: int = Query(ge=1)) -> Response:
        with store.using(recording_id) as recording:
            most = round(MOST_S * recording.sample_rate)
            content = piece(sound_path(recording, sound), start, min(frames, most))
        return Response(content, media_type="audio/wav", headers=_PRIVATE)

    drawing = asyncio.Semaphore(1)  # one takes 100 MB, and those of one recording all begin with its levels

    @router.get("/sounds/{recording_id}/{sound}.png")
    async def spectrogram(recording_id: str, sound: str) -> Response:
        with store.using(recording_id) as recording:
            async with drawing:
                drawn = await run_in_threadpool(picture, recording, sound)
        return Response(drawn, media_type="image/png", headers=_PRIVATE)

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        file = files("soundsieve.studio") / "static" / name
        kind = _SHOWN.get(Path(name).suffix)
        if kind is None or "/" in name or "\\" in name or not file.is_file():
            raise GoneError("there is no such file")
        with as_file(file) as path:
            return FileResponse(path, media_type=kind, headers=_FRESH)

    return router
