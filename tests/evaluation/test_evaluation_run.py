from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_benchmark import CLIPS, SECONDS, Knowing, KnowingMany, Unmoved, sounds

from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import SAMPLE_RATE, make_pairs, mix
from soundsieve.evaluation.questions import CONDITIONS, SETTINGS, in_setting, plan, setting_of
from soundsieve.evaluation.rows import key_of
from soundsieve.evaluation.run import BASELINES, baselines, evaluate, quick_score, selectivity
from soundsieve.metrics import filtered_sdr_improvement, sdr
from soundsieve.query import Condition
from soundsieve.systems.base import Estimate

PAIRS = make_pairs(CLIPS.values(), sounds, seconds=SECONDS)
WORDS = {label: [f"some {label} or other", f"{label} again"] for label in ("hum", "tone", "whistle")}


EQUAL = [name for name in CONDITIONS if not setting_of(name)]


def rows(system, questions=None, **kwargs):
    questions = plan(PAIRS, CLIPS, conditions=EQUAL, paraphrases=WORDS) if questions is None else questions
    return list(evaluate(system, PAIRS, questions, sounds, seconds=SECONDS, **kwargs))


def test_the_plan_asks_in_every_way_that_it_can():
    questions = plan(PAIRS, CLIPS, paraphrases=WORDS, folder="clips", any_split=list(CLIPS.values()), any_folder="all")
    assert {question.condition for question in questions} == set(CONDITIONS)
    pair = next(pair for pair in PAIRS if CLIPS[pair.first].label == "hum" and CLIPS[pair.second].label == "hiss")
    asked = {(q.condition, q.direction): q.query for q in questions if q.pair_id == pair.pair_id}
    first, second = (CLIPS[path].caption for path in pair.paths)
    assert asked["text", 0].text == (first,)
    assert (asked["text+exclude", 1].text, asked["text+exclude", 1].exclude) == ((second,), (first,))
    assert (asked["exclude", 0].text, asked["exclude", 0].exclude) == ((), (second,))
    assert asked["paraphrase", 0].text[0] in WORDS["hum"]
    assert asked["example", 0].like == (str(Path("clips", pair.first_examples[0])),)
    assert len(asked["examples", 0].like) == 2
    assert asked["text+example", 0].text == (first,)
    assert asked["example-any", 0].like[0].startswith("all/hum")
    assert asked["absent", None].text == (pair.absent_caption,)
    for name in ("paraphrase", "example", "examples", "text+example", "example-any"):  # the hiss has none of these
        assert (name, 1) not in asked


def test_the_plan_takes_as_many_examples_as_wanted():
    for shots in (1, 2, 9):
        questions = plan(PAIRS, CLIPS, conditions=["examples"], shots=shots)
        assert {len(question.query.like) for question in questions} == {min(shots, 2)}  # each label has two others


def test_the_plan_is_drawn_by_its_seed():
    assert plan(PAIRS, CLIPS, paraphrases=WORDS) == plan(PAIRS, CLIPS, paraphrases=WORDS)
    assert plan(PAIRS, CLIPS, paraphrases=WORDS, seed=1) != plan(PAIRS, CLIPS, paraphrases=WORDS)


def test_the_plan_asks_only_what_is_wanted_and_understood():
    assert {q.condition for q in plan(PAIRS, CLIPS, conditions=["text", "absent"])} == {"text", "absent"}
    by_words = {q.condition for q in plan(PAIRS, CLIPS, queries=frozenset({"text"}))}
    assert by_words == {"text", "label", "absent", *(in_setting("text", setting) for setting in SETTINGS)}
    with pytest.raises(ConfigError, match="no condition 'shout'; there are text"):
        plan(PAIRS, CLIPS, conditions=["shout"])


def test_an_unmoved_system_gains_nothing():
    for row in rows(Unmoved()):
        assert row["energy_db"] == 0
        assert row["presence"] is None
        if row["direction"] is not None:
            assert row["sdri"] == row["si_sdri"] == 0
            assert abs(row["sdr"]) < 0.5  # sources at 0 dB: off by their correlation alone


def test_a_knowing_system_gains_much_and_stays_silent_for_the_absent():
    for row in rows(Knowing()):
        if row["direction"] is None:
            assert row["energy_db"] < -15
            assert row["presence"] < 0.05
        else:
            assert row["sdri"] > 12
            assert row["si_sdr"] > row["si_sdr_other"] + 12
            assert row["presence"] > 0.4


def test_rows_say_what_was_measured():
    measured = rows(Knowing())
    questions = plan(PAIRS, CLIPS, conditions=EQUAL, paraphrases=WORDS)
    assert [(r["pair"], r["direction"], r["condition"]) for r in sorted(measured, key=_key)] == [
        (q.pair_id, q.direction, q.condition)
        for q in sorted(questions, key=lambda q: _key(vars(q) | {"pair": q.pair_id}))
    ]
    row = next(row for row in measured if row["condition"] == "text" and row["direction"] == 1)
    pair = PAIRS[row["pair"]]
    assert (row["label"], row["source"]) == (CLIPS[pair.second].label, CLIPS[pair.second].source)
    assert row["query"] == CLIPS[pair.second].caption
    json.dumps(measured, allow_nan=False)


