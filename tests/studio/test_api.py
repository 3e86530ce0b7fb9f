from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from studio_parts import GatedSystem, samples, wav

from soundsieve import __version__
from soundsieve.separator import Separator
from soundsieve.studio import server
from soundsieve.studio.engine import Engine
from soundsieve.studio.limits import Limits
from soundsieve.studio.store import Store


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, GatedSystem, Store]]:
    system = GatedSystem().eval()
    limits = Limits(max_minutes=1, max_megabytes=4, max_waiting_each=3)
    store = Store(limits, tmp_path_factory.mktemp("studio"))
    app = server.build(Engine(store, load=lambda: Separator(system), start=False))
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        yield client, system, store
        system.open.set()
    assert not store.folder.exists()


@pytest.fixture
def client(running: tuple[TestClient, GatedSystem, Store]) -> TestClient:
    running[0].cookies.clear()
    running[1].open.set()
    return running[0]


@pytest.fixture
def system(running: tuple[TestClient, GatedSystem, Store]) -> GatedSystem:
    system = running[1]
    while system.reached.acquire(blocking=False) or system.let_through.acquire(blocking=False):
        pass
    return system


def added(client: TestClient, content: bytes | None = None, name: str = "street.wav") -> str:
    answer = client.post("/api/recordings", params={"name": name}, content=wav() if content is None else content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_from_recording_to_tracks_and_back(client: TestClient) -> None:
    content = wav(2.5, channels=2)
    sent = client.post("/api/recordings?name=../../A%20street.wav", content=content)
    recording = sent.json()
    assert sent.status_code == 201
    assert {key: recording[key] for key in ("name", "seconds", "sample_rate", "channels", "tracks")} == {
        **{"name": "A street.wav", "seconds": 2.5, "sample_rate": 16000, "channels": 2, "tracks": []}
    }
    at = f"/api/recordings/{recording['id']}"

    job = client.post(f"{at}/tracks?wait=20", json={"text": "a dog", "exclude": ["rain"]}).json()
    assert (job["state"], job["progress"], job["before"], job["words"]) == ("done", 1.0, 0, "done")
    track = job["track"]
    assert track["description"] == "a dog without rain"
    assert track["spans"] == [{"start": 0.0, "end": 2.5}]
    assert client.get(f"{at}/tracks/{track['id']}").json() == track
    assert client.get(at).json()["tracks"] == [track]

    target, rest = (client.get(f"{at}/tracks/{track['id']}/{part}.wav") for part in ("target", "rest"))
    assert np.array_equal(samples(target.content) + samples(rest.content), samples(content))
    assert target.headers["content-disposition"] == 'attachment; filename="a-street.a-dog-without-rain.wav"'
    assert target.headers["cache-control"] == "no-store"
    assert np.array_equal(samples(client.get(f"{at}/mixture.flac").content), samples(content))
    mix = client.get(f"{at}/mix.wav", params={"track": [f"{track['id']}:18"]})
    assert "written as 32-bit float" in mix.headers["x-note"]
    assert mix.headers["content-disposition"] == 'attachment; filename="a-street.mix.wav"'
    with zipfile.ZipFile(io.BytesIO(client.get(f"{at}/archive.zip?kind=flac&track={track['id']}").content)) as packed:
        assert "a-street.mix.flac" in packed.namelist()

    assert client.delete(f"{at}/tracks/{track['id']}").status_code == 204
    assert client.get(f"{at}/tracks/{track['id']}").status_code == 404
    assert client.delete(at).status_code == 204
    assert client.get(at).status_code == 404


def test_examples_are_recordings_too(client: TestClient) -> None:
    recording, bark = added(client), added(client, wav(0.3, seed=4), "bark.wav")
    asked = {"like": [bark], "region": {"start": 0.2, "end": 0.4}, "invert": True}
    job = client.post(f"/api/recordings/{recording}/tracks?wait=20", json=asked).json()
    assert job["track"]["description"] == "everything but like bark and like 0.2-0.4"
    command = "soundsieve extract street.wav --like bark.wav --like-span 0.2-0.4 --invert"
    assert job["track"]["command"] == command


def test_a_question_can_be_followed_and_given_up(client: TestClient, system: GatedSystem) -> None:
    at = f"/api/recordings/{added(client, wav(30.0))}/tracks"
    system.open.clear()
    working, waiting = (client.post(at, json={"text": words}).json() for words in ("a dog", "rain"))
    assert system.reached.acquire(timeout=20)
    assert client.get(f"/api/jobs/{waiting['id']}").json()["words"] == "waiting: 1 question before this one"
    assert client.delete(f"/api/jobs/{waiting['id']}").json()["state"] == "cancelled"
    assert client.get("/health").json()["working"] == 1
    threading.Timer(0.3, system.open.set).start()
    events = client.get(f"/api/jobs/{working['id']}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    told = [block.split("\n") for block in events.text.strip().split("\n\n")]
    assert {event for event, _ in told} == {"event: working", "event: done"}
    jobs = [json.loads(data.removeprefix("data: ")) for _, data in told]
    assert jobs[-1]["track"]["description"] == "a dog"
    assert [job["progress"] for job in jobs] == sorted(job["progress"] for job in jobs)


def test_too_many_questions_are_refused_and_the_cookie_tells_whose_they_are(
    client: TestClient, system: GatedSystem
) -> None:
    first, second = added(client), added(client)  # one person: the client keeps the cookie
    client.cookies.clear()
    third = added(client)
    system.open.clear()
    assert client.post(f"/api/recordings/{first}/tracks", json={"text": "a dog"}).status_code == 202
    assert system.reached.acquire(timeout=20)
    for recording in (first, second, second):
        assert client.post(f"/api/recordings/{recording}/tracks", json={"text": "a dog"}).status_code == 202
    refused = client.post(f"/api/recordings/{first}/tracks", json={"text": "a dog"})
    assert refused.status_code == 429
    assert refused.json()["error"].startswith("3 of your questions are waiting already")
    assert int(refused.headers["retry-after"]) > 0
    others = client.post(f"/api/recordings/{third}/tracks", json={"text": "a dog"}).json()
    assert others["before"] == 1, "behind what is being answered, before what I asked for more"
    for recording in (first, second, third):
        client.delete(f"/api/recordings/{recording}")


@pytest.mark.parametrize(
    ("content", "status", "complaint"),
    [
        (b"no sound at all", 422, "street.wav is damaged or not a recording"),
        (b"", 422, "street.wav is empty"),
        (bytes(4_000_001), 413, "the file is larger than 4 MB, the most that is taken here"),
        (wav(61.0), 422, "street.wav lasts longer than 60 seconds, the most that is taken"),
        (wav(0.1, channels=9), 413, "9 channels"),
    ],
)
def test_a_recording_that_cannot_be_taken(
    content: bytes, status: int, complaint: str, client: TestClient, running: tuple[TestClient, GatedSystem, Store]
) -> None:
    for body in (content, iter([content])):  # with its length told, and without
        answer = client.post("/api/recordings?name=street.wav", content=body)
        assert answer.status_code == status
        assert complaint in answer.json()["error"]
        assert str(running[2].folder) not in answer.text
    assert not any(path.is_file() for path in running[2].incoming.rglob("*"))


def test_a_form_is_told_how_to_do_it(client: TestClient) -> None:
    answer = client.post("/api/recordings", files={"file": wav(0.1)})
    assert answer.status_code == 422
    assert "--data-binary" in answer.json()["error"]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, "nothing was asked"),
        ({"text": "dog", "exclude": ["dog"]}, "both wanted and excluded"),
        ({"text": "dog", "region": {"start": 2, "end": 1}}, "from 2 to 1 s"),
        ({"text": "dog", "region": {"start": 2, "end": 3}}, "the region ends at 3.00 s"),
        ({"text": "dog", "loud": True}, "loud: Extra inputs are not permitted"),
        ({"text": 3}, "text: Input should be a valid string"),
        ([], "valid dictionary"),
    ],
)
def test_a_question_that_cannot_be_asked(asked: object, complaint: str, client: TestClient) -> None:
    answer = client.post(f"/api/recordings/{added(client)}/tracks", json=asked)
    assert answer.status_code == 422
    assert complaint in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/recordings/x"),
        ("DELETE", "/api/recordings/x"),
        ("GET", "/api/recordings/x/mixture.wav"),
        ("GET", "/api/recordings/x/archive.zip"),
        ("GET", "/api/recordings/x/mix.wav"),
        ("GET", "/api/recordings/x/tracks/y"),
        ("GET", "/api/recordings/..%2F..%2Fetc/mixture.wav"),
        ("GET", "/api/jobs/x"),
        ("GET", "/api/jobs/x/events"),
        ("DELETE", "/api/jobs/x"),
    ],
)
def test_what_is_not_there_is_404(method: str, path: str, client: TestClient) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 404
    if ".." not in path and "%2F" not in path:
        assert answer.json()["error"]


