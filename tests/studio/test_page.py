"""The page as it is built: its markup, its colours, and what its handlers answer."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from studio_parts import GatedSystem, Studio, wav

from soundsieve.errors import AudioError, ConfigError, QueryError
from soundsieve.studio import page
from soundsieve.studio.engine import Engine
from soundsieve.studio.examples import EXAMPLES
from soundsieve.studio.limits import BusyError, GoneError

STATIC = Path(str(files("soundsieve.studio") / "static"))
MARKUP = {path.name: path.read_text("utf-8") for path in sorted(STATIC.glob("*.html"))}
SCRIPTS = {path.name: path.read_text("utf-8") for path in sorted(STATIC.glob("*.mjs"))}
VOID = {"img", "input", "br", "path"}
REFERS = ("for", "aria-labelledby", "aria-describedby")


class Markup(HTMLParser):
    """A piece of the page; its elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[dict[str, Any]] = []
        self.elements: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element: dict[str, Any] = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data


ELEMENTS = [element for text in MARKUP.values() for element in Markup(text).elements]
IDS = [element["id"] for element in ELEMENTS if "id" in element]


def test_ids_are_unique_and_what_refers_to_them_finds_them() -> None:
    assert len(IDS) == len(set(IDS))
    for element in ELEMENTS:
        for attribute in REFERS:
            for id in element.get(attribute, "").split():
                assert id in IDS, f"{attribute} refers to {id}"


def test_everything_that_is_used_has_a_name() -> None:
    labelled = {element["for"] for element in ELEMENTS if element["tag"] == "label" and element["text"].strip()}
    for element in ELEMENTS:
        named = element.get("aria-label") or element.get("aria-labelledby")
        if element["tag"] == "input":
            assert named or element["id"] in labelled | {"hear-target"}  # that one is named after the question
        elif element["tag"] in ("button", "a", "summary", "legend"):
            assert named or element["text"].strip()
        elif element["tag"] in ("section", "progress"):
            assert named
        elif element["tag"] == "img":
            assert "alt" in element


def test_what_changes_is_told() -> None:
    by_id = {element["id"]: element for element in ELEMENTS if "id" in element}
    assert all(by_id[id]["role"] == "status" for id in ("said", "model"))
    wrong = [element for id, element in by_id.items() if id.startswith("wrong-")]
    assert len(wrong) >= 3
    assert all(element["role"] == "alert" for element in wrong)


def test_scripts_look_for_what_is_there() -> None:
    everything = "\n".join(SCRIPTS.values())
    made = set(re.findall(r'elem_id="([\w-]+)"', Path(page.__file__).read_text("utf-8")))
    wanted = set(re.findall(r'find\("([\w-]+)"\)', everything))
    assert len(wanted) > 30
    assert wanted <= set(IDS) | made
    for name in re.findall(r'from "\./([\w.]+)"', everything):
        assert name in SCRIPTS


def test_nothing_comes_from_elsewhere_and_no_markup_is_made_of_texts() -> None:
    for path in STATIC.iterdir():
        text = path.read_text("utf-8")
        assert not re.search(r"https?:|//\w+\.|@import|url\(", text), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), path.name
    assert not any(name.startswith("on") for element in ELEMENTS for name in element)
    fonts = json.dumps([page.look()["theme"]._get_theme_css()])
    assert "googleapis" not in fonts
    assert "font-face" not in fonts


def colours(mode: str) -> dict[str, tuple[float, ...]]:
    text = (STATIC / "frame.css").read_text("utf-8")
    block = re.search(rf"^{re.escape(mode)} \{{(.*?)^\}}", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6})", block[1])
    return {name: tuple(int(value[i : i + 2], 16) / 255 for i in (0, 2, 4)) for name, value in found}


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG's ratio: (L1 + 0.05) / (L2 + 0.05) of the relative luminances."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [":root", ".dark"])
def test_texts_and_edges_stand_out(mode: str) -> None:
    of = colours(mode)
    for text in ("ink", "faint", "wrong", "mark"):
        for ground in ("ground", "card", "soft"):
            assert contrast(of[text], of[ground]) >= 4.5, (text, ground)
    assert contrast(of["on-mark"], of["mark"]) >= 4.5
    for edge in ("edge", "mark", "found"):
        for ground in ("ground", "card"):
            assert contrast(of[edge], of[ground]) >= 3, (edge, ground)


