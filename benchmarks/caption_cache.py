"""A caption cache of a million captions: how fast it is built and searched, how large it is, what the index misses.

    python benchmarks/caption_cache.py --threads 1 --output benchmarks/results/caption_cache.json

The captions are the grammar's. Two kinds of query: every bundled test clip, embedded as sound, and captions of the
grammar that the cache does not hold. Recall@1 is the share of queries for which the index finds a caption as near as
the nearest. Searches are timed at a batch of 64, the median of --repeats.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from records import CLIPS, record, save
from torch import Tensor
from write_tables import caption_cache_table

from soundsieve.systems.clips import clip_waveform
from soundsieve.training.captions.building import build_cache
from soundsieve.training.captions.cache import EMBEDDINGS, INDEX, OFFSETS, TEXTS, CaptionCache
from soundsieve.training.captions.encoders import JointEncoder, load_encoder
from soundsieve.training.captions.grammar import Grammar
from soundsieve.training.captions.search import Exact, Index, make_index
from soundsieve.training.captions.texts import distinct, write_lines

BATCH, HELD_OUT = 64, 1024
COMPARED = 50_000


class Clock:
    """When each stage of a build began."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self.begun.setdefault(what, now)
        if done == total:
            self.begun[f"{what}, done"] = now
        print(f"\r{what} {done}/{total} ", end="", flush=True)


def seconds_each(search: Callable[[], Any], repeats: int) -> float:
    search()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        search()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def sounds(encoder: JointEncoder) -> Tensor:
    with (CLIPS / "clips.csv").open(newline="", encoding="utf-8") as file:
        paths = [CLIPS / row["path"] for row in csv.DictReader(file)]
    return torch.cat([encoder.embed_audio(clip_waveform(path, encoder.sample_rate)[None]) for path in paths])


def new_captions(cache: CaptionCache) -> Iterator[str]:
    held = set(cache.texts)
    return islice((text for text in distinct(Grammar().write(1)) if text not in held), HELD_OUT)


def recall(index: Index, exact: tuple[Tensor, Tensor], queries: Tensor) -> float:
    scores, places = index.search(queries, 1)
    return ((places == exact[1]) | (scores >= exact[0] - 1e-6)).double().mean().item()


def float16_agreement(cache: CaptionCache, encoder: JointEncoder, queries: Tensor) -> float:
    """Share of queries whose nearest caption is the same with vectors that were never float16."""
    texts = cache.texts[:COMPARED]
    whole = torch.cat([encoder.embed_text(texts[start : start + 256]) for start in range(0, len(texts), 256)])
    stored = cache.embeddings[: len(texts)]
    same = Exact(whole).search(queries, 1)[1] == Exact(stored).search(queries, 1)[1]
    return same.double().mean().item()


def measure(captions: int, threads: int, repeats: int, folder: Path) -> dict[str, Any]:
    encoder = load_encoder()
    begun = time.perf_counter()
    write_lines(folder / "captions.txt", islice(distinct(Grammar().write(0)), captions))
    wrote_s = time.perf_counter() - begun
    clock, begun = Clock(), time.perf_counter()
    cache = build_cache(folder / "captions.txt", folder / "cache", encoder, index="ivf", progress=clock)
    built_s = time.perf_counter() - begun
    print()
    embed_s = clock.begun["embedding captions, done"] - clock.begun["embedding captions"]
    index_s = begun + built_s - clock.begun["building the index"]
    queries = {"clips": sounds(encoder), "captions": encoder.embed_text(list(new_captions(cache)))}
    asked = torch.cat(list(queries.values()))
    inverted = cache.index
    nearest = {name: Exact(cache.embeddings).search(vectors, 1) for name, vectors in queries.items()}

    def row(index: Index) -> dict[str, Any]:
        each_s = seconds_each(lambda: index.search(queries["clips"][:BATCH], 1), repeats)
        found = {name: recall(index, nearest[name], vectors) for name, vectors in queries.items()}
        return {"queries_per_s": BATCH / each_s, "recall": found}

    rows = {
        "matrix product": row(Exact(cache.embeddings)),
        "faiss, flat": row(make_index("flat", cache.embeddings)),
    }
    usual = inverted.index.nprobe
    for probes in (usual // 4, usual // 2, usual, usual * 2):
        inverted.index.nprobe = probes
        rows[f"faiss, IVF, {probes} of {inverted.index.nlist} cells"] = {**row(inverted), "usual": probes == usual}
    return record(
        "caption_cache",
        "starter",
        captions=len(cache),
        width=cache.info.width,
        threads=threads,
        queries={name: len(vectors) for name, vectors in queries.items()},
        seconds={"written": wrote_s, "built": built_s, "embedded": embed_s, "index": index_s},
        mb={name: (folder / "cache" / name).stat().st_size / 1e6 for name in (TEXTS, OFFSETS, EMBEDDINGS, INDEX)},
        float16_agreement=float16_agreement(cache, encoder, asked),
        compared=min(COMPARED, len(cache)),
        rows=rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    import faiss

    faiss.omp_set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.captions, options.threads, options.repeats, Path(folder))
    print(caption_cache_table(result))
    save(result, options.output)


if __name__ == "__main__":
    main()
