from __future__ import annotations

import hashlib
import re
from itertools import islice
from pathlib import Path

import pytest

from soundsieve.errors import ConfigError
from soundsieve.training.captions.grammar import Grammar, conjugate, plural_of, write_grammar_captions
from soundsieve.training.captions.texts import distinct
from soundsieve.training.text_corpus import label_names, normalise, read_column

LISTS = Path(__file__).parents[3] / "recipes" / "starter" / "text"
SHA256 = "17f79418a235a54b7e48ea8c4ad2423266907de6d11537383b5c8893d92dc1e6"


@pytest.fixture(scope="module")
def written() -> list[str]:
    return list(islice(distinct(Grammar().write(0)), 3000))


def test_a_seed_says_it_all(tmp_path: Path, written: list[str]) -> None:
    """If this fails after a change of words or rules: look at what is written, then set the new sum."""
    write_grammar_captions(1000, tmp_path / "captions.txt")
    data = (tmp_path / "captions.txt").read_bytes()
    assert data.decode().splitlines() == written[:1000]
    assert hashlib.sha256(data).hexdigest() == SHA256
    assert next(Grammar().write(1)) != written[0]


@pytest.mark.slow
def test_a_hundred_thousand_captions_are_all_different(tmp_path: Path) -> None:
    write_grammar_captions(100_000, tmp_path / "captions.txt")
    captions = (tmp_path / "captions.txt").read_text("utf-8").splitlines()
    assert len(captions) == len(set(map(normalise, captions))) == 100_000


def test_captions_are_plain_sentences(written: list[str]) -> None:
    for text in written:
        assert re.fullmatch(r"[A-Z][A-Za-z ,'-]+[a-z]", text), text
        assert 2 <= len(text.split()) <= 40, text
        assert "  " not in text
        assert not re.search(r"\b(\w+) \1\b", text), text
        assert text.count("in the background") <= 1, text


def test_articles_fit(written: list[str]) -> None:
    for text in written:
        assert not re.search(r"\ba [aeio]|\ban [^aeiou]", text, re.IGNORECASE), text
        assert not re.search(r"\b(a|an) \w+ (people|men|women|children)\b", text), text


def test_verbs_agree_with_who_does_it(written: list[str]) -> None:
    whole = "\n".join(written)
    assert not re.search(r"^(People|Men|Women|Several \w+|Two \w+) (is|has|barks|talks|speaks)\b", whole, re.MULTILINE)
    assert not re.search(r"^(Someone|A (dog|man|woman|person|bird)) (are|have|bark|talk|speak)\b", whole, re.MULTILINE)


def test_captions_vary(written: list[str]) -> None:
    assert sum(" is " in text or " are " in text for text in written) > 300
    assert sum("followed by" in text for text in written) > 200
    assert len({text.split()[0] for text in written}) > 100
    assert 40 < sum(map(len, written)) / len(written) < 70


@pytest.mark.parametrize(
    ("phrase", "forms"),
    [
        ("bark", ("barks", "barking", "bark")),
        ("bark and growl", ("barks and growls", "barking and growling", "bark and growl")),
        ("be opened and closed", ("is opened and closed", "being opened and closed", "are opened and closed")),
        ("have a talk", ("has a talk", "having a talk", "have a talk")),
        ("go off", ("goes off", "going off", "go off")),
        ("rub hands", ("rubs hands", "rubbing hands", "rub hands")),
        ("buzz past", ("buzzes past", "buzzing past", "buzz past")),
        ("occur", ("occurs", "occurring", "occur")),
    ],
)
def test_verbs_are_bent(phrase: str, forms: tuple[str, str, str]) -> None:
    assert conjugate(phrase) == forms


@pytest.mark.parametrize(
    ("one", "many"),
    [("dog", "dogs"), ("young woman", "young women"), ("church", "churches"), ("fly", "flies"), ("toy", "toys"),
     ("goose", "geese"), ("sheep", "sheep"), ("person", "people")],
)  # fmt: skip
def test_plurals(one: str, many: str) -> None:
    assert plural_of(one) == many


@pytest.mark.parametrize(
    ("name", "share"), [("audioset_labels.csv", 0.99), ("esc50_labels.txt", 0.99), ("fsd50k_labels.txt", 0.99),
                        ("vggsound_labels.txt", 0.97)],
)  # fmt: skip
def test_the_class_lists_are_covered(name: str, share: float) -> None:
    """A class is covered if one that some sound stands for has no word that is not in its name."""
    path = LISTS / name
    labels = read_column(path, "name") if path.suffix == ".csv" else path.read_text("utf-8").splitlines()
    labels = [label for label in labels if label.strip()]
    known = [set(normalise(text).split()) for text in Grammar().classes]

    def stems(label: str) -> set[str]:
        words = {word for part in label_names([label]) for word in normalise(part).split()}
        return words | {word.removesuffix("s") for word in words}

    missing = [label for label in labels if not any(words <= stems(label) for words in known)]
    assert len(missing) <= (1 - share) * len(labels), missing


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one caption"):
        write_grammar_captions(0, tmp_path / "captions.txt")
    with pytest.raises(ConfigError, match="cannot write"):
        write_grammar_captions(1, tmp_path)
