from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from studio_parts import GatedSystem, Studio

from soundsieve.separator import Separator
from soundsieve.studio.engine import Engine
from soundsieve.studio.limits import Limits
from soundsieve.studio.store import Store


@pytest.fixture
def system() -> GatedSystem:
    return GatedSystem().eval()


@pytest.fixture
def studio(system: GatedSystem, tmp_path: Path) -> Iterator[Studio]:
    """Makes engines over that system, with the limits that are given."""
    made: list[Engine] = []

    def make(**limits: float) -> Engine:
        store = Store(Limits(**limits), tmp_path)  # type: ignore[arg-type]
        made.append(Engine(store, load=lambda: Separator(system)))
        return made[-1]

    yield make
    system.open.set()  # whatever still waits may end
    for engine in made:
        engine.close()
        engine.store.close()
