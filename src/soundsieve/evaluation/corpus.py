"""The project's own pairs as examples of a list, two for each pair, so that their mixtures can be written as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixture
from soundsieve.evaluation.pairs import SECONDS, ClipLike, Pair, Sounds, mix


def examples_of(pairs: Sequence[Pair], clips: Mapping[str, ClipLike]) -> list[Example]:
    """Both sounds of every pair asked for, by caption and with the other excluded.

    They are named PAIR-DIRECTION, such as ``12-0`` for the first sound of pair 12.
    """
    examples = []
    for pair in pairs:
        for direction in (0, 1):
            wanted, other = pair.paths[direction], pair.paths[1 - direction]
            clip = clips[wanted]
            name = f"{pair.pair_id}-{direction}"
            examples.append(Example(name, clip.caption, clips[other].caption, clip.label, wanted, (other,)))
    return examples


def mixer(pairs: Sequence[Pair], sounds: Sounds, *, seconds: float = SECONDS) -> Callable[[Example], Mixture]:
    """What makes the mixture of such an example, as `soundsieve evaluate corpus` hears it."""
    by_number = {pair.pair_id: pair for pair in pairs}

    def mixed_of(example: Example) -> Mixture:
        number, direction = map(int, example.example_id.split("-"))
        mixed = mix(by_number[number], sounds, seconds=seconds)
        return Mixture(mixed.mixture, mixed.sources[direction])

    return mixed_of