def test_the_page_is_built_with_labels(studio: Studio) -> None:
    engine = studio()

    async def built() -> dict[str, Any]:  # Gradio leaves an event loop behind where there is none
        return page.build(engine, engine.limits).get_config_file()  # type: ignore[return-value]

    config = asyncio.run(built())
    props = {one["props"].get("elem_id"): one["props"] for one in config["components"]}
    for id in ("source-file", "source-microphone", "ask-text", "ask-exclude", "ask-like", "ask-unlike"):
        assert props[id]["label"]
    assert props["source-microphone"]["sources"] == ["microphone"]
    buttons = {one["props"]["value"] for one in config["components"] if one["type"] == "button"}
    assert buttons >= {"Extract it", "Cancel", *(example.title for example in EXAMPLES)}
    assert all(one["api_visibility"] == "private" for one in config["dependencies"])
    assert all(one["show_progress"] == "hidden" for one in config["dependencies"] if one["api_name"] != "leave")


@pytest.fixture
def person() -> Any:
    return SimpleNamespace(session_hash="ann")


@pytest.fixture
def desk(studio: Studio) -> page.Studio:
    engine = studio()
    return page.Studio(engine, engine.limits)


def asked(desk: page.Studio, person: Any, text: str = "a dog", exclude: str = "", **more: Any) -> list[dict[str, Any]]:
    async def all_messages() -> list[dict[str, Any]]:
        given = [more.get(name) for name in ("like", "unlike", "part")]
        return [message async for message in desk.ask(text, exclude, *given, person)]

    return asyncio.run(all_messages())


def uploaded(folder: Path, content: bytes | None = None, name: str = "street.wav") -> str:
    path = folder / name
    path.write_bytes(wav() if content is None else content)
    return str(path)


def test_from_upload_to_answer(desk: page.Studio, person: Any, tmp_path: Path) -> None:
    assert desk.greet(person)["recording"] is None
    path = uploaded(tmp_path)
    *_, (opened, cleared) = desk.upload(path, person)
    assert cleared is None
    assert opened["recording"]["name"] == "street.wav"
    assert opened["errors"] == {}
    assert not Path(path).exists()
    *working, answer = asked(desk, person, exclude="rain, wind")
    assert all(message["busy"]["words"] for message in working)
    (track,) = answer["recording"]["tracks"]
    assert answer["chosen"] == track["id"]
    assert answer["busy"] is None
    assert track["description"] == "a dog without rain and wind"
    assert answer["said"].startswith("a dog without rain and wind: ")
    json.dumps(answer)


def test_a_recording_of_the_microphone_has_a_name(desk: page.Studio, person: Any, tmp_path: Path) -> None:
    *_, (opened, _) = desk.record(uploaded(tmp_path, name="blob"), person)
    assert opened["recording"]["name"] == "recording.wav"


def test_an_example_is_opened_with_a_question(desk: page.Studio, person: Any) -> None:
    message, ask = desk.example(EXAMPLES[0], person)
    assert message["recording"]["name"] == EXAMPLES[0].file_name
    assert ask == EXAMPLES[0].ask
    assert ask in message["said"]


def test_clips_and_a_stretch_are_examples(desk: page.Studio, person: Any, tmp_path: Path) -> None:
    list(desk.upload(uploaded(tmp_path), person))
    like, unlike = uploaded(tmp_path, name="bark.wav"), uploaded(tmp_path, name="rain.wav")
    for _ in range(2):
        answer = asked(desk, person, "", like=[like], unlike=[unlike], part={"start": 0.2, "end": 0.7})[-1]
    assert "--like bark.wav --unlike rain.wav --like-span 0.2-0.7" in answer["recording"]["tracks"][1]["command"]
    assert len(desk.store) == 3  # clips are decoded once
    asked(desk, person, "wind", like=[like])
    assert len(desk.store) == 2  # and go when they are taken away


