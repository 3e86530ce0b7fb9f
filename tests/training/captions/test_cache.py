from __future__ import annotations

import fcntl
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.training.captions.building import build_cache
from soundsieve.training.captions.cache import EMBEDDINGS, MANIFEST, OFFSETS, TEXTS, CaptionCache, part_of
from soundsieve.training.captions.encoders import JointEncoder, load_encoder
from soundsieve.training.captions.search import Exact, has_faiss

NEEDS_FAISS = pytest.mark.skipif(not has_faiss(), reason="faiss is not installed (extra 'cache')")


class Interrupted:
    """An encoder that is interrupted after so many batches."""

    def __init__(self, encoder: JointEncoder, after: int | None) -> None:
        self.encoder, self.after, self.texts = encoder, after, 0
        self.name, self.width, self.digest = encoder.name, encoder.width, encoder.digest
        self.sample_rate, self.device = encoder.sample_rate, encoder.device
        self.check_text, self.embed_audio = encoder.check_text, encoder.embed_audio

    def embed_text(self, texts: list[str]) -> Tensor:
        if self.after == 0:
            raise KeyboardInterrupt
        self.after = None if self.after is None else self.after - 1
        self.texts += len(texts)
        return self.encoder.embed_text(texts)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, encoder: JointEncoder, captions: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("built") / "cache"
    build_cache(captions, folder, encoder, batch_size=2)
    return folder


def test_a_caption_retrieves_itself(built: Path, encoder: JointEncoder, captions: list[str]) -> None:
    cache = CaptionCache.open(built, encoder_digest=encoder.digest)
    assert len(cache) == len(captions)
    assert list(cache.texts) == captions
    scores, places = cache.search(encoder.embed_text(captions[40:60]), 3)
    assert places[:, 0].tolist() == list(range(40, 60))
    torch.testing.assert_close(scores[:, 0], torch.ones(20), atol=1e-3, rtol=0)
    assert (scores.diff(dim=1) <= 0).all()


def test_vectors_are_those_of_the_encoder_within_half_precision(
    built: Path, encoder: JointEncoder, captions: list[str]
) -> None:
    cache = CaptionCache.open(built)
    places = torch.tensor([[0, 7], [299, 3]])
    vectors = cache.vectors(places)
    wanted = encoder.embed_text([captions[place] for place in places.flatten()]).view(2, 2, -1)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, wanted, atol=2**-11, rtol=0)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, 2))


def test_texts_are_a_sequence(built: Path, captions: list[str]) -> None:
    texts = CaptionCache.open(built).texts
    assert texts[-1] == captions[-1]
    assert texts[5:300:90] == captions[5:300:90]
    with pytest.raises(IndexError):
        texts[300]


