"""AudioSep's lists of clips (Liu et al., 2023, arXiv 2308.05037): JSON with a file and a caption for each.

    {"data": [{"wav": "sounds/a.wav", "caption": "A dog barks"}, ...]}

There is no label, no recording and no split in them: the caption is the label, and the file the recording.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten

from soundsieve.errors import ConfigError, reason

_SHAPE = '{"data": [{"wav": ..., "caption": ...}, ...]}'


def read_json_list(path: str | Path, *, captions: bool = True) -> list[dict[str, str]]:
    """The rows that the same list has as CSV: path, label, caption and group, further keys being left out.

    Args:
        path: the list.
        captions: without, captions need not be there.

    Raises:
        ConfigError: the file cannot be read, is not JSON, or is not such a list; an entry lacks a value, or has one
            that is no text.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    entries = content.get("data") if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise ConfigError(f"{path} is not a list of clips: as JSON, it is {_SHAPE}")
    rows = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{path}: entry {number} is not a table with wav and caption, as in {_SHAPE}")
        for key in ("wav", "caption") if captions else ("wav",):
            if key not in entry:
                raise ConfigError(f"{path}: entry {number} lacks '{key}'")
            if not _is_text(entry[key]):
                found = shorten(json.dumps(entry[key]), 60)
                raise ConfigError(f"{path}: entry {number}: '{key}' must be text, not {found}")
        caption = " ".join(entry["caption"].split()) if captions else ""
        rows.append({"path": entry["wav"], "label": caption, "caption": caption, "group": entry["wav"]})
    return rows


def _is_text(value: object) -> bool:
    """Whether there is a word in it, and nothing that neither a file's name nor a text can hold."""
    return isinstance(value, str) and bool(value.strip()) and not re.search("[\0\ud800-\udfff]", value)