def test_a_fault_inside_is_told_in_a_sentence(
    running: tuple[TestClient, GatedSystem, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running[2], "get", lambda id: 1 / 0)
    client = TestClient(running[0].app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)
    answer = client.get("/api/recordings/x")
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong in the studio itself, sorry"}


@pytest.mark.parametrize(("method", "path"), [("PUT", "recordings/x"), ("GET", "recordings"), ("POST", "nowhere/x")])
def test_an_address_that_there_is_not_is_told_in_a_sentence(method: str, path: str, client: TestClient) -> None:
    answer = client.request(method, f"/api/{path}")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": f"nothing at this address takes {method}: /docs tells what there is"},
    )


def test_nobody_can_list_what_there_is(client: TestClient) -> None:
    added(client)
    assert client.get("/api/recordings").status_code in (404, 405)
    assert client.get("/api/jobs").status_code in (404, 405)


@pytest.mark.parametrize("level", ["x:", "x:loud", "x:nan", "x:99"])
def test_levels_are_numbers(level: str, client: TestClient) -> None:
    recording = added(client)
    answer = client.get(f"/api/recordings/{recording}/mix.wav", params={"track": level})
    assert answer.status_code == (404 if level == "x:" else 422)
    assert client.get(f"/api/recordings/{recording}/mix.exe").status_code == 422