@pytest.mark.parametrize("batches", [0, 1, 31, 32, 33, 70, 149])
def test_gone_on_with_it_is_the_same_to_the_byte(
    tmp_path: Path, built: Path, encoder: JointEncoder, captions: list[str], batches: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_cache(captions, tmp_path / "cache", Interrupted(encoder, batches), batch_size=2)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ConfigError, match="was interrupted: build it again to go on"):
        CaptionCache.open(tmp_path / "cache")
    second = Interrupted(encoder, None)
    build_cache(captions, tmp_path / "cache", second, batch_size=2)
    assert contents(tmp_path / "cache") == contents(built)
    assert not part_of(tmp_path / "cache").exists()
    kept = max(0, batches // 32 - 1) * 64  # blocks of 32 batches; the last one is made again
    assert second.texts == len(captions) - kept


def test_a_torn_block_is_made_again(tmp_path: Path, built: Path, encoder: JointEncoder, captions: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_cache(captions, tmp_path / "cache", Interrupted(encoder, 100), batch_size=2)
    with (part_of(tmp_path / "cache") / EMBEDDINGS).open("r+b") as file:
        file.seek(-5, 2)
        file.write(b"\0\0")
        file.truncate()
    build_cache(captions, tmp_path / "cache", encoder, batch_size=2)
    assert contents(tmp_path / "cache") == contents(built)


@pytest.mark.parametrize("change", ["captions", "batch"])
def test_what_was_begun_otherwise_is_not_gone_on_with(
    tmp_path: Path, built: Path, encoder: JointEncoder, captions: list[str], change: str
) -> None:
    first = [*captions, "one more"] if change == "captions" else captions
    with pytest.raises(KeyboardInterrupt):
        build_cache(first, tmp_path / "cache", Interrupted(encoder, 70), batch_size=4 if change == "batch" else 2)
    build_cache(captions, tmp_path / "cache", encoder, batch_size=2)
    assert contents(tmp_path / "cache") == contents(built)


def test_what_is_left_out_is_counted(tmp_path: Path, encoder: JointEncoder) -> None:
    given = ["A dog barks.", "a dog  BARKS", "", "...", "日本", "x" * 200, "a cat", "A dog barks"]
    cache = build_cache(given, tmp_path / "cache", encoder)
    assert list(cache.texts) == ["A dog barks.", "a cat"]
    assert (cache.info.repeated, cache.info.unreadable) == (4, 2)


def test_progress_ends_with_all_of_it(tmp_path: Path, encoder: JointEncoder, captions: list[str]) -> None:
    told: list[tuple[str, int, int]] = []
    build_cache(captions, tmp_path / "cache", encoder, batch_size=2, progress=lambda *one: told.append(one))
    assert told[0] == ("embedding captions", 0, 300)
    assert told[-1] == ("embedding captions", 300, 300)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_another_encoder_is_refused(built: Path, encoder: JointEncoder) -> None:
    with pytest.raises(ConfigError) as caught:
        CaptionCache.open(built, encoder_digest="f" * 64)
    assert f"{built} was built with debug ({encoder.digest[:12]})" in str(caught.value)
    assert "another encoder (ffffffffffff)" in str(caught.value)


def test_another_process_opens_it_by_name(built: Path, encoder: JointEncoder) -> None:
    cache = CaptionCache.open(built)
    cache.search(encoder.embed_text(["a dog"]), 1)
    sent = pickle.dumps(cache)
    assert len(sent) < 1000
    assert list(pickle.loads(sent).texts) == list(cache.texts)


def test_checksums_are_compared(tmp_path: Path, encoder: JointEncoder) -> None:
    cache = build_cache(["a dog", "a cat"], tmp_path / "cache", encoder)
    cache.verify()
    text = (tmp_path / "cache" / TEXTS).read_text().replace("dog", "hog")
    (tmp_path / "cache" / TEXTS).write_text(text)
    with pytest.raises(ConfigError, match=r"texts\.txt does not match its checksum"):
        CaptionCache.open(tmp_path / "cache").verify()
    (tmp_path / "cache" / TEXTS).write_text(text.replace("hog", "dog"))
    CaptionCache.open(tmp_path / "cache").verify()
    np.save(tmp_path / "cache" / OFFSETS, [0, 3, 12])
    with pytest.raises(ConfigError, match=r"offsets\.npy is not where the captions start"):
        CaptionCache.open(tmp_path / "cache").verify()


@pytest.mark.parametrize("offsets", [5, [[0, 6, 12]], [0.0, 6.0, 12.0], [0, 12]])
def test_places_that_are_none_are_told(tmp_path: Path, encoder: JointEncoder, offsets: object) -> None:
    build_cache(["a dog", "a cat"], tmp_path / "cache", encoder)
    np.save(tmp_path / "cache" / OFFSETS, offsets)
    with pytest.raises(ConfigError, match=r"texts\.txt and offsets\.npy do not fit"):
        CaptionCache.open(tmp_path / "cache")


def test_damaged_letters_are_shown_as_such(tmp_path: Path, encoder: JointEncoder) -> None:
    build_cache(["a dog", "a cat"], tmp_path / "cache", encoder)
    data = (tmp_path / "cache" / TEXTS).read_bytes()
    (tmp_path / "cache" / TEXTS).write_bytes(data.replace(b"dog", b"d\xffg"))
    assert list(CaptionCache.open(tmp_path / "cache").texts) == ["a d\ufffdg", "a cat"]


def test_a_cache_can_be_moved(tmp_path: Path, encoder: JointEncoder) -> None:
    build_cache(["a dog", "a cat"], tmp_path / "cache", encoder)
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    cache = CaptionCache.open(tmp_path / "elsewhere", encoder_digest=encoder.digest)
    assert cache.texts[int(cache.search(encoder.embed_text(["a cat"]), 1)[1])] == "a cat"


def _cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).unlink()  # a file that somebody has mapped must not shrink: its pages would be gone
        (folder / name).write_bytes(data[: len(data) * 2 // 3])

    return cut


@pytest.mark.parametrize("name", [EMBEDDINGS, TEXTS, "offsets.npy", MANIFEST])
@pytest.mark.parametrize("how", ["cut", "gone", "empty"])
def test_a_damaged_cache_is_told_in_one_line(tmp_path: Path, encoder: JointEncoder, name: str, how: str) -> None:
    folder = tmp_path / "cache"
    build_cache(["a dog", "a cat", "a bird"], folder, encoder)
    if how == "cut":
        _cut(name)(folder)
    elif how == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"build (it|the cache) again|no caption cache") as caught:
        CaptionCache.open(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("captions", "many"), ("colour", "blue"), ("index", "tree")])
def test_a_description_that_is_none_is_told(tmp_path: Path, encoder: JointEncoder, key: str, value: str) -> None:
    build_cache(["a dog"], tmp_path / "cache", encoder)
    manifest = tmp_path / "cache" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {key: value}))
    with pytest.raises(ConfigError, match=rf"cache\.json is damaged: build the cache again \(.*{key}"):
        CaptionCache.open(tmp_path / "cache")


