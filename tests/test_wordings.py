"""The wordings that measure free text: their form, and that no training text of the repository has them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDINGS = ROOT / "benchmarks" / "wordings.csv"
VALIDATION = ROOT / "recipes" / "starter" / "validation_wordings.csv"
UNKNOWN = ROOT / "benchmarks" / "unknown.csv"

ENGLISH = {"synonym", "plural", "verb", "adjective", "short", "long", "typo"}
FOREIGN = {"german", "french", "spanish"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def plain(text: str) -> str:
    """Without capitals, punctuation and articles."""
    words = re.sub(r"[^\w\s]|_", " ", text.lower()).split()
    return " ".join(word for word in words if word not in ("a", "an", "the", "some"))


def known() -> set[str]:
    """Every text that training may read, and the paraphrases that evaluation asks with."""
    starter = ROOT / "recipes" / "starter"
    tables = [starter / "paraphrases.csv", ROOT / "benchmarks" / "paraphrases.csv", *(starter / "text").glob("*.csv")]
    tables.append(ROOT / "benchmarks" / "clips" / "clips.csv")
    texts = [value for table in tables for row in rows(table) for value in row.values()]
    for path in (starter / "text").glob("*.txt"):
        texts += path.read_text(encoding="utf-8").splitlines()
    return {plain(text) for text in texts}


def test_columns_counts_and_kinds() -> None:
    found = rows(WORDINGS)
    assert found[0].keys() == {"label", "text", "kind"}
    assert len(found) >= 420
    kinds = Counter(row["kind"] for row in found)
    assert kinds.keys() == ENGLISH | FOREIGN
    assert all(kinds[kind] >= 40 for kind in ENGLISH)
    assert all(kinds[kind] >= 20 for kind in FOREIGN)


def test_every_label_of_the_test_clips_is_asked_for() -> None:
    labels = {row["label"] for row in rows(ROOT / "benchmarks" / "clips" / "clips.csv") if row["split"] == "test"}
    assert {row["label"] for row in rows(WORDINGS)} == labels


def test_kinds_are_what_they_say() -> None:
    for row in rows(WORDINGS):
        words = len(row["text"].split())
        assert row["kind"] != "long" or words >= 9, row
        assert row["kind"] != "short" or words <= 3, row
        assert row["kind"] in FOREIGN or row["text"].isascii(), row


def test_two_wordings_for_every_validation_label() -> None:
    found = rows(VALIDATION)
    assert found[0].keys() == {"label", "text"}
    assert set(Counter(row["label"] for row in found).values()) == {2}
    labels = {row["label"] for row in rows(ROOT / "recipes" / "starter" / "paraphrases.csv")}
    assert {row["label"] for row in found} < labels


def test_unknown_sounds() -> None:
    found = rows(UNKNOWN)
    assert found[0].keys() == {"text", "why"}
    assert Counter(row["why"].split(";")[0] for row in found) == {"everyday": 40, "specialised": 40}


def test_no_text_comes_twice() -> None:
    texts = [plain(row["text"]) for path in (WORDINGS, VALIDATION, UNKNOWN) for row in rows(path)]
    assert [text for text, count in Counter(texts).items() if count > 1] == []
    assert all(texts)


@pytest.mark.parametrize("path", [WORDINGS, VALIDATION, UNKNOWN], ids=lambda path: path.name)
def test_no_training_text_has_them(path: Path) -> None:
    taken = known()
    assert len(taken) > 5000
    assert [row["text"] for row in rows(path) if plain(row["text"]) in taken] == []


def test_more_wordings() -> None:
    """Of every label some, each text once, none of a test or of another label."""
    starter = ROOT / "recipes" / "starter"
    found = rows(starter / "text" / "more_wordings.csv")
    assert found[0].keys() == {"label", "text", "kind"}
    assert {row["kind"] for row in found} == {"name", "verb", "sentence"} | FOREIGN
    assert min(Counter(row["label"] for row in found).values()) >= 8
    assert max(Counter(plain(row["text"]) for row in found).values()) == 1
    tested = rows(WORDINGS) + rows(VALIDATION) + rows(UNKNOWN) + rows(ROOT / "benchmarks" / "paraphrases.csv")
    assert {plain(row["text"]) for row in tested}.isdisjoint(plain(row["text"]) for row in found)
    said = {plain(row["text"]): row["label"] for row in rows(starter / "paraphrases.csv")}
    assert [row for row in found if said.get(plain(row["text"]), row["label"]) != row["label"]] == []


def _under(value: object, name: str, key: str = "") -> list[str]:
    """The keys under which a recipe names a file."""
    if isinstance(value, dict):
        return [found for inner, item in value.items() for found in _under(item, name, str(inner))]
    if isinstance(value, list):
        return [found for item in value for found in _under(item, name, key)]
    return [key] if isinstance(value, str) and Path(value).name == name else []


def test_no_recipe_trains_on_them() -> None:
    """A recipe may name them only to keep them out, or to validate with."""
    yaml = pytest.importorskip("yaml")
    for recipe in (ROOT / "recipes").rglob("*.yaml"):
        content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        for path in (WORDINGS, VALIDATION, UNKNOWN):
            assert all("exclude" in key or "valid" in key for key in _under(content, path.name)), recipe
