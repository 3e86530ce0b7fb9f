"""A listening test as one page, and its key: which sound is of which system is in the key alone.

Every sound has a random name. The page holds them sorted by it, so that neither names nor their order tell a system; a
rater gets them shuffled by the rater's name: all answers to one question in a row, in an order of their own.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from html import escape
from typing import Any

from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.evaluation.listening.items import Item, Systems
from soundsieve.evaluation.listening.level import matched
from soundsieve.evaluation.reports.html import sound_uri, template

KEY_FORMAT = "soundsieve listening key 1"
REFERENCE = "reference"
MIXTURE = "mixture"
_PACKAGE = "soundsieve.evaluation.listening"


def make(
    items: Sequence[Item], systems: Systems, *, reference: bool = False, mixture: bool = False, title: str = ""
) -> tuple[str, dict[str, Any]]:
    """Build a test.

    Args:
        items: what it is about.
        systems: whose answers are heard.
        reference: hide the sounds that are asked for among them.
        mixture: likewise the unprocessed mixtures.
        title: of the page.

    Returns:
        The page, and what belongs into the key.

    Raises:
        ConfigError: there is nothing to compare, a name is taken, or a reference or an answer is missing.
        AudioError: an answer cannot be read.
    """
    sounds = _sounds(items, systems, reference=reference, mixture=mixture)
    test = secrets.token_hex(8)
    stimuli, key = [], {}
    for index, item in enumerate(items):
        group = secrets.token_hex(8)
        try:
            levelled = matched([of[index] for of in sounds.values()], item.sample_rate)
        except ValueError as error:
            raise ConfigError(f"{item.name} cannot be brought to one loudness: {error}") from error
        for name, sound in zip(sounds, levelled, strict=True):
            token = secrets.token_hex(8)
            uri = sound_uri(sound.numpy(), item.sample_rate)
            stimuli.append({"token": token, "item": group, "query": item.query, "audio": uri})
            key[token] = {"system": name, "item": item.name, "query": item.query}
    stimuli.sort(key=lambda stimulus: stimulus["token"])
    page = template("listen.html", _PACKAGE).format(
        title=escape(title or "Listening test"),
        style=template("listen.css", _PACKAGE),
        data=_inert({"test": test, "stimuli": stimuli}),
        script=template("session.js", _PACKAGE) + template("listen.js", _PACKAGE),
    )
    return page, {"format": KEY_FORMAT, "test": test, "systems": list(sounds), "stimuli": key}


def _sounds(items: Sequence[Item], systems: Systems, *, reference: bool, mixture: bool) -> dict[str, list[Tensor]]:
    """System -> its answers, a hidden reference and mixture among the systems."""
    hidden = [name for name, wanted in ((REFERENCE, reference), (MIXTURE, mixture)) if wanted]
    taken = [name for name in hidden if name in systems]
    if taken:
        raise ConfigError(f"'{taken[0]}' is what the hidden one is called: name the system otherwise")
    if not items or len(systems) + len(hidden) < 2:
        raise ConfigError("a test compares two systems or more: give another --system, or hide --mixture among them")
    sounds = {name: answers(items) for name, answers in systems.items()}
    if mixture:
        sounds[MIXTURE] = [item.mixture for item in items]
    if reference:
        known = [item.reference for item in items if item.reference is not None]
        if len(known) < len(items):
            raise ConfigError("the list does not tell what the mixtures are made of: leave --reference out")
        sounds[REFERENCE] = known
    return sounds


def _inert(data: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
