"""Typing errors put right before a text is read: an unknown word becomes the known one that it most resembles.

A tokenizer that has never met "barknig" cuts it into pieces that mean nothing. Here a word that neither the tokenizer's
vocabulary nor the encoder's own list of words has is compared with that list, by the number of letters to insert, drop,
replace or swap with the next one (optimal string alignment). What has no near neighbour stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

from soundsieve.errors import ConfigError

_SHORTEST = 3
"""Letters of a word that may be wrong; shorter ones resemble too many."""
_TWO_ERRORS = 6
"""Letters from which on a word may have two errors."""


def distance(a: str, b: str) -> int:
    """Letters to insert, drop, replace or swap with the next one to make b of a, none of them touched twice.

    >>> distance("barknig", "barking"), distance("gutar", "guitar"), distance("rain", "train")
    (1, 1, 1)
    """
    before, last = list[int](), list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]


class Spelling:
    """Puts unknown words right.

    Args:
        words: lower-case words of the letters a to z to choose from, the most usual first.
        known: further words that are right as they are.

    Raises:
        ConfigError: a word is not of these letters.
    """

    def __init__(self, words: Sequence[str], known: Collection[str] = ()) -> None:
        wrong = next((word for word in words if not re.fullmatch("[a-z]+", word)), None)
        if wrong is not None:
            raise ConfigError(f"spelling: '{wrong}' is no word of the letters a to z")
        self.words = list(words)
        self._right = {*words, *known}
        self._choices = [(word, len(word), _letters(word)) for word in self.words if len(word) >= _SHORTEST]
        self._found: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The text with its unknown words put right, which come out in lower case; the rest stays as it is."""
        return re.sub(r"[^\W\d_]+", lambda match: self._word(match.group()), text)

    def _word(self, typed: str) -> str:
        bare = unicodedata.normalize("NFD", typed.lower())
        word = "".join(letter for letter in bare if not unicodedata.combining(letter))
        if len(word) < _SHORTEST or word in self._right or not re.fullmatch("[a-z]+", word):
            return typed
        if word not in self._found:
            self._found[word] = self._search(word) or typed
        return self._found[word]

    def _search(self, word: str) -> str | None:
        """One error, a missing space, or two errors in a longer word behind its first letter."""
        one = self._within(word, 1)
        if one:
            return one
        apart = [(word[:i], word[i:]) for i in range(_SHORTEST, len(word) - _SHORTEST + 1)]
        halves = next((pair for pair in apart if pair[0] in self._right and pair[1] in self._right), None)
        if halves:
            return " ".join(halves)
        return self._within(word, 2) if len(word) >= _TWO_ERRORS else None

    def _within(self, word: str, errors: int) -> str | None:
        """The likeliest word at most that far away: few errors, the same first letter, usual."""
        length, letters = len(word), _letters(word)
        found: list[tuple[int, bool, int]] = []
        for rank, (choice, size, used) in enumerate(self._choices):
            if abs(size - length) > errors or (letters ^ used).bit_count() > 2 * errors:
                continue
            apart = distance(word, choice)
            if apart <= errors and (apart < 2 or choice[0] == word[0]):
                found.append((apart, choice[0] != word[0], rank))
        return self._choices[min(found)[2]][0] if found else None


def _letters(word: str) -> int:
    """Which letters a word has, as bits: what differs here differs in the word, and bits are soon compared."""
    bits = 0
    for letter in word:
        bits |= 1 << (ord(letter) - 97)
    return bits