@NEEDS_FAISS
def test_a_damaged_index_is_told(tmp_path: Path, encoder: JointEncoder, captions: list[str]) -> None:
    cache = build_cache(captions, tmp_path / "cache", encoder, index="ivf")
    assert cache.search(encoder.embed_text(captions[:5]), 1)[1].flatten().tolist() == [0, 1, 2, 3, 4]
    _cut("index.faiss")(tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"index\.faiss is missing or damaged: build the cache again"):
        CaptionCache.open(tmp_path / "cache").search(encoder.embed_text(["a dog"]), 1)


@NEEDS_FAISS
def test_an_inverted_file_is_searched_exactly_without_faiss(
    tmp_path: Path, encoder: JointEncoder, captions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_cache(captions, tmp_path / "cache", encoder, index="ivf")
    monkeypatch.setattr("soundsieve.training.captions.cache.has_faiss", lambda: False)
    assert isinstance(CaptionCache.open(tmp_path / "cache").index, Exact)


def test_bad_captions_are_told(tmp_path: Path, encoder: JointEncoder) -> None:
    path, folder = tmp_path / "captions.txt", tmp_path / "cache"
    with pytest.raises(ConfigError, match=r"cannot read .*captions\.txt: No such file"):
        build_cache(path, folder, encoder)
    path.write_bytes(b"\n \n")
    with pytest.raises(ConfigError, match=r"there is no caption in .*captions\.txt"):
        build_cache(path, folder, encoder)
    path.write_bytes(b"a dog\na c\xe4t\n")
    with pytest.raises(ConfigError, match=r"captions\.txt is not UTF-8 text: see line 2"):
        build_cache(path, folder, encoder)
    path.write_bytes("a dog\na cat\n".encode("utf-16-le"))  # which is UTF-8 as well
    with pytest.raises(ConfigError, match=r"captions\.txt is not UTF-8 text: see line 1"):
        build_cache(path, folder, encoder)
    path.write_text("日本\n")
    with pytest.raises(ConfigError, match="none of 1 captions can be read by debug"):
        build_cache(path, folder, encoder)
    assert list(tmp_path.iterdir()) == [path]


def test_a_byte_order_mark_is_no_part_of_a_caption(tmp_path: Path, encoder: JointEncoder) -> None:
    (tmp_path / "captions.txt").write_bytes(b"\xef\xbb\xbfa dog\r\na cat\r\n")
    assert list(build_cache(tmp_path / "captions.txt", tmp_path / "cache", encoder).texts) == ["a dog", "a cat"]


def test_no_caption_tells_a_terminal_what_to_do(tmp_path: Path, encoder: JointEncoder) -> None:
    (tmp_path / "captions.txt").write_bytes(b"a dog\x1b[2J\x07\na\tcat\x9b\r\n".replace(b"\x9b", b"\xc2\x9b"))
    texts = build_cache(tmp_path / "captions.txt", tmp_path / "cache", encoder).texts
    assert list(texts) == ["a dog [2J", "a cat"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, encoder: JointEncoder) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "thesis.txt").write_text("important")
    with pytest.raises(ConfigError, match="holds something else"):
        build_cache(["a dog"], folder, encoder, replace=True)
    (folder / "thesis.txt").rename(tmp_path / "thesis.txt")
    build_cache(["a dog"], folder, encoder)  # an empty folder will do
    with pytest.raises(ConfigError, match="holds something else"):
        build_cache(["a dog"], tmp_path / "thesis.txt", encoder)
    part_of(folder).mkdir()
    (part_of(folder) / "thesis.txt").write_text("important")
    with pytest.raises(ConfigError, match=r"cache\.part, where the cache would be built, holds something else"):
        build_cache(["a dog"], folder, encoder, replace=True)


