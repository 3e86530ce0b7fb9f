"""AudioSep's lists: the same clips as a CSV gives, and one line for each way to get them wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from toy_benchmark import CLIPS, sounds

from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import Clip, make_pairs, read_clips


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_is_a_recording_and_its_caption_a_label(tmp_path: Path) -> None:
    entries = [{"wav": "a/x.wav", "caption": "A dog barks "}, {"wav": "/b/y.wav", "caption": "Rain", "duration": 3}]
    clips = read_clips(written(tmp_path / "list.json", {"data": entries, "version": 1}))
    assert clips == [
        Clip("a/x.wav", "A dog barks", "A dog barks", "a/x.wav"),
        Clip("/b/y.wav", "Rain", "Rain", "/b/y.wav"),
    ]
    assert read_clips(tmp_path / "list.json", split="test") == clips  # it names no split


def test_a_byte_order_mark_and_line_breaks_in_captions_are_passed_over(tmp_path: Path) -> None:
    list_of_one = json.dumps({"data": [{"wav": "x.wav", "caption": "A dog\n barks\t"}]})
    (clip,) = read_clips(written(tmp_path / "list.json", "\ufeff" + list_of_one))
    assert clip.caption == "A dog barks"


def test_captions_need_not_be_there_where_none_are_read(tmp_path: Path) -> None:
    (clip,) = read_clips(written(tmp_path / "list.JSON", {"data": [{"wav": "x.wav"}]}), labelled=False)
    assert clip == Clip("x.wav", "", "", "x.wav")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [', r"list\.json is not JSON: .*line 1"),
        ([{"wav": "x.wav", "caption": "Rain"}], r'is not a list of clips: as JSON, it is \{"data"'),
        ({"data": {"wav": "x.wav"}}, "is not a list of clips"),
        ({"clips": []}, "is not a list of clips"),
        ({"data": []}, "lists no clip"),
        ({"data": [{"wav": "x.wav", "caption": "Rain"}, "y.wav"]}, "entry 2 is not a table"),
        ({"data": [{"caption": "Rain"}]}, "entry 1 lacks 'wav'"),
        ({"data": [{"wav": "x.wav"}]}, "entry 1 lacks 'caption'"),
        ({"data": [{"wav": 7, "caption": "Rain"}]}, "entry 1: 'wav' must be text, not 7"),
        ({"data": [{"wav": "x.wav", "caption": ["Rain"]}]}, r"entry 1: 'caption' must be text, not \[\"Rain\"\]"),
        ({"data": [{"wav": "x.wav", "caption": " "}]}, "entry 1: 'caption' must be text, not \" \""),
        ('{"data": ' + "[" * 100_000, r"list\.json is not JSON: .*recursion"),
        ('{"data": ' + "9" * 5000 + "}", r"list\.json is not JSON: .*4300 digits"),
        ({"data": [{"wav": "x\0.wav", "caption": "Rain"}]}, r"entry 1: 'wav' must be text, not \"x\\u0000\.wav\""),
        ({"data": [{"wav": "x.wav", "caption": "\ud800"}]}, r"entry 1: 'caption' must be text, not \"\\ud800\""),
        ({"data": [{"wav": ["x " * 1000], "caption": "Rain"}]}, r"'wav' must be text, not .{,60}$"),
    ],
)
def test_what_is_no_such_list_is_refused_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path / "list.json", content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_clips(path)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.json"):
        read_clips(tmp_path / "none.json")


def test_a_file_under_several_captions_is_not_paired_with_itself() -> None:
    clips = [Clip(path, f"{path} {k}", f"{path} {k}", path) for path in sorted(CLIPS)[:3] for k in range(3)]
    for pair in make_pairs(clips, sounds, n=30):
        assert pair.first != pair.second
