"""``soundsieve models``: the models that have a name."""

from __future__ import annotations

from soundsieve.cli.screen import columns


def models() -> None:
    """List the models that have a name: size, sample rate, licence, and whether they are at hand.

    Every command that takes --model also takes the path of a .safetensors file.
    """
    from soundsieve.weights.catalog import CATALOG

    rows = [("NAME", "SIZE", "RATE", "LICENCE", "AT HAND", "WHAT IT IS")]
    for entry in CATALOG.values():
        size = "-" if entry.size_mb is None else f"{entry.size_mb:.1f} MB"
        at_hand = "yes" if entry.at_hand else "no"
        rows.append((entry.name, size, f"{entry.sample_rate} Hz", entry.licence, at_hand, entry.summary))
    for line in columns(rows):
        print(line)
