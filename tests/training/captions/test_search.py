from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.training.captions import search
from soundsieve.training.captions.search import Exact, Faiss, IndexKind, has_faiss, load_index, make_index, save_index

NEEDS_FAISS = pytest.mark.skipif(not has_faiss(), reason="faiss is not installed (extra 'cache')")


def unit(rows: int, seed: int, width: int = 24) -> Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture
def without_faiss(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    search._faiss.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    yield
    search._faiss.cache_clear()


@pytest.mark.parametrize("block", [7, 100, 5000])
@pytest.mark.parametrize("kept", [0, 1 << 28])
@pytest.mark.parametrize("k", [1, 9, 100])
def test_exact_search_is_sorting_all_of_them(monkeypatch: pytest.MonkeyPatch, block: int, kept: int, k: int) -> None:
    monkeypatch.setattr(search, "_BLOCK", block)
    monkeypatch.setattr(search, "_KEPT_BYTES", kept)
    vectors, queries = unit(100, 0).half(), unit(5, 1)
    cosines = queries.numpy() @ vectors.float().numpy().T
    wanted = np.argsort(-cosines, axis=1)[:, :k]
    scores, places = Exact(vectors).search(queries, k)
    assert places.dtype == torch.int64
    np.testing.assert_array_equal(places.numpy(), wanted)
    np.testing.assert_allclose(scores.numpy(), np.take_along_axis(cosines, wanted, 1), atol=1e-6)


@NEEDS_FAISS
@pytest.mark.parametrize("kind", ["none", "flat", "ivf"])
def test_all_kinds_of_index_agree_where_every_cell_is_looked_into(kind: IndexKind) -> None:
    vectors, queries = unit(500, 0).half(), unit(20, 1)
    index = make_index(kind, vectors, cells=10, probes=10)
    scores, places = index.search(queries, 4)
    wanted_scores, wanted = Exact(vectors).search(queries, 4)
    assert torch.equal(places, wanted)
    torch.testing.assert_close(scores, wanted_scores, atol=1e-5, rtol=0)


@NEEDS_FAISS
def test_an_inverted_file_finds_what_lies_in_clusters() -> None:
    middles = unit(40, 2)
    vectors = F.normalize(middles.repeat(50, 1) + 0.3 * unit(2000, 0), dim=1).half()
    queries = F.normalize(middles[:32] + 0.3 * unit(32, 1), dim=1)
    index = make_index("ivf", vectors, cells=40, probes=4)
    assert isinstance(index, Faiss)
    found = index.search(queries, 1)[1] == Exact(vectors).search(queries, 1)[1]
    assert found.double().mean() >= 0.95


@NEEDS_FAISS
def test_cells_that_hold_too_few_are_made_up_for() -> None:
    vectors, queries = unit(60, 0).half(), unit(6, 1)
    scores, places = make_index("ivf", vectors, cells=20, probes=1).search(queries, 30)
    assert torch.equal(places, Exact(vectors).search(queries, 30)[1])
    assert torch.isfinite(scores).all()


@NEEDS_FAISS
def test_an_inverted_file_is_stored(tmp_path: Path) -> None:
    vectors, queries = unit(300, 0).half(), unit(8, 1)
    index = make_index("ivf", vectors, cells=12, probes=5)
    save_index(index, tmp_path / "index.faiss")
    size = (tmp_path / "index.faiss").stat().st_size
    again = load_index(tmp_path / "index.faiss", vectors, size=size)
    assert torch.equal(again.search(queries, 3)[1], index.search(queries, 3)[1])
    with pytest.raises(ConfigError, match="is an index of other captions"):
        load_index(tmp_path / "index.faiss", vectors[:200], size=size)


@NEEDS_FAISS
@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_can_search() -> None:
    """A loader's process is forked from one that may have searched already, with threads."""
    import faiss

    faiss.omp_set_num_threads(2)
    vectors, queries = unit(4000, 0).half(), unit(64, 1)
    index = make_index("ivf", vectors, cells=20, probes=20)
    wanted = index.search(queries, 1)[1]
    child = os.fork()
    if not child:
        signal.alarm(30)
        same = torch.equal(index.search(queries, 1)[1], wanted)
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_without_faiss_search_is_exact(without_faiss: None) -> None:
    vectors = unit(10, 0)
    assert isinstance(make_index("flat", vectors), Exact)
    with pytest.raises(ConfigError, match="extra 'cache'"):
        make_index("ivf", vectors)


def test_other_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="an index is none, flat, ivf, not 'hnsw'"):
        make_index("hnsw", unit(3, 0))  # type: ignore[arg-type]
