"""Whose turn it is: one after another goes everybody once, each with their own in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from soundsieve.studio.limits import BusyError, Limits

Item = TypeVar("Item")

_REMEMBERED = 256


class Turns(Generic[Item]):
    """A waiting room that is fair to people, however much each of them asks.

    Args:
        limits: how many may wait, of all people and of one.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: dict[str, deque[Item]] = {}
        self._served: dict[str, int] = {}  # the number of somebody's last turn
        self._count = 0
        self._change = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        with self._change:
            return sum(map(len, self._waiting.values()))

    def put(self, person: str, item: Item) -> None:
        """Let somebody wait with one more thing.

        Raises:
            BusyError: there is no seat left, or this is closed.
        """
        with self._change:
            if self._closed:
                raise BusyError("the studio is closing")
            if len(self) >= self._limits.max_waiting:
                raise BusyError(f"{len(self)} questions are waiting already: try again in a minute")
            own = self._waiting.get(person, ())
            if len(own) >= self._limits.max_waiting_each:
                raise BusyError(f"{len(own)} of your questions are waiting already: wait for one of them, or cancel it")
            self._waiting.setdefault(person, deque()).append(item)
            self._change.notify()

    def take(self) -> Item | None:
        """Wait for the next thing to do; None once this is closed."""
        with self._change:
            while not self._waiting and not self._closed:
                self._change.wait()
            if self._closed:
                return None
            person = self._next(self._waiting, self._served)
            own = self._waiting[person]
            item = own.popleft()
            if not own:
                del self._waiting[person]
            self._count += 1
            self._served.pop(person, None)
            self._served[person] = self._count
            if len(self._served) > _REMEMBERED:
                del self._served[next(iter(self._served))]
            return item

    def remove(self, item: Item) -> bool:
        """Give up a seat; False if it was not taken any more."""
        with self._change:
            for person, own in self._waiting.items():
                if item in own:
                    own.remove(item)
                    if not own:
                        del self._waiting[person]
                    return True
        return False

    def before(self, item: Item) -> int | None:
        """How many go before this one as things stand; None if it is not waiting."""
        with self._change:
            left = {person: list(own) for person, own in self._waiting.items()}
            served = dict(self._served)
            for number in range(len(self)):
                person = self._next(left, served)
                if left[person].pop(0) is item:
                    return number
                served[person] = self._count + number + 1
                if not left[person]:
                    del left[person]
        return None

    def close(self) -> list[Item]:
        """Nothing more is taken; what still waits is returned."""
        with self._change:
            self._closed = True
            left = [item for own in self._waiting.values() for item in own]
            self._waiting.clear()
            self._change.notify_all()
        return left

    @staticmethod
    def _next(waiting: Iterable[str], served: Mapping[str, int]) -> str:
        """Who has had no turn for longest; of those who never had one, who came first."""
        return min(waiting, key=lambda person: served.get(person, 0))