def test_a_cache_is_replaced_on_demand_alone(tmp_path: Path, encoder: JointEncoder) -> None:
    folder = tmp_path / "cache"
    build_cache(["a dog"], folder, encoder)
    with pytest.raises(ConfigError, match="holds a caption cache: replace it"):
        build_cache(["a cat"], folder, encoder)
    folder.with_name("cache.old").mkdir()
    (folder.with_name("cache.old") / MANIFEST).write_text("somebody's own")
    before = contents(folder)
    assert list(build_cache(["a cat"], folder, encoder, replace=True).texts) == ["a cat"]
    assert contents(folder).keys() == before.keys()
    assert (folder.with_name("cache.old") / MANIFEST).read_text() == "somebody's own"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_replacement_that_was_killed_loses_nothing(
    tmp_path: Path, encoder: JointEncoder, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    folder = tmp_path / "cache"
    build_cache(["a dog"], folder, encoder)
    left, rename = [None] * renamed, os.rename

    def killed(*names: Path) -> None:
        if not left:
            raise OSError(5, "Input/output error")
        left.pop()
        rename(*names)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        with pytest.raises(ConfigError, match="Input/output error"):
            build_cache(["a cat"], folder, encoder, replace=True)
    assert len(list(tmp_path.rglob(MANIFEST))) == 2  # the old one and the new one
    second = Interrupted(encoder, None)
    assert list(build_cache(["a cat"], folder, second, replace=True).texts) == ["a cat"]
    assert list(tmp_path.iterdir()) == [folder]
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_two_processes_do_not_build_one_cache(tmp_path: Path, encoder: JointEncoder) -> None:
    part = part_of(tmp_path / "cache")
    part.mkdir()
    with (part / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another process is building"):
            build_cache(["a dog"], tmp_path / "cache", encoder)
    build_cache(["a dog"], tmp_path / "cache", encoder)


def test_questions_that_do_not_fit_are_refused(built: Path, encoder: JointEncoder) -> None:
    cache = CaptionCache.open(built)
    with pytest.raises(ConfigError, match="301 captions of each are asked for, and there are 300"):
        cache.search(encoder.embed_text(["a dog"]), 301)
    with pytest.raises(ConfigError, match="0 captions"):
        cache.search(encoder.embed_text(["a dog"]), 0)
    with pytest.raises(ConfigError, match=r"queries have shape \(B, 384\), not \(2, 3\)"):
        cache.search(torch.ones(2, 3), 1)


def test_broken_weights_are_told(tmp_path: Path) -> None:
    broken = load_encoder("debug")
    broken.embed_text = lambda texts: torch.full((len(texts), 384), float("nan"))  # type: ignore[method-assign]
    with pytest.raises(Exception, match="values that are not finite"):
        build_cache(["a dog"], tmp_path / "cache", broken)
