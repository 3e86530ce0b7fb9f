"""The HTTP API: recordings in, questions about them, tracks out. ``/docs`` shows what is here."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from soundsieve import __version__
from soundsieve.audio import READABLE, Written
from soundsieve.errors import AudioError, ConfigError, QueryError, SoundsieveError, WeightsError
from soundsieve.studio import tracks
from soundsieve.studio.engine import Engine, Job
from soundsieve.studio.limits import BusyError, CancelledError, FullError, GoneError, TooLargeError
from soundsieve.studio.shapes import (
    Health,
    JobShown,
    Problem,
    QuestionAsked,
    RecordingShown,
    TrackShown,
    job_shown,
    recording_shown,
    track_shown,
)
from soundsieve.studio.store import plain_name

PERSON = "soundsieve-person"
"""The cookie that tells people apart, for fair turns and nothing else."""

_STATUS: dict[type[SoundsieveError], int] = {
    GoneError: 404,
    CancelledError: 409,
    TooLargeError: 413,
    AudioError: 422,
    QueryError: 422,
    ConfigError: 422,
    BusyError: 429,
    FullError: 503,
    WeightsError: 503,
}
_RETRY_S = 15
_LOOK_S = 0.05
_LONGEST_WAIT_S = 60.0
_DECODED_AT_ONCE = 4

Kind = Literal["wav", "flac"]
_Wait = Annotated[float, Query(ge=0, le=_LONGEST_WAIT_S, description="Seconds to wait for the end.")]
_Id = Annotated[str, Path(min_length=1, max_length=64)]
_Levels = Annotated[
    list[str] | None,
    Query(alias="track", description="`ID:GAIN_DB` of a track that is heard, such as `abc:-6`; once for each."),
]


def routes(engine: Engine) -> APIRouter:
    """Everything under ``/api``, and ``/health``."""
    store, limits = engine.store, engine.limits
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem} for status in (401, 403, 404, 422, 429, 503)
    }
    router = APIRouter(responses=problems)
    decoding = asyncio.Semaphore(_DECODED_AT_ONCE)

    @router.get("/health", tags=["health"])
    async def health() -> Health:
        """Whether the studio is there, and its model loaded. Needs no password."""
        return Health(
            ready=engine.ready,
            state=engine.state,
            model=engine.model,
            version=__version__,
            working=engine.working,
            waiting=engine.waiting,
        )

    @router.post(
        "/api/recordings",
        status_code=201,
        tags=["recordings"],
        responses={413: {"model": Problem}},
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": _BYTES}}}},
    )
    async def add_recording(
        request: Request,
        response: Response,
        name: Annotated[str, Query(max_length=1000, description="What the file is called.")] = "recording",
    ) -> RecordingShown:
        """Send a recording, or an example clip: the file itself is the body, not a form.

        Whatever `soundsieve` reads is taken: wav, flac, ogg, opus, mp3, aiff and more, and m4a, mp4 and webm where
        ffmpeg is installed.
        """
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise ConfigError("send the file itself as the body, not a form: curl --data-binary @street.wav ...")
        person = request.cookies.get(PERSON) or secrets.token_urlsafe(18)
        suffix = os.path.splitext(plain_name(name))[1].lower()  # of the few kinds that only their names tell
        place = store.incoming / (secrets.token_urlsafe(18) + (suffix if suffix in READABLE else ""))
        try:
            size = 0
            with place.open("xb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    limits.check_upload(size)
                    file.write(chunk)
            async with decoding:
                recording = await run_in_threadpool(store.add, place, name, owner=person)
        finally:
            place.unlink(missing_ok=True)
        response.set_cookie(PERSON, person, httponly=True, samesite="strict")
        return recording_shown(recording, limits.keep_minutes)

    @router.get("/api/recordings/{id}", tags=["recordings"])
    def get_recording(id: _Id) -> RecordingShown:
        """A recording, with its tracks so far."""
        return recording_shown(store.get(id), limits.keep_minutes)

    @router.delete("/api/recordings/{id}", status_code=204, tags=["recordings"])
    def remove_recording(id: _Id) -> None:
        """Remove a recording with its tracks, now."""
        store.drop(id)

    @router.post("/api/recordings/{id}/tracks", status_code=202, tags=["tracks"])
    async def ask(id: _Id, asked: Annotated[QuestionAsked, Body()], wait: _Wait = 0.0) -> JobShown:
        """Ask for a sound. The answer is a job, which ends in a track."""
        job = await run_in_threadpool(lambda: engine.submit(id, asked.question()))  # the first one waits for torch
        return await _looked_at(engine, job, wait)

    @router.get("/api/jobs/{job}", tags=["jobs"])
    async def get_job(job: _Id, wait: _Wait = 0.0) -> JobShown:
        """How far a question is."""
        return await _looked_at(engine, engine.job(job), wait)

    @router.get("/api/jobs/{job}/events", tags=["jobs"], response_class=StreamingResponse)
    async def watch_job(job: _Id) -> StreamingResponse:
        """How far a question is, as server-sent events, each a job as JSON; the stream ends with the job."""
        watched = engine.job(job)
        return StreamingResponse(_events(engine, watched), media_type="text/event-stream", headers=_UNCACHED)

    @router.delete("/api/jobs/{job}", tags=["jobs"])
    async def cancel_job(job: _Id) -> JobShown:
        """Give a question up."""
        engine.cancel(engine.job(job))
        return job_shown(engine, engine.job(job))

    @router.get("/api/recordings/{id}/tracks/{track}", tags=["tracks"])
    def get_track(id: _Id, track: _Id) -> TrackShown:
        """The answer to one question."""
        return track_shown(store.track(id, track))

    @router.delete("/api/recordings/{id}/tracks/{track}", status_code=204, tags=["tracks"])
    def remove_track(id: _Id, track: _Id) -> None:
        """Remove a track."""
        store.drop_track(id, track)

    @router.get("/api/recordings/{id}/mixture.{kind}", tags=["sound"], response_class=FileResponse)
    def get_mixture(id: _Id, kind: Kind) -> FileResponse:
        """The recording itself."""
        recording = store.get(id)
        return _file(
            tracks.sound(store, recording, suffix=f".{kind}"), tracks.file_name(recording, None, "mixture", f".{kind}")
        )

    @router.get("/api/recordings/{id}/tracks/{track}/{part}.{kind}", tags=["sound"], response_class=FileResponse)
    def get_sound(id: _Id, track: _Id, part: tracks.Part, kind: Kind) -> FileResponse:
        """What was asked for (`target`), everything else (`rest`), or the recording (`mixture`)."""
        recording, one, suffix = store.get(id), store.track(id, track), f".{kind}"
        return _file(tracks.sound(store, recording, one, part, suffix), tracks.file_name(recording, one, part, suffix))

    @router.get("/api/recordings/{id}/mix.{kind}", tags=["sound"], response_class=FileResponse)
    def get_mix(id: _Id, kind: Kind, levels: _Levels = None) -> FileResponse:
        """The sum of some tracks, each with its gain."""
        recording, suffix = store.get(id), f".{kind}"
        mix = tracks.mix_down(store, recording, _gains(levels or ()), suffix)
        return _file(mix, tracks.file_name(recording, None, "mixture", f".mix{suffix}"))

    @router.get("/api/recordings/{id}/archive.zip", tags=["sound"], response_class=FileResponse)
    def get_archive(id: _Id, kind: Kind = "wav", levels: _Levels = None) -> FileResponse:
        """Target and rest of every track in one file, with their mix where tracks are named."""
        recording = store.get(id)
        packed = tracks.archive(store, recording, f".{kind}", _gains(levels) if levels else None)
        return FileResponse(packed, filename=tracks.file_name(recording, None, "mixture", ".zip"), headers=_UNCACHED)

    @router.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def nothing(request: Request) -> None:
        raise GoneError(f"nothing at this address takes {request.method}: /docs tells what there is")

    return router


def tell_errors(app: FastAPI) -> None:
    """Let an application say what is wrong as `Problem`, in a sentence."""

    async def told(request: Request, error: Exception) -> JSONResponse:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        headers = {"Retry-After": str(_RETRY_S)} if status in (429, 503) else {}
        return JSONResponse({"error": str(error)}, status, headers)

    async def misasked(request: Request, error: Exception) -> JSONResponse:
        found = error.errors() if isinstance(error, RequestValidationError) else []
        places = [".".join(str(part) for part in one["loc"] if part not in ("body", "query", "path")) for one in found]
        words = "; ".join(f"{place}: {one['msg']}".lstrip(": ") for place, one in zip(places, found, strict=True))
        return JSONResponse({"error": words or "the request cannot be read"}, 422)

    async def broken(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "something went wrong in the studio itself, sorry"}, 500)

    app.add_exception_handler(SoundsieveError, told)
    app.add_exception_handler(Exception, broken)  # which are told on standard error as well
    app.add_exception_handler(RequestValidationError, misasked)


_BYTES = {"type": "string", "format": "binary"}
_UNCACHED = {"Cache-Control": "no-store"}


async def _looked_at(engine: Engine, job: Job, wait_s: float) -> JobShown:
    """A job, once it has ended or so many seconds have passed."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while not job.ended.is_set() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_LOOK_S)
    return job_shown(engine, job)


async def _events(engine: Engine, job: Job) -> AsyncIterator[str]:
    told = None
    while True:
        ended = job.ended.is_set()  # before it is looked at: what is told last is the end
        now = job_shown(engine, job).model_dump_json()
        if now != told:
            yield f"event: {json.loads(now)['state']}\ndata: {now}\n\n"
        if ended:
            return
        told = now
        await asyncio.sleep(_LOOK_S)


def _gains(levels: Sequence[str]) -> dict[str, float]:
    gains: dict[str, float] = {}
    for level in levels:
        id, _, gain = level.partition(":")
        try:
            gains[id] = float(gain or "0")
        except ValueError:
            raise ConfigError(f"'{level}' is no level: write ID:GAIN_DB, such as {id[:20]}:-6") from None
    return gains


def _file(written: Written, name: str) -> FileResponse:
    """A download. What has to be told about the file is in the header ``X-Note``."""
    note = {} if written.note is None else {"X-Note": written.note.encode("ascii", "replace").decode()}
    return FileResponse(written.path, filename=name, headers={**_UNCACHED, **note})
