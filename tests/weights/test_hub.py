from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest
import torch
from fake_hub import FakeHub, answered, hub, publish_debug, set_sources
from huggingface_hub import errors
from published_files import debug_system, laion_file

import soundsieve
from soundsieve.cli.main import main
from soundsieve.errors import WeightsError
from soundsieve.systems.clapsep import CLAPSep
from soundsieve.weights import published
from soundsieve.weights.catalog import CATALOG
from soundsieve.weights.checkpoint import load_system
from soundsieve.weights.hub import TOKENIZER, Source, fetch, sha256

__all__ = ["hub"]  # a fixture

SOURCE = Source("someone/Something", "model/weights.pt", "--weights", kind="space", size_mb=177.8)


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


# --- one file ---


def test_a_file_is_fetched_once(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"weights")
    hub.publish(SOURCE, tmp_path / "x")
    for _ in range(2):
        assert fetch(SOURCE).read_bytes() == b"weights"
    assert hub.fetched == ["model/weights.pt"]
    assert SOURCE.page == "https://huggingface.co/spaces/someone/Something/blob/main/model/weights.pt"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (answered(errors.GatedRepoError, 403), "its authors ask for an agreement first"),
        (answered(errors.RepositoryNotFoundError, 404), "there is no such repository"),
        (answered(errors.RevisionNotFoundError, 404), "there is no such repository"),
        (answered(errors.RemoteEntryNotFoundError, 404), "the repository has no such file"),
        (errors.EntryNotFoundError("gone"), "the repository has no such file"),
        (errors.LocalEntryNotFoundError("not in the cache"), "the hub cannot be reached, or the client is in offline"),
        (errors.OfflineModeIsEnabled("offline"), "the hub cannot be reached, or the client is in offline mode"),
        (ConnectionError("no route"), "the hub cannot be reached"),
        (TimeoutError("slow"), "the hub cannot be reached"),
        (answered(errors.HfHubHTTPError, 503), "503 said the server"),
        (OSError(errno.ENOSPC, "No space left on device"), "no room is left on the disk .* it takes 178 MB"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (RuntimeError("transport\nbroke"), "transport broke"),
    ],
)
def test_a_file_that_cannot_be_had(hub: FakeHub, error: Exception, message: str) -> None:
    hub.publish(SOURCE, error)
    with pytest.raises(WeightsError, match=message) as caught:
        fetch(SOURCE)
    said = one_line(caught.value)
    assert said.startswith("cannot fetch model/weights.pt of someone/Something: ")
    assert said.endswith(f"{SOURCE.page}, or give a copy with --weights")


def test_the_clients_retries_are_not_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def download(*_: object, **__: object) -> str:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 8s")
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    level = logging.getLogger("huggingface_hub").level
    with pytest.raises(WeightsError, match="the hub cannot be reached"):
        fetch(SOURCE)
    assert not caplog.records
    assert logging.getLogger("huggingface_hub").level == level


def test_another_file_than_the_published_one(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"tampered")
    known = Source("a/b", "c.pt", "--clap", sha256="0" * 64)
    hub.publish(known, tmp_path / "x")
    with pytest.raises(WeightsError, match=r"c\.pt is not the published c\.pt: its SHA-256 is .*delete it to fetch"):
        fetch(known)


# --- the published system by name ---


def test_by_name_fetched_and_converted_once(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_debug(hub, tmp_path / "published", monkeypatch)
    assert not CATALOG["clapsep"].at_hand
    first = soundsieve.load("clapsep").system
    assert isinstance(first, CLAPSep)
    assert hub.fetched == ["model/best_model.ckpt", "music_audioset_epoch_15_esc_90.14.pt", "tokenizer.json"]
    assert CATALOG["clapsep"].at_hand
    expected = debug_system()
    expected.merge_lora()
    assert first.config == expected.config
    for name, tensor in expected.state_dict().items():
        assert torch.equal(first.state_dict()[name], tensor), name
    torch.testing.assert_close(first.clap.embed_text(["rain"]), expected.clap.embed_text(["rain"]))

    monkeypatch.setattr("soundsieve.weights.convert.read_system", None)  # not needed again
    again = soundsieve.load("clapsep").system
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in first.state_dict().items())
    assert len(hub.fetched) == 3
    assert len(list((tmp_path / "cache" / "weights").iterdir())) == 1


