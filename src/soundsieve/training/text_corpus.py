"""English sentences about sounds, for teaching a small text tower what a large one knows.

Label lists name sounds, a lexicon supplies what makes them, how and where, and the tokenizer's own words stand in for
everything that nobody listed. Templates join them into far more sentences than anybody would write. Everything is a
plain function of its lists and a seed; sentences kept for measuring are passed as ``exclude`` and never come out.
"""

from __future__ import annotations

import csv
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from soundsieve.errors import ConfigError

LEXICON_KINDS = ("source", "sound", "verb", "place", "quality", "material")

_NAMED = (
    ("{name}", 4), ("{a:name}", 3), ("the {name}", 1), ("the sound of {a:name}", 2), ("the sound of {name}", 2),
    ("sound of {name}", 1), ("{name} sound", 1), ("{name} noise", 1), ("{name} sounds", 1),
    ("{quality} {name}", 3), ("{a:quality} {name}", 3), ("{name} {place}", 3), ("{a:name} {place}", 3),
    ("{quality} {name} {place}", 2), ("{name} and {name2}", 3), ("{a:name} and {a:name2}", 1),
    ("{name} with {name2} in the background", 1), ("{name}, {name2}", 1), ("{name} of {a:source}", 1),
    ("{a:source} and {name}", 1), ("i hear {a:name}", 1), ("there is {a:name} {place}", 1),
    ("someone hears {name}", 1), ("a recording of {name}", 1), ("{name} on {material}", 1),
)  # fmt: skip
_MADE = (
    ("{source}", 3), ("{a:source}", 3), ("the {source}", 1), ("{source} {ing}", 3), ("{a:source} {ing}", 5),
    ("{a:source} {s}", 4), ("{a:source} is {ing}", 5), ("the {source} {s}", 1), ("{a:source} {s} {place}", 3),
    ("{a:source} {ing} {place}", 3), ("{a:quality} {source} {ing}", 3), ("{a:quality} {source}", 1), ("{ing}", 2),
    ("someone {s}", 2), ("someone is {ing}", 2), ("somebody {ing} {a:source}", 1),
    ("a person is {ing} {a:source}", 2), ("a man {ing} {a:source}", 1), ("a woman is {ing}", 1),
    ("people {ing} {place}", 1), ("{ing} {a:source}", 3), ("{ing} {place}", 1), ("the {ing} of {a:source}", 2),
    ("the {sound} of {a:source}", 5), ("{source} {sound}", 5), ("{a:source} {sound}", 2), ("{sound}", 1),
    ("{a:sound}", 1), ("{a:quality} {sound}", 4), ("{quality} {sound}", 2), ("{a:quality} {sound} {place}", 2),
    ("{a:sound} {place}", 1), ("{sound} from {a:source}", 2), ("{ing} {material}", 2), ("{material} {ing}", 1),
    ("{material} {sound}", 2), ("{a:material} {source} {ing}", 2), ("the sound of {ing}", 1),
    ("the sound of {a:source}", 1), ("the sound of {a:source} {ing}", 1), ("{source} {place}", 2),
    ("{a:source} {ing} and {a:source2} {ing2}", 3), ("{a:source} {ing} while {a:source2} {s2}", 2),
    ("{a:source} {s} and {s2}", 2), ("{a:source} and {a:source2}", 2), ("{source} and {source2}", 1),
    ("{a:source} hits {a:source2}", 1), ("{a:source} {s} against {material}", 1), ("{sound} and {sound2}", 2),
    ("{a:source} making {a:sound}", 1), ("{a:source} makes {a:quality} {sound}", 1), ("{source} being {ed}", 1),
    ("{a:source} is {ed}", 2), ("{a:source} being {ed} {place}", 1),
)  # fmt: skip
_WORDY = (
    ("{word}", 4), ("{a:word}", 4), ("the {word}", 2), ("{word}s", 1), ("{word} {word2}", 4),
    ("{a:word} {word2}", 3), ("{word} sound", 1), ("the sound of {a:word}", 2), ("the sound of {word}", 1),
    ("{a:word} {ing}", 2), ("{word} {ing}", 1), ("{a:word} {s}", 2), ("{a:word} is {ing}", 1),
    ("{word} {sound}", 2), ("{a:word} {sound}", 1), ("{quality} {word}", 2), ("{a:quality} {word}", 2),
    ("{word} {place}", 2), ("{a:source} {word}", 2), ("{word} {source}", 2), ("{word} and {word2}", 2),
    ("{word} of {a:word2}", 1), ("{a:source} {word} {word2}", 1), ("someone {word} {a:source}", 1),
    ("{ing} {a:word}", 2), ("{word} {word2} {word3}", 1), ("{a:word} in the {word2}", 1),
    ("{a:word} with {a:word2}", 1), ("the {word} {s} {place}", 1),
)  # fmt: skip