def test_health_and_description(client: TestClient) -> None:
    health = client.get("/health").json()
    assert {key: health[key] for key in ("ready", "state", "model", "version")} == {
        **{"ready": True, "state": "ready", "model": "starter", "version": __version__}
    }
    described = client.get("/openapi.json").json()
    documented = {(path, method) for path, methods in described["paths"].items() for method in methods}
    page = client.get("/docs").text
    assert len(documented) >= 14
    for path, method in documented:
        assert f"<code>{method.upper()} {path}</code>" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


def test_a_page_elsewhere_cannot_drive_it(client: TestClient) -> None:
    recording = added(client)
    assert client.delete(f"/api/recordings/{recording}", headers={"Origin": "https://evil.com"}).status_code == 403
    assert client.get(f"/api/recordings/{recording}", headers={"Host": "evil.com"}).status_code == 403
    assert client.get(f"/api/recordings/{recording}").status_code == 200


def test_a_password_covers_page_and_api(tmp_path: Path) -> None:
    with Store(folder=tmp_path) as store:
        app = server.build(Engine(store, "debug", start=False), auth="me:word")
        client = TestClient(app, base_url="http://localhost")
        for path in ("/", "/docs", "/openapi.json", "/gradio_api/info", "/config", "/api/recordings/x"):
            assert client.get(path).status_code == 401, path
        assert client.get("/health").status_code == 200
        assert client.get("/docs", auth=("me", "word")).status_code == 200
        assert client.get("/api/recordings/x", auth=("me", "word")).status_code == 404


def test_what_is_uploaded_by_way_of_the_page_has_the_same_limit(
    client: TestClient, running: tuple[TestClient, GatedSystem, Store]
) -> None:
    incoming = running[2].incoming
    small = client.post("/gradio_api/upload", files={"files": ("../../street.wav", wav(0.1))})
    assert small.status_code == 200
    (path,) = small.json()
    assert incoming in Path(path).parents
    assert Path(path).name == "street.wav"
    (other,) = client.post("/gradio_api/upload", files={"files": ("../../street.wav", wav(0.1))}).json()
    assert other != path  # who has the same file has a copy of their own
    for one in (path, other):
        Path(one).unlink()
    large = client.post("/gradio_api/upload", files={"files": ("street.wav", bytes(4_000_001))})
    assert large.status_code == 413
    assert not [path for path in incoming.rglob("*") if path.is_file()]


def test_the_page_gives_out_no_files_of_others(
    client: TestClient, running: tuple[TestClient, GatedSystem, Store], tmp_path: Path
) -> None:
    recording = running[2].get(added(client))
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    for path in (recording.path, secret, Path(__file__), Path("pyproject.toml").resolve(), Path("/etc/passwd")):
        for address in (f"/gradio_api/file={path}", f"/file={path}", f"/gradio_api/file/{path}"):
            answer = client.get(address)
            assert answer.status_code in (403, 404), address
