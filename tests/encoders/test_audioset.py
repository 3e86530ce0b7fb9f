from __future__ import annotations

from importlib.resources import files

import pytest

from soundsieve.encoders import audioset
from soundsieve.errors import QueryError


def names(indices: frozenset[int]) -> set[str]:
    return {audioset.classes()[index] for index in indices}


def test_the_classes_are_audiosets() -> None:
    classes = audioset.classes()
    assert len(classes) == len(set(classes)) == 527
    assert [classes[index] for index in (0, 72, 74, 137, 526)] == [
        "Speech",
        "Animal",
        "Dog",
        "Music",
        "Field recording",
    ]


def test_the_levels() -> None:
    assert [node.name for node in audioset.at_level(1)] == [
        "Human sounds",
        "Animal",
        "Music",
        "Natural sounds",
        "Sounds of things",
        "Source-ambiguous sounds",
        "Channel, environment and background",
    ]
    top = [node.indices for node in audioset.at_level(1)]
    assert sum(map(len, top)) == 527
    assert frozenset().union(*top) == frozenset(range(527))
    assert {node.level for node in audioset.nodes()} == {1, 2, 3, 4, 5, 6}
    assert len(audioset.nodes()) == 632


def test_a_name_asks_for_its_class_alone() -> None:
    assert names(audioset.find("Dog")) == names(audioset.find("  dOg ")) == {"Dog"}
    assert names(audioset.find("Male speech, man speaking")) == {"Male speech, man speaking"}


def test_half_a_name_will_do_where_it_is_clear() -> None:
    assert names(audioset.find("man speaking")) == {"Male speech, man speaking"}
    with pytest.raises(QueryError, match="'singing voice of somebody' is not a class"):
        audioset.find("singing voice of somebody")


def test_a_name_with_its_level_asks_for_all_beneath_it() -> None:
    assert names(audioset.find("level 3: Dog")) >= {"Dog", "Bark", "Howl", "Growling"}
    assert audioset.find("Level 1:animal") > audioset.find("level 3: dog")
    assert audioset.find("human voice") == audioset.find("level 2: Human voice")  # no class of its own


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dogg", "'Dog'"),
        ("xyzzy", "is not a class of AudioSet; there are 'Speech', 'Dog', 'Music'"),
        ("level 1", "none of AudioSet's level 1; there are: 'Human sounds', 'Animal'"),
        ("level 1: dog", "none of AudioSet's level 1"),
        ("level 9: dog", "has no level 9: its levels are 1 to 6"),
        ("level 3: dogs", "'Dog'"),
    ],
)
def test_unknown_names_are_answered_with_known_ones(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        audioset.find(text)
    assert "\n" not in str(caught.value)


def test_its_licence_travels_with_it() -> None:
    """The package is MIT, and this file is not."""
    folder = files("soundsieve.encoders")
    assert "CC BY-SA 4.0" in "".join((folder / "audioset.csv").read_text("utf-8").splitlines()[:4])
    note = (folder / "LICENCES.md").read_text("utf-8")
    assert all(word in note for word in ("`audioset.csv`", "Google Inc.", "licenses/by-sa/4.0", "MIT licence does not"))
