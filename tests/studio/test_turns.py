from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsieve.studio.limits import BusyError, Limits
from soundsieve.studio.turns import Turns


def room(total: int = 100, each: int = 100) -> Turns[str]:
    return Turns(Limits(max_waiting=total, max_waiting_each=each))


def test_somebody_who_asks_much_does_not_hold_up_the_others() -> None:
    turns = room()
    for item in ("a1", "a2", "a3", "a4", "b1", "c1", "c2"):
        turns.put(item[0], item)
    assert [turns.take() for _ in range(7)] == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]


def test_who_just_had_a_turn_waits_for_who_comes_now() -> None:
    turns = room()
    turns.put("a", "a1")
    turns.put("a", "a2")
    assert turns.take() == "a1"
    turns.put("b", "b1")
    assert [turns.take(), turns.take()] == ["b1", "a2"]


@given(st.lists(st.sampled_from("abcd"), max_size=20), st.integers(0, 5))
def test_the_place_that_is_told_is_the_one_that_comes(people: list[str], served: int) -> None:
    turns: Turns[list[str]] = Turns(Limits(max_waiting=100, max_waiting_each=100))
    items = [[person] for person in people]
    for item in items:
        turns.put(item[0], item)
    for _ in range(min(served, len(items))):
        taken = turns.take()
        items = [item for item in items if item is not taken]
    places = {turns.before(item): item for item in items}
    assert sorted(places) == list(range(len(items)))  # type: ignore[type-var]
    for place in range(len(items)):
        assert turns.take() is places[place]


def test_the_room_has_so_many_seats() -> None:
    turns = room(total=3, each=2)
    turns.put("a", "a1")
    turns.put("a", "a2")
    with pytest.raises(BusyError, match="2 of your questions are waiting already: wait for one of them, or cancel"):
        turns.put("a", "a3")
    turns.put("b", "b1")
    with pytest.raises(BusyError, match="3 questions are waiting already: try again in a minute"):
        turns.put("c", "c1")
    assert turns.remove("a1")
    turns.put("c", "c1")
    assert turns.before("a1") is None
    assert not turns.remove("a1")


def test_closing_wakes_who_waits_for_work() -> None:
    turns = room()
    taken: list[str | None] = []
    worker = threading.Thread(target=lambda: taken.append(turns.take()))
    worker.start()
    assert turns.close() == []
    worker.join(5)
    assert taken == [None]
    with pytest.raises(BusyError, match="closing"):
        turns.put("a", "a1")
