"""Words as parts of file names: safe anywhere, and never two the same."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

_SLUG_LENGTH = 60
_PART_BYTES = 100


def slug(words: str) -> str:
    """Words as a safe part of a file name: lower-case letters and digits of any script, joined by hyphens."""
    plain = unicodedata.normalize("NFKC", words).casefold()
    joined = re.sub(r"[^\w]+|_+", "-", plain).strip("-")
    if len(joined) > _SLUG_LENGTH:
        joined = joined[:_SLUG_LENGTH].rsplit("-", 1)[0] if "-" in joined[:_SLUG_LENGTH] else joined[:_SLUG_LENGTH]
    return cut_bytes(joined, _PART_BYTES).strip("-") or "sound"


def slugs(words: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """A slug for each, all different: a number is put to those that are there already."""
    used, found = set(taken), []
    for one in map(slug, words):
        name, number = one, 2
        while name in used:
            name, number = f"{one}-{number}", number + 1
        used.add(name)
        found.append(name)
    return found


def cut_bytes(text: str, most: int) -> str:
    """The start of a text that has no more than so many bytes as a file name."""
    encoded = os.fsencode(text)
    return text if len(encoded) <= most else encoded[:most].decode(errors="ignore")
