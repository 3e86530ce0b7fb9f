"""What people see: Gradio's fields, upload, microphone and queue, and our own player around them.

Whatever happens, the server answers with one message, the whole state, to a component that nobody sees (the bridge);
``static/page.mjs`` draws it. So the page cannot come to disagree with the server.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr

from soundsieve import __version__
from soundsieve.errors import AudioError, QueryError, SoundsieveError
from soundsieve.studio.engine import Engine, Job
from soundsieve.studio.examples import EXAMPLES, Example
from soundsieve.studio.limits import CancelledError, GoneError, Limits
from soundsieve.studio.player import scene, verdict
from soundsieve.studio.question import Question
from soundsieve.studio.store import Track, plain_name

Message: TypeAlias = dict[str, Any]

_LOOK_S = 0.1
_MOST_VISITS = 1000
_BRIDGE = """
const module = new URL("studio/static/page.mjs?VERSION", document.baseURI);
import(module).then((page) => page.start({ props, watch }));
""".replace("VERSION", __version__)
_ASKED = "(...given) => [...given.slice(0, -1), window.soundsieve ? window.soundsieve.part : null]"
"""The last thing that is asked with, the stretch of the recording, is the player's."""


@dataclass
class Visit:
    """What the server knows of one open page."""

    recording_id: str | None = None
    job: Job | None = None
    clips: dict[str, str] = field(default_factory=dict)
    """Example clips that are in the store: file that was uploaded -> id."""
    asking: bool = False
    """Whether a question is under way, from when it is sent."""
    left: bool = False
    """Whether the page was closed; nothing is kept for it any more."""