_JOINTS = (" and ", " while ", " as ", ", then ", " followed by ", " with ", ", and ", " before ", " and then ", ", ")


def normalise(sentence: str) -> str:
    """Lower case, letters and digits only, single spaces: what two sentences are compared by."""
    return " ".join(re.findall(r"[a-z0-9]+", sentence.lower()))


def inflect(verb: str) -> tuple[str, str, str]:
    """The -s, -ing and -ed forms of a regular verb, of which the first word is bent: ``clap on`` -> ``claps on``, ...

    >>> inflect("clap"), inflect("drive past")[1]
    (('claps', 'clapping', 'clapped'), 'driving past')
    """
    first, *rest = verb.split()
    tail = "".join(" " + word for word in rest)
    doubled = first + first[-1] if re.fullmatch(r"(qu|[^aeiou])*[aeiou][^aeiouwxy]", first) else first
    if first.endswith(("s", "sh", "ch", "x", "z")):
        third = first + "es"
    elif re.search(r"[^aeiou]y$", first):
        third = first[:-1] + "ies"
    else:
        third = first + "s"
    if first.endswith("e") and not first.endswith("ee"):
        ing, past = first[:-1] + "ing", first + "d"
    elif re.search(r"[^aeiou]y$", first):
        ing, past = first + "ing", first[:-1] + "ied"
    else:
        ing, past = doubled + "ing", doubled + "ed"
    return third + tail, ing + tail, past + tail


def with_article(phrase: str) -> str:
    """``a`` or ``an`` before a phrase, by its first letter."""
    return ("an " if phrase[:1] in "aeiou" else "a ") + phrase


def read_column(path: str | Path, column: str) -> list[str]:
    """One column of a CSV file with a header.

    Raises:
        ConfigError: there is no such file or column.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if column not in (reader.fieldnames or ()):
                raise ConfigError(f"{path} has no column '{column}'; it has {', '.join(reader.fieldnames or ())}")
            return [row[column] for row in reader]
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def read_lexicon(path: str | Path) -> dict[str, list[str]]:
    """A CSV of ``kind,text`` with every kind of `LEXICON_KINDS`, as kind -> texts.

    Raises:
        ConfigError: the file cannot be read, or a kind is missing or unknown.
    """
    lexicon: dict[str, list[str]] = {}
    for kind, text in zip(read_column(path, "kind"), read_column(path, "text"), strict=True):
        lexicon.setdefault(kind, []).append(text)
    if set(lexicon) != set(LEXICON_KINDS):
        raise ConfigError(f"{path} must have the kinds {', '.join(LEXICON_KINDS)}; it has {', '.join(sorted(lexicon))}")
    return lexicon


def label_names(labels: Iterable[str]) -> list[str]:
    """Sound names out of label lists: lower case, underscores and brackets gone, each label whole and in its parts.

    >>> label_names(["Male speech, man speaking", "Bark", "Organ (pipe)"])
    ['male speech, man speaking', 'male speech', 'man speaking', 'bark', 'organ']
    """
    names: dict[str, None] = {}
    for label in labels:
        plain = " ".join(re.sub(r"\(.*?\)", " ", label.replace("_", " ")).lower().split())
        for name in (plain, *plain.split(",")):
            if name.strip():
                names[name.strip()] = None
    return list(names)


def descriptions(texts: Iterable[str], *, max_words: int = 24) -> list[str]:
    """Sentences and clauses of running text that have at most ``max_words`` words."""
    found: dict[str, None] = {}
    for text in texts:
        for sentence in re.split(r"(?<=[.;])\s+", text.strip()):
            for part in (sentence, *sentence.split(", ")):
                part = part.strip().rstrip(".;,")
                if 2 <= len(part.split()) <= max_words:
                    found[part] = None
    return list(found)


def plain_vocabulary(vocabulary: Mapping[str, int] | Sequence[str]) -> list[str]:
    """The part of a lower-case WordPiece vocabulary that plain English needs, in its order.

    Kept: words and ``##`` pieces of the letters a-z, single digits and ASCII signs, so that every ASCII text still has
    pieces; dropped: numbers, accents, other scripts and unused entries. The special tokens are not part of it.
    """
    words = sorted(vocabulary, key=vocabulary.__getitem__) if isinstance(vocabulary, Mapping) else list(vocabulary)
    return [word for word in words if re.fullmatch(r"(##)?[a-z]+|(##)?[0-9]|[!-~]", word)]


def whole_words(vocabulary: Iterable[str], *, min_letters: int = 3) -> list[str]:
    """The vocabulary's whole words of at least ``min_letters`` letters."""
    return [word for word in vocabulary if re.fullmatch(rf"[a-z]{{{min_letters},}}", word)]


