"""Write the measured tables into the README and the model cards, so that no number is typed by hand.

A page asks for a table with a pair of comments; what stands between them is replaced:

    <!-- results:NAME -->
    <!-- /results -->

NAME is a file of benchmarks/results without its suffix: `speed` as `benchmarks/speed.py` writes it, anything else as
`soundsieve evaluate -o` does. Two names need no file: `models` is the catalogue of models, and `checksum-MODEL` is one
line about where a model's weights are and how to recognise them.

    python benchmarks/write_tables.py            # write
    python benchmarks/write_tables.py --check    # say which pages are out of date, and fail
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ("README.md", "model_cards/*.md", "benchmarks/README.md", "docs/*.md")
BLOCK = re.compile(r"(<!-- results:(?P<name>[\w.-]+) -->\n).*?(<!-- /results -->)", re.DOTALL)
NOT_YET = "*Not measured yet.*\n"


def quality_table(result: dict[str, Any]) -> str:
    """What `soundsieve evaluate` measured: the mixture, every way to ask, the ceiling; and what is not there."""
    from soundsieve.evaluation.report import absent_table, condition_table

    run = result["run"]
    meanings = "\n".join(f"- **{name}**: {entry['meaning']}" for name, entry in result["conditions"].items())
    environment = run["environment"]
    about = (
        f"{run['pairs']} mixtures, both sounds of each asked for. 95% intervals by a bootstrap over mixtures.\n"
        f"Made by `{run['command']}`, with soundsieve {environment['soundsieve']} and torch {environment['torch']} "
        f"on {environment['machine']}; weights sha256 `{run['weights_sha256'][:16]}`."
    )
    parts = [condition_table(result), meanings + "\n", absent_table(result), about + "\n"]
    return "\n".join(part for part in parts if part)


def speed_table(result: dict[str, Any]) -> str:
    """What `benchmarks/speed.py` measured."""
    lines = [
        "| recording | load | first result | an answer, warm | real-time factor | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        times = " | ".join(f"{row[name]:.2f} s" for name in ("load_s", "first_result_s", "warm_s"))
        memory = f"{row['peak_rss_mib']:.0f} MiB"
        lines.append(f"| {row['seconds']} s mono | {times} | {row['real_time_factor']:.4f} | {memory} |")
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines += [
        "",
        f"Model `{result['model']}`, {result['threads']} threads of {machine['cpu']} ({machine['cores']} cores, "
        f"{machine['memory_gib']} GiB), {machine['system']}, {versions}.",
    ]
    return "\n".join(lines) + "\n"


def models_table() -> str:
    """The catalogue of models."""
    from soundsieve.weights.catalog import CATALOG

    lines = ["| name | what | size | sample rate | licence | sha256 |", "| --- | --- | ---: | ---: | --- | --- |"]
    for entry in CATALOG.values():
        size = f"{entry.size_mb:.1f} MB" if entry.size_mb else ""
        digest = f"`{entry.sha256[:16]}`" if entry.sha256 else ""
        rate = f"{entry.sample_rate / 1000:g} kHz"
        lines.append(f"| `{entry.name}` | {entry.summary} | {size} | {rate} | {entry.licence} | {digest} |")
    return "\n".join(lines) + "\n"


def checksum_line(name: str) -> str:
    """Where the weights of one model are, how large, and their whole checksum."""
    from soundsieve.weights.catalog import CATALOG

    entry = CATALOG[name]
    return f"Weights: `{entry.where}`, {entry.size_mb:.1f} MB, sha256 `{entry.sha256}`.\n"


def render(name: str) -> str:
    if name == "models":
        return models_table()
    if name.startswith("checksum-"):
        return checksum_line(name.removeprefix("checksum-"))
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return NOT_YET
    result = json.loads(path.read_text("utf-8"))
    return speed_table(result) if result.get("kind") == "speed" else quality_table(result)


def filled(text: str) -> str:
    """A page with all of its tables as they should be."""
    return BLOCK.sub(lambda match: f"{match[1]}{render(match['name'])}{match[3]}", text)


def pages() -> list[Path]:
    return sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is out of date")
    options = parser.parse_args()
    stale = []
    for path in pages():
        before = path.read_text("utf-8")
        after = filled(before)
        if before != after:
            stale.append(str(path.relative_to(ROOT)))
            if not options.check:
                path.write_text(after, encoding="utf-8")
    if options.check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python benchmarks/write_tables.py")
    print("\n".join(f"wrote {name}" for name in stale) or "every table is up to date")


if __name__ == "__main__":
    main()