def test_the_converted_file_serves_alone(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's gigabytes may be deleted after the conversion."""
    sources = publish_debug(hub, tmp_path / "published", monkeypatch)
    soundsieve.load("clapsep")
    for source in (*sources, TOKENIZER):
        hub.place(source.repository, source.file, source.kind).unlink()
        hub.publish(source, errors.OfflineModeIsEnabled("offline"))
    assert CATALOG["clapsep"].at_hand
    soundsieve.load("clapsep")


def test_a_good_conversion_survives_too_little_memory(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    publish_debug(hub, tmp_path / "published", monkeypatch)
    soundsieve.load("clapsep")
    (made,) = (tmp_path / "cache" / "weights").iterdir()
    with monkeypatch.context() as patched:
        patched.setattr("soundsieve.weights.checkpoint._build", fail)
        with pytest.raises(WeightsError, match="too little memory"):
            soundsieve.load("clapsep")
    assert made.is_file()
    contents = bytearray(made.read_bytes())
    contents[-1] ^= 1
    made.write_bytes(contents)
    soundsieve.load("clapsep")  # damaged: made again
    assert made.read_bytes() != contents


def test_files_in_the_clients_cache_suffice(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = publish_debug(hub, tmp_path / "published", monkeypatch)
    for source in (*sources, TOKENIZER):
        assert not CATALOG["clapsep"].at_hand
        fetch(source)
    assert CATALOG["clapsep"].at_hand
    for source in (*sources, TOKENIZER):
        hub.publish(source, errors.OfflineModeIsEnabled("offline"))
    soundsieve.load("clapsep")


def test_another_source_is_not_mistaken_for_it(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from published_files import slim_file

    sources = publish_debug(hub, tmp_path / "published", monkeypatch)
    first = soundsieve.load("clapsep").system
    other = debug_system()
    with torch.no_grad():
        other.decoder.norm.bias.add_(1)
    place = hub.place(sources[0].repository, sources[0].file, "space")
    slim_file(place, other)
    with pytest.raises(WeightsError, match=r"is not the published model/best_model\.ckpt"):
        soundsieve.load("clapsep")
    set_sources(monkeypatch, "clapsep", (replace(sources[0], sha256=None), sources[1]))
    second = soundsieve.load("clapsep").system
    assert not torch.equal(first.decoder.norm.bias, second.decoder.norm.bias)  # type: ignore[arg-type, union-attr]


def test_a_damaged_conversion_is_made_again(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_debug(hub, tmp_path / "published", monkeypatch)
    soundsieve.load("clapsep")
    (file,) = (tmp_path / "cache" / "weights").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-50])
    soundsieve.load("clapsep")
    assert file.stat().st_size == len(whole)
    load_system(file)


def test_without_a_tokenizer(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_debug(hub, tmp_path / "published", monkeypatch)
    hub.publish(TOKENIZER, errors.LocalEntryNotFoundError("no network"))
    with pytest.raises(WeightsError, match=r"cannot fetch tokenizer\.json .*--tokenizer \(a tokenizer\.json; or none"):
        soundsieve.load("clapsep")
    assert not (tmp_path / "cache").exists()
    soundsieve.load("clapsep", tokenizer="none")
    soundsieve.load("clapsep", tokenizer=tmp_path / "published" / "tokenizer.json")
    assert len(list((tmp_path / "cache" / "weights").iterdir())) == 2
    with pytest.raises(WeightsError, match="cannot fetch tokenizer"):
        soundsieve.load("clapsep")


def test_a_tokenizer_of_another_repository(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_debug(hub, tmp_path / "published", monkeypatch)
    mirror = Source("someone/roberta", "tokenizer.json", "--tokenizer")
    hub.publish(mirror, tmp_path / "published" / "tokenizer.json")
    soundsieve.load("clapsep", tokenizer="someone/roberta")
    hub.publish(mirror, answered(errors.RepositoryNotFoundError, 404))
    hub.place(mirror.repository, mirror.file, "model").unlink()
    with pytest.raises(WeightsError, match=r"cannot fetch tokenizer\.json of someone/roberta: there is no such repos"):
        soundsieve.load("clapsep", tokenizer="someone/roberta", weights=tmp_path / "published" / "best_model.ckpt")


def test_one_file_local_and_the_other_from_the_hub(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_debug(hub, tmp_path / "published", monkeypatch)
    soundsieve.load("clapsep", weights=tmp_path / "published" / "best_model.ckpt", tokenizer="none")
    assert hub.fetched == ["music_audioset_epoch_15_esc_90.14.pt"]
    soundsieve.load("clapsep", clap=tmp_path / "published" / "clap.pt", tokenizer="none")
    assert hub.fetched[1:] == ["model/best_model.ckpt"]
    assert not (tmp_path / "cache").exists()


def test_what_the_hub_hands_out_is_checked(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged, wrong or foreign file is refused, and nothing of it is kept."""
    sources = publish_debug(hub, tmp_path / "published", monkeypatch)
    whole = (tmp_path / "published" / "best_model.ckpt").read_bytes()
    page, cut = tmp_path / "page", tmp_path / "cut"
    page.write_bytes(b"<!DOCTYPE html><html>")
    cut.write_bytes(whole[: len(whole) // 2])
    clap = laion_file(tmp_path / "other.pt", debug_system(seed=1))
    for file, message in ((page, "is a web page"), (cut, "is cut short"), (clap, "is a CLAP file")):
        place = hub.place(sources[0].repository, sources[0].file, "space")
        place.unlink(missing_ok=True)
        source = Source(sources[0].repository, sources[0].file, "--weights", "space", sha256=sha256(file))
        hub.publish(source, file)
        set_sources(monkeypatch, "clapsep", (source, sources[1]))
        with pytest.raises(WeightsError, match=message) as caught:
            soundsieve.load("clapsep")
        one_line(caught.value)
    assert not (tmp_path / "cache").exists()


def test_no_room_for_the_conversion(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    publish_debug(hub, tmp_path / "published", monkeypatch)
    monkeypatch.setattr("soundsieve.weights.checkpoint.save_file", full)
    with pytest.raises(WeightsError, match=r"cannot write .*No space left on device"):
        soundsieve.load("clapsep")
    assert list((tmp_path / "cache" / "weights").iterdir()) == []


# --- what the commands say ---


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


def test_the_list_of_models_tells_whether_it_is_here(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def row() -> str:
        assert run("models") == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("clapsep"))

    publish_debug(hub, tmp_path / "published", monkeypatch)
    assert " no " in row()
    soundsieve.load("clapsep")
    assert " yes " in row()


def test_an_error_is_one_line_of_the_command(
    hub: FakeHub, tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = publish_debug(hub, tmp_path / "published", monkeypatch)
    hub.publish(sources[1], errors.LocalEntryNotFoundError("no\nnetwork"))
    assert run("extract", "a dog", str(clips / "dog.wav"), "--model", "clapsep", "-o", str(tmp_path / "out")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("soundsieve: cannot fetch music_audioset_epoch_15_esc_90.14.pt of lukewys/laion_clap: ")
    assert err.endswith("or give a copy with --clap\n")
    assert not (tmp_path / "out").exists()


def test_the_cache_is_the_clients_and_soundsieves_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDSIEVE_CACHE", str(tmp_path))
    assert published._folder() == tmp_path / "weights"
    monkeypatch.delenv("SOUNDSIEVE_CACHE")
    assert published._folder() == Path.home() / ".cache" / "soundsieve" / "weights"
