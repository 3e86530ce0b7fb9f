"""``soundsieve cache``: captions, their embeddings, and what a sound retrieves from them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsieve.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from soundsieve.training.captions.encoders import JointEncoder

_CACHE = Path("cache")

Encoder = Annotated[
    str, typer.Option("--encoder", help="What embeds: starter, another model's name, or a file of a CLAP or system.")
]
Tokenizer = Annotated[Path | None, typer.Option(help="For a published CLAP: a tokenizer.json or its folder.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


def build(
    captions: Annotated[Path, typer.Argument(help="Text file with one caption a line; - for standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the cache.")] = _CACHE,
    encoder: Encoder = "starter",
    tokenizer: Tokenizer = None,
    index: Annotated[
        str, typer.Option(help="How it is searched: none (all compared), flat (by faiss) or ivf (for millions).")
    ] = "none",
    batch: Annotated[int, typer.Option(help="Captions embedded together.")] = 256,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores unless given.")] = None,
    device: Device = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Replace the cache that is there.")] = False,
) -> None:
    """Embed captions into a cache; after an interruption the same command goes on."""
    import torch

    from soundsieve.training.captions.building import build_cache
    from soundsieve.training.captions.texts import decoded

    if threads:
        torch.set_num_threads(threads)
    model = _encoder(encoder, tokenizer, device)
    lines = decoded(sys.stdin.buffer, "standard input") if str(captions) == "-" else captions
    made = build_cache(
        lines, output, model, batch_size=batch, index=index, replace=force, progress=_teller()  # type: ignore[arg-type]
    )  # fmt: skip
    left = {"repeated": made.info.repeated, f"that {made.info.encoder} cannot read": made.info.unreadable}
    told = "".join(f"; {count} {what} left out" for what, count in left.items() if count)
    print(f"{output}: {len(made)} captions{told}")


def write_captions(
    output: Annotated[Path, typer.Option("--output", "-o", help="Text file to write, one caption a line.")],
    count: Annotated[int, typer.Option("--count", "-n", help="How many captions.")] = 50_000,
    labels: Annotated[Path | None, typer.Option(help="Sounds to ask for: CSV with a column label, or text.")] = None,
    grammar: Annotated[bool, typer.Option("--grammar", help="By rules and word lists; no language model.")] = False,
    endpoint: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible endpoint.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="The model's name at the endpoint.")] = None,
    key_env: Annotated[str, typer.Option(help="Environment variable with the key.")] = "OPENAI_API_KEY",
    local: Annotated[Path | None, typer.Option(help="Folder of a causal model of the transformers library.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same requests, or the same grammar's text.")] = 0,
    parallel: Annotated[int, typer.Option(help="Requests at once; of --local, answered together.")] = 4,
    per_minute: Annotated[float, typer.Option(help="Requests begun in a minute; 0 for no limit.")] = 0.0,
    tries: Annotated[int, typer.Option(help="Times that a request is made before the run ends.")] = 6,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request has failed.")] = 120.0,
    temperature: Annotated[float, typer.Option(help="Of sampling.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 600,
    device: Device = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Replace the file that is there.")] = False,
) -> None:
    """Write captions of sounds, by a language model or by a grammar; a stopped run goes on with the same command."""
    if sum((grammar, endpoint is not None, local is not None)) != 1:
        raise ConfigError("choose who writes: --grammar, --endpoint with --model, or --local")
    if os.path.exists(output) and not force:
        raise ConfigError(f"{output} is there: replace it (--force), or name another file")
    if grammar:
        from soundsieve.training.captions.grammar import write_grammar_captions

        if labels is not None:
            raise ConfigError("the grammar has word lists of its own: leave --labels out")
        write_grammar_captions(count, output, seed=seed)
        print(f"{output}: {count} captions, by a grammar")
        return
    from soundsieve.training.captions.endpoint import Endpoint
    from soundsieve.training.captions.language_model import LanguageModel
    from soundsieve.training.captions.local_model import LocalModel
    from soundsieve.training.captions.prompts import Prompts, read_labels
    from soundsieve.training.captions.writing import ask_for_captions

    if labels is None or (endpoint is not None and model is None):
        raise ConfigError("a language model is asked for labels (--labels), and one at an endpoint by name (--model)")
    prompts = Prompts(read_labels(labels), seed)
    writer: LanguageModel
    if endpoint is not None:
        writer = Endpoint(
            endpoint, str(model), os.environ.get(key_env), parallel=parallel, per_minute=per_minute, timeout_s=timeout,
            tries=tries, temperature=temperature, max_tokens=max_tokens,
        )  # fmt: skip
    else:
        writer = LocalModel(
            str(local), device=device, batch_size=parallel, seed=seed, temperature=temperature, max_tokens=max_tokens
        )
    done = ask_for_captions(writer, prompts, count, output, progress=_teller())
    dropped = sum(done.dropped.values())
    print(f"{output}: {done.captions} captions; {done.asked} requests, {done.lines} lines answered, {dropped} dropped")
    for reason, number in done.dropped.items():
        print(f"{number:>8} {reason}")
    if done.captions < count:
        print(f"soundsieve: {writer.name} had nothing new to say before {count} captions", file=sys.stderr)
        raise typer.Exit(1)


def query(
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    audio: Annotated[Path | None, typer.Option("--audio", help="A recording to look for, in place of words.")] = None,
    cache: Annotated[Path, typer.Option("--cache", "-c", help="Folder of the cache.")] = _CACHE,
    k: Annotated[int, typer.Option("-k", help="How many captions.")] = 5,
    encoder: Encoder = "starter",
    tokenizer: Tokenizer = None,
    device: Device = "cpu",
) -> None:
    """Show the captions nearest to words or to a recording: cosine, tab, caption."""
    from soundsieve.systems.clips import clip_waveform
    from soundsieve.training.captions.cache import CaptionCache

    if (text is None) == (audio is None):
        raise ConfigError('give words or a recording: soundsieve cache query "dog", or --audio bark.wav')
    opened = CaptionCache.open(cache)  # before the encoder, which takes longer
    model = _encoder(encoder, tokenizer, device)
    opened.check_encoder(model.digest)
    if audio is not None:
        waveform = clip_waveform(audio, model.sample_rate)
        if not waveform.any():
            raise AudioError(f"{audio} is silent: give a recording in which the sound can be heard")
        vectors = model.embed_audio(waveform[None])
    else:
        vectors = model.embed_text([str(text)])
    scores, places = opened.search(vectors, min(k, len(opened)) if k > 0 else k)
    for score, place in zip(scores[0].tolist(), places[0].tolist(), strict=True):
        print(f"{score:.3f}\t{opened.texts[place]}")


def info(
    cache: Annotated[Path, typer.Argument(help="Folder of the cache.")] = _CACHE,
    verify: Annotated[bool, typer.Option("--verify", help="Read all of it and compare it with its checksums.")] = False,
) -> None:
    """Tell what a cache holds."""
    from soundsieve.training.captions.cache import CaptionCache
    from soundsieve.training.captions.search import has_faiss

    opened = CaptionCache.open(cache)
    if verify:
        opened.verify()
    what = opened.info
    size = sum(path.stat().st_size for path in cache.iterdir())
    searched = {
        "none": "matrix product, exact",
        "flat": "faiss, exact" if has_faiss() else "matrix product, exact (faiss is not installed)",
        "ivf": "faiss, inverted file" if has_faiss() else "matrix product, exact (faiss is not installed)",
    }
    rows = {
        "captions": str(what.captions),
        "left out": f"{what.repeated} repeated, {what.unreadable} unreadable",
        "encoder": f"{what.encoder}, sha256 {what.digest}",
        "vectors": f"float16, {what.width} wide, sha256 {what.embeddings_sha256}",
        "texts": f"sha256 {what.texts_sha256}",
        "search": f"{what.index}: {searched[what.index]}",
        "size": f"{size / 1e6:.1f} MB",
    }
    for name, value in rows.items():
        print(f"{name:<10}{value}")
    if verify:
        print("checksums agree")


def _encoder(source: str, tokenizer: Path | None, device: str) -> JointEncoder:
    from soundsieve.training.captions.encoders import load_encoder

    return load_encoder(source, tokenizer=tokenizer, device=device)


def _teller() -> Callable[[str, int, int], None]:
    """Progress on stderr: a moving line on a terminal, elsewhere a line every half minute, and one at the end."""
    moving = sys.stderr.isatty()
    begun: dict[str, tuple[float, int]] = {}
    told_at = time.monotonic()

    def tell(what: str, done: int, total: int) -> None:
        nonlocal told_at
        now, whole = time.monotonic(), done == total
        started_at, before = begun.setdefault(what, (now, done))
        if now - told_at < (0.2 if moving else 30) and not whole:
            return
        rate = f", {(done - before) / (now - started_at):.0f}/s" if done > before else ""
        line = f"{what}: {done}{f' of {total}' if total else ''}{rate}"
        sys.stderr.write((f"\r\x1b[K{line}" if moving else line) + ("\n" if whole or not moving else ""))
        sys.stderr.flush()
        told_at = now

    return tell


cache: dict[str, tuple[Callable[..., Any], str]] = {
    "build": (build, "Embed captions into a cache."),
    "query": (query, "Show what words or a recording retrieve."),
    "info": (info, "Tell what a cache holds."),
    "write-captions": (write_captions, "Write captions of sounds."),
}
