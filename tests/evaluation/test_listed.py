from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_benchmark import CLIPS, SAMPLE_RATE, SOUNDS, Knowing, Unmoved

from soundsieve import audio
from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixing
from soundsieve.evaluation.benchmarks.recordings import Recordings
from soundsieve.evaluation.listed import CONDITIONS, Asking, evaluate, measured_for, present
from soundsieve.evaluation.rows import key_of
from soundsieve.query import Condition

EVERYTHING = frozenset({"text", "audio", "exclude"})
EXAMPLES = [
    Example(
        "first",
        "a tone",
        "a whistle",
        "tone",
        "tone/0.wav",
        ("whistle/0.wav",),
        like=("tone/1.wav", "tone/2.wav"),
        unlike=("whistle/1.wav",),
    ),
    Example("second", "a hum", target="hum/0.wav", interferers=("tone/0.wav", "whistle/1.wav")),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in CLIPS:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        audio.encode(tmp_path / path, SOUNDS[path].numpy(), SAMPLE_RATE, subtype="FLOAT")
    audio.encode(tmp_path / "silent.wav", torch.zeros(SAMPLE_RATE).numpy(), SAMPLE_RATE)
    return tmp_path


def asking(folder: Path, mixing: Mixing | None = None, **how: object) -> Asking:
    mixing = mixing or Mixing("snr", segment_s=1.0)
    return Asking(mixing, Recordings(folder, SAMPLE_RATE), **how)  # type: ignore[arg-type]


def test_every_way_to_ask_is_asked(folder: Path) -> None:
    queries = asking(folder, shots=2).queries(EXAMPLES[0], EVERYTHING)
    assert list(queries) == list(CONDITIONS)
    clips = [str(folder / path) for path in (*EXAMPLES[0].like, *EXAMPLES[0].unlike)]
    assert queries["text+exclude"].text == ("a tone",)
    assert queries["text+exclude"].exclude == ("a whistle",)
    assert queries["label"].text == ("tone",)
    assert queries["example"].like == (clips[0],)
    assert queries["examples"].like == (clips[0], clips[1])
    assert queries["example+unlike"].unlike == (clips[2],)
    assert list(asking(folder).queries(EXAMPLES[0], frozenset({"text"}))) == ["text", "label"]
    assert list(asking(folder).queries(EXAMPLES[1], EVERYTHING)) == ["text"]
    alike = Example("x", "A  tone", "a Tone", target="tone/0.wav", interferers=("tone/1.wav",))
    assert list(asking(folder).queries(alike, EVERYTHING)) == ["text", "exclude"]


def test_a_system_that_knows_gains_and_one_that_does_not_gains_nothing(folder: Path) -> None:
    rows = list(evaluate(Knowing(), EXAMPLES, asking(folder, conditions=("text", "text+exclude", "example"))))
    by_key = {(row["example"], row["condition"]): row for row in rows}
    assert len(by_key) == len(rows) == 3 + 3 + 3 + 1
    assert by_key["first", "mixture"]["sdri"] == 0
    assert by_key["first", "half the mixture"]["si_sdri"] == pytest.approx(0, abs=1e-3)
    for name in ("text", "text+exclude", "example", "ideal ratio mask"):
        assert by_key["first", name]["sdri"] > 15
    assert by_key["first", "text"]["snr_db"] == pytest.approx(0, abs=1e-3)
    assert by_key["first", "text"]["presence"] == pytest.approx(0.5, abs=0.05)
    assert by_key["first", "text"]["query"] == "a tone"
    assert by_key["second", "text"]["sdri"] > 10
    unmoved = evaluate(Unmoved(), EXAMPLES, asking(folder, conditions=("text",)))
    assert [row["sdri"] for row in unmoved if row["condition"] == "text"] == [0, 0]


def test_rows_do_not_depend_on_batches_or_on_what_was_measured_before(folder: Path) -> None:
    def rows(batch_size: int, done: frozenset[tuple[object, ...]] = frozenset()) -> list[dict[str, object]]:
        found = evaluate(Knowing(), EXAMPLES, asking(folder), batch_size=batch_size, done=done)
        return sorted(({**row, "seconds": None} for row in found), key=lambda row: str(key_of(row)))

    together = rows(8)
    assert rows(1) == together
    done = frozenset(key_of(row) for row in together[:5])
    assert rows(8, done) == together[5:]
    assert rows(8, frozenset(map(key_of, together))) == []


def test_mixtures_of_other_lengths_are_not_stacked(folder: Path) -> None:
    rows = list(evaluate(Knowing(), EXAMPLES, asking(folder, Mixing("snr"), conditions=("text",))))
    assert [row["example"] for row in rows if row["condition"] == "text"] == ["first", "second"]


def test_the_metrics_of_a_benchmark(folder: Path) -> None:
    assert measured_for(("filtered_sdri", "si_sdri", "energy_db")) == ("sdr", "si_sdr", "filtered_sdr")
    assert measured_for(("pesq", "ssnr")) == ("sdr", "si_sdr", "pesq", "ssnr")
    wanted = asking(folder, conditions=("text",), metrics=measured_for(("filtered_sdri",)))
    (row,) = (row for row in evaluate(Knowing(), EXAMPLES[:1], wanted) if row["condition"] == "text")
    assert row["filtered_sdri"] > 10


def test_a_hidden_target_has_energy_and_presence_alone(folder: Path) -> None:
    hidden = Example("x", "a tone", mixture="tone/0.wav")
    (row,) = evaluate(Knowing(), [hidden], asking(folder, Mixing("ready")))
    assert row["energy_db"] == pytest.approx(0, abs=0.1)
    assert row["presence"] > 0.9
    assert "sdr" not in row
    assert (row["target"], row["snr_db"]) == ("", None)


def test_missing_recordings_are_found_before_anything_is_measured(folder: Path) -> None:
    lost = Example("x", "a tone", target="tone/9.wav", interferers=("hum/0.wav",), like=("tone/8.wav",))
    asked = asking(folder, conditions=("text",))
    assert present([*EXAMPLES, lost], asked) == (EXAMPLES, ["tone/9.wav"])
    with_clips = asking(folder, conditions=("text", "example"))
    assert present([*EXAMPLES, lost], with_clips) == (EXAMPLES, ["tone/9.wav", "tone/8.wav"])
    assert present(EXAMPLES, asking(folder))[1] == []


def test_what_cannot_be_mixed_is_named_or_left_out_in_a_row(folder: Path) -> None:
    silent = Example("quiet", "a tone", target="silent.wav", interferers=("hum/0.wav",))
    asked = asking(folder, conditions=("text",))
    with pytest.raises(AudioError, match="example quiet cannot be mixed: the target is silent; --allow-missing"):
        list(evaluate(Knowing(), [silent], asked))
    rows = list(evaluate(Knowing(), [silent, *EXAMPLES], asked, leave_out=True))
    reason = "example quiet cannot be mixed: the target is silent"
    assert rows[0] == {"example": "quiet", "condition": "left out", "reason": reason}
    assert {row["example"] for row in rows[1:]} == {"first", "second"}
    done = {key_of(row) for row in rows}
    assert list(evaluate(Knowing(), [silent, *EXAMPLES], asked, done=done)) == []


class Broken(Unmoved):
    def forward(self, mixture: torch.Tensor, condition: Condition) -> torch.Tensor:
        return mixture / 0 * 0


def test_an_answer_that_cannot_be_measured_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="example first, asked by text: a system's answer is not a number"):
        list(evaluate(Broken(), EXAMPLES, asking(folder, conditions=("text",))))


def test_wrong_settings_are_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no condition 'loud' for lists; there are text, text"):
        asking(folder, conditions=("loud",))
    with pytest.raises(ConfigError, match="0 shots"):
        asking(folder, shots=0)
    with pytest.raises(ConfigError, match="no metric 'nice'"):
        asking(folder, metrics=("nice",))
