"""What a language model says, into captions: list marks and quotes go, and what is no single plain sentence is dropped.

Two captions are nearly the same if they have the same words, whatever their order, endings and small words: "A dog is
barking loudly" and "The dog barks loudly". This is simpler than comparing how much two sets of words share (MinHash),
and it keeps captions apart that differ in the one word that matters: "a dog barks in a park", "a cat meows in a park".
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

MIN_WORDS, MAX_WORDS, MAX_LETTERS = 3, 30, 200

_SIGNS = str.maketrans("\u201c\u201d\u201e\xab\xbb\u2018\u2019\u2013\u2014\u2026", '"""""\'\'--.')
"""Curly and angled quotes, dashes and the ellipsis, as the keyboard has them."""
_MARK = re.compile(r"^(?:[-*\u2022\xb7>#]+|\(?\d{1,3}(?:[.):]| -)|\(?[a-zA-Z][.)])\s+")
_PREFIX = re.compile(r"^(?:caption|description|audio|clip|sound)(?: ?\d{1,3})?\s*:\s*", re.IGNORECASE)
_TALK = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|here (?:are|is)|here's|as an ai|i |i'm|i'll|note that|these are|let me)\b"
    r"|\b(?:captions?|language model|audio clips?|https?)\b|[{}<>\[\]|\\=]|\*\*|```",
    re.IGNORECASE,
)
_SMALL = frozenset(
    ("a", "an", "the", "is", "are", "be", "being", "been", "was", "were", "and", "or", "of", "in", "on", "at", "to",
     "with", "by", "as", "while", "then", "some", "its", "it", "his", "her", "their", "there", "this", "that", "from",
     "into")
)  # fmt: skip


class Cleaner:
    """Takes what a model answered and gives captions, none of them nearly the same as one before.

    Attributes:
        dropped: how many lines were dropped, by reason.
        lines: how many there were.
    """

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.lines = 0
        self._seen: set[frozenset[str]] = set()

    def __call__(self, answer: str, *, cut_off: bool = False) -> list[str]:
        """Captions of one answer.

        Args:
            answer: one caption a line, as asked for.
            cut_off: whether the model was stopped; its last line is then no whole sentence.
        """
        lines = [line for line in answer.splitlines() if line.strip()]
        kept = []
        for place, line in enumerate(lines):
            self.lines += 1
            text = strip_marks(line)
            reason = "cut off" if cut_off and place == len(lines) - 1 else fault(text)
            if reason is None and (words := key_words(text)) in self._seen:
                reason = "nearly the same as another"
            if reason is None:
                self._seen.add(words)
                kept.append(text[0].upper() + text[1:])
            else:
                self.dropped[reason] += 1
        return kept


def strip_marks(line: str) -> str:
    """A line without list marks, quotes, a full stop and doubled spaces.

    >>> strip_marks('  12. "A dog  barks."'), strip_marks("- **Caption 3:** rain falls")
    ('A dog barks', 'rain falls')
    """
    text = unicodedata.normalize("NFKC", line).translate(_SIGNS)
    text = " ".join(text.replace("**", "").replace("`", "").split())
    before = ""
    while text != before:
        before = text
        text = _PREFIX.sub("", _MARK.sub("", text)).strip().strip('"').strip()
        text = re.sub(r"^'(.*)'([.!]?)$", r"\1\2", text)
    text = text.rstrip(".!;, ")
    return text.replace('"', "") if text.count('"') % 2 else text  # half a pair has gone with the outer quotes


def fault(text: str) -> str | None:
    """Why a text is no caption, or None if it is one."""
    words = text.split()
    if not re.fullmatch(r"[\x20-\x7e]*", text) or not re.search(r"[a-zA-Z]", text):
        return "not plain English text"
    if _TALK.search(text) or text.endswith(":") or "?" in text:
        return "talk, not a caption"
    if re.search(r"[.!;]\s+\S", re.sub(r"\b(?:Mr|Mrs|Dr|St)\.", "", text)):
        return "more than one sentence"
    if len(words) < MIN_WORDS:
        return "too short"
    if len(words) > MAX_WORDS or len(text) > MAX_LETTERS:
        return "too long"
    return None


def key_words(text: str) -> frozenset[str]:
    """The words that a caption is compared by: lower case, without small words and endings.

    >>> key_words("The dogs are barking") == key_words("A dog barks")
    True
    """
    words = re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))
    kept = {_stem(word) for word in words if word not in _SMALL}
    return frozenset(kept or words)


def _stem(word: str) -> str:
    """A word without -s, -es, -ed or -ing; crude, but the same for all forms of most verbs and nouns."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou" else word
