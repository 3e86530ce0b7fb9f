from __future__ import annotations

import pytest
import torch

from soundsieve.evaluation.judge import pack
from soundsieve.evaluation.reports.numbers import against, by_label, by_shots, conditions, family, score_rows
from soundsieve.evaluation.reports.runs import Run


def row(pair: int, sdri: float, condition: str = "text", **more: object) -> dict[str, object]:
    return {"pair": pair, "direction": 0, "condition": condition, "sdri": sdri, **more}


def test_settings_come_in_order_and_what_needs_no_system_first() -> None:
    names = ["text", "text at +5 dB", "mixture", "ideal ratio mask at +5 dB", "absent"]
    found = conditions({"condition": name} for name in names)
    assert found == ["mixture", "text", "absent", "ideal ratio mask at +5 dB", "text at +5 dB"]


def test_the_number_of_clips_and_the_setting_are_left_out_of_a_family() -> None:
    assert [family(name) for name in ("text+example", "examples-any", "text at -5 dB", "exclude of three")] == [
        "text+example",
        "example-any",
        "text",
        "exclude",
    ]


def test_few_values_are_groups_of_their_own() -> None:
    rows = [row(i, float(i % 2), snr_db=[-5.0, 0.0][i % 2]) for i in range(10)] + [row(99, 1.0, snr_db=None)]
    assert [(one.x, one.mean, one.count) for one in against(rows, "snr_db", "sdri")] == [(-5.0, 0.0, 5), (0.0, 1.0, 5)]


def test_values_that_all_but_agree_are_one_group() -> None:
    nearly = [row(i, 1.0, snr_db=[-5.0, 5.0][i % 2] + i / 1000) for i in range(40)]
    assert [one.x for one in against(nearly, "snr_db", "sdri")] == [-5.0, 5.0]
    assert [one.x for one in against([row(0, 1.0, like_s=0.25), row(1, 1.0, like_s=0.5)], "like_s", "sdri")] == [
        0.25,
        0.5,
    ]


def test_many_values_are_put_into_bins_of_equal_size() -> None:
    points = against([row(i, float(i), snr_db=i / 2) for i in range(80)], "snr_db", "sdri")
    assert [one.count for one in points] == [10] * 8
    assert points[0].x == pytest.approx(2.25)
    assert points[0].mean == 4.5
    assert points[0].low < 4.5 < points[0].high


def test_no_value_gives_no_point() -> None:
    assert against([row(0, 1.0)], "snr_db", "sdri") == []
    assert against([row(0, 1.0, condition="absent", snr_db=0.0)], "snr_db", "sdri") == []


def test_shots_are_told_by_the_row_or_by_the_way_of_asking() -> None:
    rows = [row(0, 1.0, "examples", shots=10), row(0, 2.0, "examples", shots=3), row(0, 3.0, "example")]
    assert [(one.x, one.mean) for one in by_shots(rows, "sdri")] == [("1", 3.0), ("3", 2.0), ("10", 1.0)]
    rows = [row(0, 2.0, "examples"), row(0, 3.0, "example")]
    assert [(one.x, one.mean) for one in by_shots(rows, "sdri")] == [("1", 3.0), ("several", 2.0)]
    assert by_shots([], "sdri") == []


def test_the_same_questions_are_behind_every_number_of_shots() -> None:
    """Two sounds of which there are five clips, and one, an easy one, of which there are two."""
    rows = [row(i, float(n), "examples", shots=n) for i in (0, 1) for n in (1, 3, 5)]
    rows += [row(2, 50.0, "examples", shots=n) for n in (1, 2, 2)]
    assert [(one.x, one.mean, one.count) for one in by_shots(rows, "sdri")] == [("1", 1, 2), ("3", 3, 2), ("5", 5, 2)]


def test_labels_come_worst_first_whichever_way_is_better() -> None:
    rows = [row(0, 1.0, label="dog", energy_db=-3.0), row(1, 2.0, label="rain", energy_db=-9.0), row(2, 0.0)]
    assert [one.x for one in by_label(rows, "sdri")] == ["dog", "rain"]
    assert [one.x for one in by_label(rows, "energy_db")] == ["dog", "rain"]


def test_a_cell_is_empty_where_a_row_lacks_the_metric() -> None:
    rows = [row(0, 1.0), row(1, 3.0), row(0, 2.0, "example", pesq=2.0), row(1, 2.0, "example")]
    head, lines = score_rows(Run("a", rows))
    assert head == ["query", "n", "SDRi, dB", "PESQ"]
    assert lines == [["text", "2", "2.0 (1.0 to 3.0)", ""], ["example", "2", "2.0 (2.0 to 2.0)", ""]]


def test_the_distance_is_of_the_embeddings() -> None:
    heard = [pack(torch.tensor([[float(i), 1.0]])) for i in range(3)]
    rows = [row(i, 1.0, embedding=one, reference_embedding=one) for i, one in enumerate(heard)]
    head, lines = score_rows(Run("a", rows))
    assert head[-1] == "FAD"
    assert lines[0][-1] == "0.0000"