def _key(row: dict) -> tuple:
    return row["pair"], row["condition"], str(row["direction"])


def test_an_answer_is_measured_against_the_sound_that_was_asked_for():
    system = Knowing()
    question = next(q for q in plan(PAIRS, CLIPS) if q.condition == "text" and q.direction == 1)
    row = rows(system, [question])[0]
    mixed = mix(PAIRS[question.pair_id], sounds, seconds=SECONDS)
    answer = system(mixed.mixture[None], system.encode_query(question.query))[0]
    assert row["sdr"] == pytest.approx(sdr(answer, mixed.sources[1]).item(), abs=1e-4)
    assert row["sdri"] == pytest.approx(row["sdr"] - sdr(mixed.mixture, mixed.sources[1]).item(), abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batches_and_many_queries_at_once_change_nothing(batch_size):
    one_by_one, many = rows(Knowing(), batch_size=3), KnowingMany()
    for a, b in zip(one_by_one, rows(many, batch_size=batch_size), strict=True):
        assert {k: v for k, v in a.items() if isinstance(v, str)} == {k: v for k, v in b.items() if isinstance(v, str)}
        assert a["energy_db"] == pytest.approx(b["energy_db"], abs=1e-3)
        assert a.get("sdr", 0) == pytest.approx(b.get("sdr", 0), abs=1e-3)
    assert many.calls == -(-len(PAIRS) // batch_size)


def test_each_query_is_encoded_once():
    system = Unmoved()
    rows(system, batch_size=2)
    assert len(system.encoded) == len(set(system.encoded))


def test_the_mode_of_the_system_is_restored():
    system = Unmoved().train()
    assert len(rows(system)) > 0
    assert system.training


class HalfRate(Unmoved):
    sample_rate = SAMPLE_RATE // 2

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        assert mixture.shape[1] == SAMPLE_RATE // 2
        return mixture


def test_a_system_of_another_rate_is_measured_at_the_common_one():
    voiced = [q for q in plan(PAIRS, CLIPS, conditions=["text"]) if q.label != "hiss"]
    voiced = [q for q in voiced if "hiss" not in str(PAIRS[q.pair_id].paths)]
    for row in rows(HalfRate(), voiced):
        assert row["energy_db"] == pytest.approx(0, abs=0.05)  # all but the hiss lies below 8 kHz
        assert row["sdri"] == pytest.approx(0, abs=0.05)


class Short(Knowing):
    segment_s = SECONDS / 2
    min_samples = 1

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        assert mixture.shape[1] == SAMPLE_RATE // 2
        return super().forward(mixture, condition)


def test_a_system_of_shorter_segments_is_measured_in_segments():
    for row in rows(Short(), plan(PAIRS, CLIPS, conditions=["text", "absent"])):
        assert row["presence"] > 0.3 if row["direction"] is not None else row["energy_db"] < -12
        assert row.get("sdri", 10) > 6


class Silent(Unmoved):
    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        return 0 * mixture


class Broken(Unmoved):
    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        return mixture / 0 * 0


def test_silence_is_bounded_and_nan_refused():
    for row in rows(Silent()):
        assert row["energy_db"] == -100
        if row["direction"] is not None:
            assert row["sdr"] == 0
            assert row["si_sdr"] == -100
    with pytest.raises(ConfigError, match="not a number"):
        rows(Broken())


def test_the_baselines_stand_on_both_sides():
    measured = list(baselines(PAIRS, CLIPS, sounds, conditions=["text"], seconds=SECONDS))
    assert len(measured) == 2 * len(BASELINES) * len(PAIRS)
    for row in measured:
        if row["condition"] == "mixture":
            assert row["sdri"] == 0
        elif row["condition"] == "half the mixture":  # |s - (s + n) / 2|^2 = |s - n|^2 / 4, half of |n|^2
            assert row["sdri"] == pytest.approx(3, abs=0.4)
            assert row["si_sdri"] == pytest.approx(0, abs=1e-3)
        else:
            assert row["sdri"] > 6
        assert Estimate(torch.zeros(1)).presence is row["presence"] is row["query"] is row["seconds"] is None


def test_other_levels_are_those_that_their_names_say():
    asked = [in_setting(name, setting) for setting in ("at +5 dB", "at -5 dB") for name in ("text", "text+exclude")]
    questions = plan(PAIRS, CLIPS, conditions=asked)
    assert len(questions) == 4 * len(PAIRS)
    assert {q.direction for q in questions if q.condition.endswith("+5 dB")} == {0}
    measured = rows(Unmoved(), questions)
    for row in measured:
        level = 5 if row["condition"].endswith("+5 dB") else -5
        assert row["snr_db"] == pytest.approx(level, abs=0.01)
        assert row["sdr"] == pytest.approx(level, abs=0.5)
        assert row["sdri"] == 0
    known = list(baselines(PAIRS, CLIPS, sounds, conditions=asked, seconds=SECONDS))
    assert len(known) == len(BASELINES) * len(PAIRS) * (2 + 2)
    by_name = {(row["pair"], row["direction"], row["condition"]): row for row in known}
    for pair in range(len(PAIRS)):
        ceiling = by_name[pair, 0, "ideal ratio mask at +5 dB"]
        assert ceiling["snr_db"] == pytest.approx(5, abs=0.01)
        assert ceiling["si_sdri"] > 3


def test_a_third_sound_is_in_the_way_and_can_be_excluded():
    asked = [in_setting(name, "of three") for name in ("text", "text+exclude", "exclude")]
    questions = plan(PAIRS, CLIPS, conditions=asked)
    assert len(questions) == 6 * len(PAIRS)
    for question in questions:
        labels = {CLIPS[path].label for path in PAIRS[question.pair_id].paths}
        third = CLIPS[question.otherwise.third]
        assert third.label not in labels
        if question.condition.startswith(("text+exclude", "exclude")):
            assert len(question.query.exclude) == 2
            assert third.caption in question.query.exclude
            assert question.caption not in question.query.exclude
    for row in rows(Knowing(), [q for q in questions if q.condition.startswith("text of")]):
        assert -4 < row["snr_db"] < -2  # two others, each as loud
        assert row["sdri"] > 8
        assert row["si_sdr"] > row["si_sdr_other"] + 8


def test_a_pair_without_a_third_sound_is_left_out():
    two = {path: CLIPS[path] for path in PAIRS[0].paths}
    questions = plan(PAIRS[:1], two, conditions=["text", "text of three"])
    assert {q.condition for q in questions} == {"text"}


def test_metrics_can_be_chosen():
    few = plan(PAIRS[:2], CLIPS, conditions=["text"])
    chosen = rows(Knowing(), few, metrics=["si_snr", "filtered_sdr"])
    for row in chosen:
        assert {"filtered_sdr", "filtered_sdri", "si_snr", "si_snri"} <= set(row)
        assert not {"sdr", "sdri", "si_sdr", "si_sdr_other"} & set(row)
    mixed = mix(PAIRS[0], sounds, seconds=SECONDS)
    system = Knowing()
    answer = system(mixed.mixture[None], system.encode_query(few[0].query))[0]
    gain = filtered_sdr_improvement(answer, mixed.sources[0], mixture=mixed.mixture)
    assert chosen[0]["filtered_sdri"] == pytest.approx(gain.item(), abs=1e-3)
    assert selectivity(chosen) == {}
    with pytest.raises(ConfigError, match="no metric 'loudness' to choose; there are sdr, si_sdr, filtered_sdr"):
        rows(Knowing(), few, metrics=["loudness"])


class Anew(Knowing):
    """Makes its answers anew: they sound right, and start somewhere else."""

    name = "anew"
    aligned = False

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        return super().forward(mixture, condition).roll(1000, -1)


def test_ratios_are_left_out_for_answers_that_do_not_line_up():
    for row in rows(Anew()):
        assert set(row) - {"shots", "like_s"} == {
            *("pair", "direction", "condition", "label", "source", "query"),
            *("snr_db", "energy_db", "presence", "seconds"),
        }
    with pytest.raises(ConfigError, match=r"SDRi needs answers that line up .* anew makes its sound anew"):
        quick_score(Anew(), sounds, PAIRS, CLIPS.values(), seconds=SECONDS)


def test_what_is_done_is_not_done_again():
    measured = rows(Knowing(), batch_size=4)
    done = {key_of(row) for row in measured[:80]}
    system = KnowingMany()
    rest = rows(system, batch_size=4, done=done)
    assert [key_of(row) for row in rest] == [key_of(row) for row in measured[80:]]
    for a, b in zip(rest, measured[80:], strict=True):
        assert a["energy_db"] == pytest.approx(b["energy_db"], abs=1e-3)
    assert system.calls < -(-len(PAIRS) // 4)
    assert rows(system, done={key_of(row) for row in measured}) == []
    ready = list(baselines(PAIRS, CLIPS, sounds, seconds=SECONDS))
    left = baselines(PAIRS, CLIPS, sounds, seconds=SECONDS, done={key_of(row) for row in ready[:8]})
    assert list(left) == ready[8:]


def test_answers_tell_their_time():
    assert all(0 < row["seconds"] < 5 for row in rows(Knowing(), plan(PAIRS, CLIPS, conditions=["text"])))
