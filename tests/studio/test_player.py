from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from studio_parts import RATE, Studio, answered, samples, wav

from soundsieve.errors import AudioError
from soundsieve.studio import api
from soundsieve.studio.engine import Engine, Question
from soundsieve.studio.limits import GoneError
from soundsieve.studio.pictures import levels_db
from soundsieve.studio.player import MOST_S, piece, routes, scene, sound_path, verdict
from soundsieve.studio.store import Recording


@pytest.fixture
def engine(studio: Studio) -> Engine:
    return studio()


@pytest.fixture
def recording(engine: Engine) -> Recording:
    added = engine.store.add(wav(2.5, channels=2), "street.wav")
    answered(engine, added.id, Question("a dog", exclude=("rain",)))
    return added


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    app = FastAPI()
    api.tell_errors(app)
    app.include_router(routes(engine.store))
    with TestClient(app) as client:
        yield client


def test_a_scene_is_all_that_the_page_needs(recording: Recording) -> None:
    told = json.loads(json.dumps(scene(recording)))
    (track,) = recording.tracks.values()
    assert told["name"] == "street.wav"
    assert (told["frames"], told["sampleRate"], told["channels"], told["seconds"]) == (2.5 * RATE, RATE, 2, 2.5)
    assert {mark["text"] for mark in told["marks"]} >= {"100 Hz", "1 kHz", "4 kHz"}
    (shown,) = told["tracks"]
    assert shown["id"] == track.id
    assert shown["description"] == "a dog without rain"
    assert shown["verdict"] == verdict(track.presence, found=track.found) != ""
    assert shown["spans"] == [{"start": start, "end": end} for start, end in track.spans]
    assert shown["command"] == track.command
    assert shown["warning"] is None
    assert "/" not in json.dumps(told).replace("\\", "")  # no paths of this machine


def test_presence_is_told_in_words() -> None:
    words = [verdict(presence, found=presence >= 0.5) for presence in (0.99, 0.6, 0.4, 0.01)]
    assert words[0] == "It is there."
    assert "probably there" in words[1]
    assert "Probably not there" in words[2]
    assert words[3].startswith("Not there")
    assert verdict(None, found=True) == ""


def test_sounds_are_found_by_name(recording: Recording) -> None:
    (track,) = recording.tracks.values()
    assert sound_path(recording, "mixture") == recording.path
    assert sound_path(recording, f"{track.id}.target") == track.target_path
    assert sound_path(recording, f"{track.id}.rest") == track.rest_path
    for name in (track.id, "x.target", f"{track.id}.mixture", "../mixture", ""):
        with pytest.raises(GoneError):
            sound_path(recording, name)


def test_pieces_put_together_are_the_sound(recording: Recording) -> None:
    whole = samples(recording.path)
    frames = whole.shape[1]
    pieces = [samples(piece(recording.path, start, 7000)) for start in range(0, frames, 7000)]
    assert [one.shape[1] for one in pieces] == [7000] * 5 + [frames - 35000]
    assert np.abs(np.concatenate(pieces, axis=1) - whole).max() <= 2**-15
    with pytest.raises(AudioError, match="ends before"):
        piece(recording.path, frames, 1)


def test_pieces_and_pictures_are_served(client: TestClient, recording: Recording) -> None:
    (track,) = recording.tracks.values()
    for sound in ("mixture", f"{track.id}.target", f"{track.id}.rest"):
        answer = client.get(f"/studio/sounds/{recording.id}/{sound}.wav", params={"start": 1000, "frames": 500})
        assert answer.headers["content-type"] == "audio/wav"
        assert "private" in answer.headers["cache-control"]
        wanted = samples(sound_path(recording, sound))[:, 1000:1500]
        assert np.abs(samples(answer.content) - wanted).max() <= 2**-15
        picture = client.get(f"/studio/sounds/{recording.id}/{sound}.png")
        assert picture.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(picture.content)) as shown:
            shown.load()
            assert (np.asarray(shown).max() == 255) == (sound == "mixture")  # all on the recording's scale


def test_pictures_are_drawn_one_at_a_time_and_from_levels_that_are_worked_out_once(
    client: TestClient, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    (track,) = recording.tracks.values()
    busy, most, drawn = 0, 0, []

    def slowly(path: Path) -> np.ndarray:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        time.sleep(0.02)
        drawn.append(path)
        busy -= 1
        return levels_db(path)

    monkeypatch.setattr("soundsieve.studio.player.levels_db", slowly)
    names = ("mixture", f"{track.id}.target", f"{track.id}.rest")
    with ThreadPoolExecutor(3) as people:
        got = list(people.map(lambda name: client.get(f"/studio/sounds/{recording.id}/{name}.png").status_code, names))
    assert got == [200] * 3
    assert most == 1
    assert sorted(drawn) == sorted([recording.path, track.target_path, track.rest_path])


def test_no_more_is_given_at_once_than_is_played_soon(client: TestClient, engine: Engine) -> None:
    long = engine.store.add(wav(MOST_S + 2), "long.wav")
    answer = client.get(f"/studio/sounds/{long.id}/mixture.wav", params={"start": 0, "frames": 10**12})
    assert samples(answer.content).shape[1] == MOST_S * RATE


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("sounds/nobody/mixture.wav?start=0&frames=10", 404),
        ("sounds/nobody/mixture.png", 404),
        ("sounds/{id}/x.target.wav?start=0&frames=10", 404),
        ("sounds/{id}/x.rest.png", 404),
        ("sounds/{id}/mixture.wav?start=99999999&frames=10", 422),
        ("sounds/{id}/mixture.wav?start=-1&frames=10", 422),
        ("sounds/{id}/mixture.wav?start=0", 422),
        ("static/nothing.css", 404),
        ("static/..%2Fpage.py", 404),
        ("static/top.html", 404),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(
    client: TestClient, recording: Recording, path: str, status: int
) -> None:
    answer = client.get("/studio/" + path.format(id=recording.id))
    assert answer.status_code == status
    if "application/json" in answer.headers["content-type"]:
        assert "error" in answer.json() or answer.json() == {"detail": "Not Found"}
    assert str(Path(recording.path).parent) not in answer.text


@pytest.mark.parametrize(("name", "kind"), [("page.mjs", "text/javascript"), ("studio.css", "text/css")])
def test_the_page_s_own_files_are_served(client: TestClient, name: str, kind: str) -> None:
    answer = client.get(f"/studio/static/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.text) > 500