def test_clips_never_push_out_the_recording(studio: Studio, person: Any, tmp_path: Path) -> None:
    engine = studio(max_recordings_each=3)
    desk = page.Studio(engine, engine.limits)
    list(desk.upload(uploaded(tmp_path), person))
    clips = [uploaded(tmp_path, wav(0.2), name=f"{number}.wav") for number in range(4)]
    (message,) = asked(desk, person, like=clips[:3])
    assert message["errors"] == {"like": "At most 2 clips are taken here."}
    for pair in (clips[:2], clips[2:]):
        assert asked(desk, person, like=pair)[-1]["chosen"]


def test_two_presses_at_once_ask_once(desk: page.Studio, person: Any, tmp_path: Path) -> None:
    list(desk.upload(uploaded(tmp_path), person))
    clip = uploaded(tmp_path, name="bark.wav")

    async def pressed() -> list[dict[str, Any]]:
        return [message async for message in desk.ask("a dog", "", [clip], None, None, person)]

    async def both() -> list[list[dict[str, Any]]]:
        return await asyncio.gather(pressed(), pressed())

    first, second = asyncio.run(both())
    assert second == []
    assert len(first[-1]["recording"]["tracks"]) == 1


def test_who_leaves_while_a_recording_is_read_leaves_nothing(
    desk: page.Studio, person: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = desk.store.add

    def leaving(*given: Any, **options: Any) -> Any:
        desk.leave(person)
        return add(*given, **options)

    monkeypatch.setattr(desk.store, "add", leaving)
    list(desk.upload(uploaded(tmp_path), person))
    assert len(desk.store) == 0


@pytest.mark.parametrize(
    ("more", "field", "told"),
    [
        ({"text": ""}, "text", "Nothing was asked"),
        ({"text": "rain", "exclude": "Rain"}, "exclude", "both wanted and excluded"),
        ({"text": "x" * 301}, "text", "301 letters"),
        ({"part": {"start": 0.5, "end": 9.0}}, "region", "ends at"),
        ({"part": {"end": 9.0}}, "text", "region"),
        ({"text": "", "part": [1, 2]}, "text", "Nothing was asked"),
        ({"like": "letter.txt"}, "like", "letter.txt"),
        ({"unlike": "letter.txt"}, "unlike", "letter.txt"),
    ],
)
def test_what_is_wrong_is_told_where_it_is(
    desk: page.Studio, person: Any, tmp_path: Path, more: dict[str, Any], field: str, told: str
) -> None:
    list(desk.upload(uploaded(tmp_path), person))
    for side in ("like", "unlike"):
        if side in more:
            more = more | {side: [uploaded(tmp_path, b"Dear all", more[side])]}
    (message,) = asked(desk, person, **more)
    assert list(message["errors"]) == [field]
    assert told in message["errors"][field]
    assert message["recording"]["tracks"] == []
    assert str(tmp_path) not in json.dumps(message)


def test_a_bad_upload_is_told_and_deleted(desk: page.Studio, person: Any, tmp_path: Path) -> None:
    list(desk.upload(uploaded(tmp_path), person))
    path = uploaded(tmp_path, b"Dear all", "letter.txt")
    *_, (message, _) = desk.upload(path, person)
    assert message["errors"]["source"].startswith("letter.txt ")
    assert message["recording"]["name"] == "street.wav"  # what was open stays
    assert not Path(path).exists()


def test_nothing_can_be_asked_of_nothing(desk: page.Studio, person: Any, tmp_path: Path) -> None:
    assert "source" in asked(desk, person)[0]["errors"]
    list(desk.upload(uploaded(tmp_path), person))
    (recording,) = desk.store._recordings
    desk.store.drop(recording)
    (message,) = asked(desk, person)
    assert message["recording"] is None
    assert message["errors"]


def test_a_question_is_cancelled_and_there_is_one_at_a_time(
    desk: page.Studio, person: Any, tmp_path: Path, system: GatedSystem
) -> None:
    list(desk.upload(uploaded(tmp_path), person))
    system.open.clear()

    async def changing_their_mind() -> list[dict[str, Any]]:
        messages = desk.ask("a dog", "", None, None, None, person)
        first = await anext(messages)
        assert first["busy"]
        assert [one async for one in desk.ask("rain", "", None, None, None, person)] == []
        desk.cancel(person)
        system.open.set()
        return [message async for message in messages]

    messages = asyncio.run(changing_their_mind())
    assert messages[-1]["said"] == "Cancelled."
    assert messages[-1]["recording"]["tracks"] == []
    assert asked(desk, person)[-1]["chosen"]


def test_a_question_that_nobody_waits_for_is_given_up(
    desk: page.Studio, person: Any, tmp_path: Path, system: GatedSystem
) -> None:
    list(desk.upload(uploaded(tmp_path), person))
    system.open.clear()

    async def going_away() -> None:
        messages = desk.ask("a dog", "", None, None, None, person)
        assert (await anext(messages))["busy"]
        await messages.aclose()

    asyncio.run(going_away())
    system.open.set()
    assert [track["description"] for track in asked(desk, person, "rain")[-1]["recording"]["tracks"]] == ["rain"]


def test_who_leaves_takes_everything_along_and_nobody_else_s(desk: page.Studio, person: Any, tmp_path: Path) -> None:
    other = SimpleNamespace(session_hash="ben")
    for one in (person, other):
        list(desk.upload(uploaded(tmp_path, name=f"{one.session_hash}.wav"), one))
    asked(desk, person, like=[uploaded(tmp_path, name="bark.wav")])
    assert len(desk.store) == 3
    desk.leave(person)
    assert len(desk.store) == 1
    assert asked(desk, other)[-1]["recording"]["name"] == "ben.wav"
    assert "source" in asked(desk, person)[0]["errors"]


def test_another_recording_replaces_the_one_before(desk: page.Studio, person: Any, tmp_path: Path) -> None:
    for name in ("one.wav", "two.wav"):
        list(desk.upload(uploaded(tmp_path, name=name), person))
    assert len(desk.store) == 1


def test_another_recording_ends_the_question_about_the_one_before(
    desk: page.Studio, person: Any, tmp_path: Path, system: GatedSystem
) -> None:
    list(desk.upload(uploaded(tmp_path, name="one.wav"), person))
    system.open.clear()

    async def opening_another() -> list[dict[str, Any]]:
        messages = desk.ask("a dog", "", None, None, None, person)
        await anext(messages)
        list(desk.upload(uploaded(tmp_path, name="two.wav"), person))
        system.open.set()
        return [message async for message in messages]

    last = asyncio.run(opening_another())[-1]
    assert (last["said"], last["errors"]) == ("Cancelled.", {})
    assert last["recording"]["name"] == "two.wav"
    assert last["recording"]["tracks"] == []


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (QueryError("nothing was asked"), "text"),
        (AudioError("the region ends at 9 s"), "region"),
        (BusyError("20 questions are waiting"), "ask"),
        (GoneError("this recording is not here"), "ask"),
        (ConfigError("something else"), "ask"),
    ],
)
def test_every_error_has_a_field(error: Any, field: str) -> None:
    assert page.field_of(error, "", "") == field


def test_errors_are_sentences() -> None:
    told = [page.sentence(AudioError(text)) for text in ("the end", "letter.txt is none", "Why?", "")]
    assert told == ["The end.", "letter.txt is none.", "Why?", "."]
    assert page.sentence(AudioError("my letter.txt is none"), "/tmp/my letter.txt") == "my letter.txt is none."


def test_the_engine_of_the_page_is_the_one_it_was_given(studio: Studio) -> None:
    engine: Engine = studio(max_minutes=3)
    assert page.Studio(engine, engine.limits).greet(SimpleNamespace(session_hash="x"))["limits"]["minutes"] == 3  # type: ignore[arg-type]
