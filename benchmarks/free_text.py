"""How much is lost when people use words of their own, and what is answered to sounds that no label covers.

Every phrase of benchmarks/wordings.csv (label, text, kind; none in any training text) asks for its label in up to
``--mixtures`` mixtures of benchmarks/pairs.csv that hold it, and the clips' own captions ask the same mixtures.
*Retrieved* is the share of phrases whose condition is nearer (cosine) to a caption of its own label than to any of
another label. Every phrase of benchmarks/unknown.csv is asked of mixtures that hold anything at all: the answer's
energy, and how often the presence score says, rightly, that it is not there.

    python benchmarks/free_text.py --model starter --output benchmarks/results/free-text.json
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from records import record, save
from write_tables import free_text_table

from soundsieve import load
from soundsieve.evaluation import pairs as lists
from soundsieve.evaluation.questions import Question
from soundsieve.evaluation.report import mean_with_interval
from soundsieve.evaluation.run import evaluate
from soundsieve.query import Query
from soundsieve.separator import Separator

HERE = Path(__file__).resolve().parent


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def embedded(separator: Separator, texts: list[str]) -> torch.Tensor:
    vectors = [separator.encode(Query(text=(text,))).positive for text in texts]
    return torch.nn.functional.normalize(torch.cat(vectors), dim=1)


def retrieved(separator: Separator, phrases: list[dict[str, str]], clips: list[lists.Clip]) -> list[bool]:
    captions = sorted({(clip.label, clip.caption) for clip in clips})
    near = embedded(separator, [row["text"] for row in phrases]) @ embedded(separator, [c for _, c in captions]).T
    return [captions[int(i)][0] == row["label"] for i, row in zip(near.argmax(1), phrases, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mixtures", type=int, default=3, help="mixtures in which each phrase is asked, at most")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    clips = lists.read_clips(HERE / "clips" / "clips.csv")
    by_path = {clip.path: clip for clip in clips}
    pairs = lists.read_pairs(HERE / "pairs.csv", by_path)
    sounds = lists.decoded(HERE / "clips")
    separator = load(options.model)
    phrases, unknown = rows_of(HERE / "wordings.csv"), rows_of(HERE / "unknown.csv")

    holding: dict[str, list[tuple[lists.Pair, int]]] = defaultdict(list)
    for pair in pairs:
        for direction in (0, 1):
            holding[by_path[pair.paths[direction]].label].append((pair, direction))

    # A pair is evaluated once for every phrase that asks it: copies with numbers of their own.
    copies: list[lists.Pair] = []
    questions: list[Question] = []
    kinds: list[str] = []
    for row in phrases:
        chosen = random.Random(f"{row['label']}:{row['text']}").sample(
            holding[row["label"]], min(options.mixtures, len(holding[row["label"]]))
        )
        for pair, direction in chosen:
            number = len(copies)
            copies.append(replace(pair, pair_id=number))
            kinds.append(row["kind"])
            caption = by_path[pair.paths[direction]].caption
            for name, text in (("text", caption), ("paraphrase", row["text"])):
                questions.append(Question(number, direction, name, row["label"], "", Query(text=(text,))))
    answers = list(evaluate(separator.system, copies, questions, sounds, batch_size=16))
    gained: dict[str, dict[int, float]] = {"text": {}, "paraphrase": {}}
    for answer in answers:
        gained[answer["condition"]][answer["pair"]] = answer["sdri"]
    hits = retrieved(separator, phrases, clips)

    def summary(kind: str | None) -> dict[str, Any]:
        numbers = [i for i, name in enumerate(kinds) if kind in (None, name)]
        lost = [gained["text"][i] - gained["paraphrase"][i] for i in numbers]
        phrase_hits = [hit for hit, row in zip(hits, phrases, strict=True) if kind in (None, row["kind"])]
        return {
            "phrases": len(phrase_hits),
            "retrieved": statistics.mean(phrase_hits),
            "mixtures": len(numbers),
            "sdri_caption": statistics.mean(gained["text"][i] for i in numbers),
            "sdri_phrase": statistics.mean(gained["paraphrase"][i] for i in numbers),
            "lost": mean_with_interval(lost, numbers),
        }

    strange = [
        Question(number, None, "absent", "", "", Query(text=(row["text"],))) for number, row in enumerate(unknown)
    ]
    asked = random.Random(0).sample(pairs, len(unknown))
    answers = list(
        evaluate(separator.system, [replace(p, pair_id=i) for i, p in enumerate(asked)], strange, sounds, batch_size=16)
    )
    presences = [answer["presence"] for answer in answers]
    result = record(
        "free-text",
        options.model,
        kinds={kind: summary(kind) for kind in dict.fromkeys(row["kind"] for row in phrases)} | {"all": summary(None)},
        unknown={
            "phrases": len(unknown),
            "energy_db": statistics.median(answer["energy_db"] for answer in answers),
            "said_missing": None
            if None in presences
            else statistics.mean(presence < separator.presence_threshold for presence in presences),
        },
        command=f"python benchmarks/free_text.py --model {options.model}",
    )
    print(free_text_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