def usual_words(texts: Iterable[str]) -> list[str]:
    """The words of the letters a to z in texts, without accents and capitals, the most usual first.

    >>> usual_words(["a dog", "Zoë's dog"])
    ['dog', 'a', 'zoe', 's']
    """
    counts: Counter[str] = Counter()
    for text in texts:
        letters = unicodedata.normalize("NFD", text.lower())
        counts.update(re.findall("[a-z]+", "".join(c for c in letters if not unicodedata.combining(c))))
    return [word for word, _ in counts.most_common()]


def _weighted(templates: Sequence[tuple[str, int]]) -> list[str]:
    return [template for template, weight in templates for _ in range(weight)]


def _generate(draw: Callable[[], str], count: int, exclude: Collection[str]) -> Iterator[str]:
    """Up to ``count`` different sentences from ``draw``, none of which is excluded; stops when nothing new comes."""
    excluded = {normalise(sentence) for sentence in exclude}
    seen: set[str] = set()
    misses = 0
    while len(seen) < count and misses < 1000 + count:
        sentence = draw()
        if sentence in seen or normalise(sentence) in excluded:
            misses += 1
            continue
        seen.add(sentence)
        yield sentence


class _Filler:
    """Fills templates from a lexicon: ``{kind}``, ``{a:kind}`` with an article, ``{kind2}`` for a second draw."""

    def __init__(self, lexicon: Mapping[str, Sequence[str]], rng: random.Random) -> None:
        self.lexicon = lexicon
        self.rng = rng
        self.bent = {verb: inflect(verb) for verb in lexicon["verb"]}

    def __call__(self, template: str, **given: str) -> str:
        verbs: dict[str, tuple[str, str, str]] = {}

        def fill(match: re.Match[str]) -> str:
            article, kind, which = match.group(1), match.group(2), match.group(3)
            if kind + which in given:
                text = given[kind + which]
            elif kind in ("s", "ing", "ed"):
                verb = verbs.setdefault(which, self.bent[self.rng.choice(self.lexicon["verb"])])
                text = verb[("s", "ing", "ed").index(kind)]
            else:
                text = self.rng.choice(self.lexicon[kind])
            return with_article(text) if article else text

        return re.sub(r"\{(a:)?([a-z]+)(\d?)\}", fill, template)


def sound_sentences(
    names: Sequence[str],
    lexicon: Mapping[str, Sequence[str]],
    *,
    count: int,
    seed: int = 0,
    exclude: Collection[str] = (),
) -> list[str]:
    """Different sentences about named sounds and about what makes sounds, half of each, three in ten of them joined.

    Args:
        names: names of sounds, as from `label_names`.
        lexicon: kind -> texts, as from `read_lexicon`; verbs in their base form.
        count: how many; fewer come back only when the lists are too short for that many.
        seed: the same seed gives the same sentences.
        exclude: sentences that must not come out, compared without case and punctuation.
    """
    rng = random.Random(f"sounds {seed}")
    fill = _Filler(lexicon, rng)
    named, made = _weighted(_NAMED), _weighted(_MADE)

    def phrase() -> str:
        if rng.random() < 0.5:
            return fill(rng.choice(named), name=rng.choice(names), name2=rng.choice(names))
        return fill(rng.choice(made))

    def draw() -> str:
        sentence = phrase()
        while rng.random() < 0.3:
            sentence += rng.choice(_JOINTS) + phrase()
        return sentence

    return list(_generate(draw, count, exclude))


def word_sentences(
    words: Sequence[str],
    lexicon: Mapping[str, Sequence[str]],
    *,
    count: int,
    seed: int = 0,
    exclude: Collection[str] = (),
) -> list[str]:
    """Different short phrases around every word of a vocabulary in turn, for words that no label list has.

    Each word leads in ``count / len(words)`` phrases; arguments otherwise as in `sound_sentences`.
    """
    rng = random.Random(f"words {seed}")
    fill = _Filler(lexicon, rng)
    templates = _weighted(_WORDY)
    queue: list[str] = []

    def draw() -> str:
        if not queue:
            queue.extend(rng.sample(list(words), len(words)))
        word = queue.pop()
        return fill(rng.choice(templates), word=word, word2=rng.choice(words), word3=rng.choice(words))

    return list(_generate(draw, count, exclude))