class Studio:
    """What happens when something is pressed; each handler gives messages to the bridge."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine, self.store, self.limits = engine, engine.store, limits
        self._visits: OrderedDict[str, Visit] = OrderedDict()

    def greet(self, request: gr.Request) -> Message:
        """A page was opened."""
        return self._message(self._visit(request))

    def leave(self, request: gr.Request) -> None:
        """A page was closed: nothing of it is kept."""
        visit = self._visits.pop(_name(request), Visit())
        visit.left = True
        if visit.job is not None:
            self.engine.cancel(visit.job)
        self._forget_clips(visit)
        if visit.recording_id is not None:
            with suppress(GoneError):
                self.store.drop(visit.recording_id)
            visit.recording_id = None

    def upload(self, path: str | None, request: gr.Request) -> Iterator[tuple[Message, None]]:
        """Take a recording that was uploaded."""
        yield from self._take(path, Path(path or "").name, request)

    def record(self, path: str | None, request: gr.Request) -> Iterator[tuple[Message, None]]:
        """Take a recording that was made here and now."""
        yield from self._take(path, "recording.wav", request)

    def example(self, example: Example, request: gr.Request) -> tuple[Message, str]:
        """Take a bundled recording, and suggest what to ask of it."""
        visit = self._visit(request)
        try:
            self._open(visit, example.content(), example.file_name, request)
        except SoundsieveError as error:
            return self._message(visit, errors={"source": sentence(error)}), ""
        return self._message(visit, said=f"Press Enter to ask for {example.ask}, or for something else."), example.ask

    async def ask(
        self,
        text: str,
        exclude: str,
        like: Sequence[str] | None,
        unlike: Sequence[str] | None,
        part: Mapping[str, Any] | None,
        request: gr.Request,
    ) -> AsyncGenerator[Message, None]:
        """Ask, and tell how far it is until the answer is there."""
        visit = self._visit(request)
        if visit.asking:  # one question at a time
            return
        visit.asking = True
        try:
            async with aclosing(self._asked(visit, text, exclude, like or (), unlike or (), part, request)) as messages:
                async for message in messages:
                    yield message
        finally:
            visit.asking = False
            if visit.left:  # with clips that were still read
                self._forget_clips(visit)

    async def _asked(
        self,
        visit: Visit,
        text: str,
        exclude: str,
        like: Sequence[str],
        unlike: Sequence[str],
        part: object,
        request: gr.Request,
    ) -> AsyncGenerator[Message, None]:
        self._forget_clips(visit, {*like, *unlike})
        most = self.limits.max_recordings_each - 1  # the recording is one, too
        if len({*like, *unlike}) > most:
            yield self._message(visit, errors={"like" if like else "unlike": f"At most {most} clips are taken here."})
            return
        errors: dict[str, str] = {}
        clips: dict[str, tuple[str, ...]] = {}
        for side, paths in (("like", like), ("unlike", unlike)):
            try:
                clips[side] = tuple([await asyncio.to_thread(self._clip, visit, path, request) for path in paths])
            except SoundsieveError as error:
                errors[side] = sentence(error, *paths)
        if errors or visit.recording_id is None:
            yield self._message(visit, errors=errors or {"source": "Choose a recording first."})
            return
        region: Any = (part.get("start"), part.get("end")) if isinstance(part, Mapping) else None  # it checks itself
        recording_id = visit.recording_id

        def submitted() -> Job:
            question = Question(text, tuple(exclude.split(",")), clips["like"], clips["unlike"], region=region)
            return self.engine.submit(recording_id, question, person=_name(request))

        try:
            job = visit.job = await asyncio.to_thread(submitted)  # the first one waits for torch
        except SoundsieveError as error:
            yield self._message(visit, errors={field_of(error, text, exclude): sentence(error)})
            return
        try:
            if visit.recording_id != recording_id:  # another one was opened meanwhile, or the page closed
                self.engine.cancel(job)
            while not job.ended.is_set():
                yield self._message(visit, busy=_busy(job.progress, self.engine.words(job)))
                await asyncio.sleep(_LOOK_S)
        finally:
            self.engine.cancel(job)  # unless it has ended, nobody waits for it any more
            visit.job = None
        try:
            track = job.result()
        except CancelledError:
            yield self._message(visit, said="Cancelled.")
        except SoundsieveError as error:
            yield self._message(visit, errors={field_of(error, text, exclude): sentence(error)})
        else:
            yield self._message(visit, chosen=track.id, said=_answered(track))

    def cancel(self, request: gr.Request) -> None:
        """Give up the question that is waited for."""
        job = self._visit(request).job
        if job is not None:
            self.engine.cancel(job)

    def _visit(self, request: gr.Request) -> Visit:
        visit = self._visits.setdefault(_name(request), Visit())
        while len(self._visits) > _MOST_VISITS:
            self._visits.popitem(last=False)
        return visit

    def _take(self, path: str | None, name: str, request: gr.Request) -> Iterator[tuple[Message, None]]:
        """Open a recording; what Gradio received is deleted."""
        visit = self._visit(request)
        if path is None:
            return
        yield self._message(visit, busy=_busy(None, "Reading the recording")), None
        try:
            self._open(visit, Path(path), name, request)
        except SoundsieveError as error:
            yield self._message(visit, errors={"source": sentence(error, name)}), None
        else:
            yield self._message(visit, said="Say what you want to hear."), None
        finally:
            Path(path).unlink(missing_ok=True)

    def _open(self, visit: Visit, source: Path | bytes, name: str, request: gr.Request) -> None:
        recording = self.store.add(source, name, owner=_name(request))
        before, visit.recording_id = visit.recording_id, recording.id
        if visit.left:  # while it was read
            before, visit.recording_id = recording.id, None
        if visit.job is not None:
            self.engine.cancel(visit.job)
        if before is not None:
            with suppress(GoneError):
                self.store.drop(before)

    def _clip(self, visit: Visit, path: str, request: gr.Request) -> str:
        """The id of an example clip, which is decoded once."""
        with suppress(GoneError, KeyError):
            return self.store.get(visit.clips[path]).id
        visit.clips[path] = self.store.add(Path(path), Path(path).name, owner=_name(request)).id
        return visit.clips[path]

    def _forget_clips(self, visit: Visit, but: Collection[str] = ()) -> None:
        """Drop the example clips that are not in use any more."""
        for path in [path for path in visit.clips if path not in but]:
            with suppress(GoneError):
                self.store.drop(visit.clips.pop(path))

    def _message(
        self,
        visit: Visit,
        *,
        chosen: str | None = None,
        errors: Mapping[str, str] | None = None,
        busy: Message | None = None,
        said: str = "",
    ) -> Message:
        recording, errors = None, dict(errors or {})
        if visit.recording_id is not None:
            try:
                recording = scene(self.store.get(visit.recording_id))
            except GoneError as error:
                visit.recording_id = None
                errors.setdefault("source", sentence(error))
        limits = {"megabytes": self.limits.max_megabytes, "minutes": self.limits.max_minutes}
        message = {"recording": recording, "errors": errors, "busy": busy, "said": said, "limits": limits}
        return message | ({"chosen": chosen} if chosen else {})


def field_of(error: SoundsieveError, text: str, exclude: str) -> str:
    """Which field of the page an error is about: ``text``, ``exclude``, ``region``, or ``ask`` for all else."""
    if isinstance(error, AudioError) and "region" in str(error):
        return "region"
    if isinstance(error, QueryError):
        return "exclude" if exclude.strip() and text.strip() else "text"
    return "ask"


def sentence(error: BaseException, *paths: str | Path) -> str:
    """An error as a sentence: a capital at the start, unless a file's name is there, and a full stop at the end.

    Args:
        error: what went wrong.
        paths: of files that it may be about.
    """
    told = str(error)
    begins = told.startswith(tuple(plain_name(Path(path).name) for path in paths))
    begun = told if begins or not told.split(" ", 1)[0].isalpha() else told[:1].upper() + told[1:]
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."


def _busy(fraction: float | None, words: str) -> Message:
    return {"fraction": fraction, "words": words[:1].upper() + words[1:]}


def _answered(track: Track) -> str:
    verdict_ = verdict(track.presence, found=track.found)
    return f"{track.description}: {verdict_[:1].lower() + verdict_[1:] or 'here it is.'}"


def _name(request: gr.Request) -> str:
    return str(request.session_hash)


def _static(name: str) -> str:
    return (files("soundsieve.studio") / "static" / name).read_text("utf-8")


def look() -> dict[str, Any]:
    """What a server has to give to `gradio.mount_gradio_app` or ``launch`` besides the page."""
    theme = gr.themes.Base(
        font=["system-ui", "-apple-system", "Segoe UI", "DejaVu Sans", "sans-serif"],
        font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
    )
    words = gr.I18n(
        en={
            "upload_text.drop_file": "Drop a sound file here",
            "upload_text.click_to_upload": "Choose a file",
            "common.upload": "Add more",  # Gradio has no words of its own for it
        }
    )
    styles = [
        f'<link rel="stylesheet" href="studio/static/{name}?{__version__}">' for name in ("frame.css", "studio.css")
    ]
    return {"theme": theme, "head": "".join(styles), "footer_links": [], "i18n": words, "ssr_mode": False, "pwa": False}


def build(engine: Engine, limits: Limits) -> gr.Blocks:
    """The page about an engine; `look` has what belongs to it when it is served."""
    studio = Studio(engine, limits)
    plain: dict[str, Any] = {"apply_default_css": False, "elem_classes": "sieve"}
    blocks: gr.Blocks
    with gr.Blocks(title="soundsieve", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(_static("top.html"), **plain)
        with gr.Column(elem_id="choose"):
            gr.HTML(_static("choose.html"), **plain)
            with gr.Row(elem_id="sources", equal_height=True):
                upload = gr.File(label="A recording from this device", elem_id="source-file", height=220, scale=2)
                microphone = gr.Audio(
                    label="Or record one now",
                    sources=["microphone"],
                    type="filepath",
                    format="wav",
                    editable=False,
                    buttons=[],
                    elem_id="source-microphone",
                    scale=1,
                )
            with gr.Row(elem_id="examples"):
                gr.HTML("<p>Or try an example:</p>", **plain)
                buttons = [
                    (gr.Button(example.title, size="sm", elem_classes="example"), example) for example in EXAMPLES
                ]
        gr.HTML(_static("recording.html"), elem_id="recording", **plain)
        with gr.Column(elem_id="ask"):
            with gr.Row(elem_id="ask-row"):
                text = gr.Textbox(
                    label="What do you want to hear?",
                    placeholder="a dog barking",
                    max_lines=1,
                    max_length=300,
                    elem_id="ask-text",
                    scale=1,
                )
                ask = gr.Button("Extract it", variant="primary", elem_id="ask-button", scale=0)
            exclude = gr.Textbox(
                label="What should be left out? (optional)",
                placeholder="rain, traffic",
                max_lines=1,
                max_length=300,
                elem_id="ask-exclude",
            )
            with gr.Accordion("Add example clips", open=False, elem_id="clips"), gr.Row():
                like = gr.File(label="Clips that sound like it", file_count="multiple", elem_id="ask-like", height=130)
                unlike = gr.File(
                    label="Clips of what to leave out", file_count="multiple", elem_id="ask-unlike", height=130
                )
        with gr.Column(elem_id="working"):
            gr.HTML(_static("asked.html"), **plain)
            cancel = gr.Button("Cancel", elem_id="cancel", size="sm")
        gr.HTML(_static("listen.html"), **plain)
        gr.HTML(_static("foot.html"), **plain)
        bridge = gr.HTML(None, html_template="", js_on_load=_BRIDGE, elem_id="bridge")
        part = gr.JSON(visible=False)

        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
        upload.upload(studio.upload, upload, [bridge, upload], **quiet)
        microphone.stop_recording(studio.record, microphone, [bridge, microphone], **quiet)
        for button, example in buttons:
            button.click(_opening(studio, example), None, [bridge, text], **quiet)
        question = [text, exclude, like, unlike, part]
        gr.on([ask.click, text.submit, exclude.submit], studio.ask, question, bridge, js=_ASKED, **quiet)
        cancel.click(studio.cancel, queue=False, **quiet)
        blocks.load(studio.greet, None, bridge, **quiet)
        blocks.unload(studio.leave)
    return blocks


def _opening(studio: Studio, example: Example) -> Callable[[gr.Request], tuple[Message, str]]:
    def opened(request: gr.Request) -> tuple[Message, str]:
        return studio.example(example, request)

    return opened
