"""The simulator's 30 task types, and their data in the published split."""

from __future__ import annotations

import re
from typing import NamedTuple


class TaskType(NamedTuple):
    """`variations`: how many there are. `eto`: its number in ETO's ids. `step_limit`: the published number
    of turns; None for the six types that the published split leaves out."""

    variations: int
    eto: int | None
    step_limit: int | None

    @property
    def train(self) -> range:
        """The simulator's own split: the first half, then a quarter each."""
        return range(2 * (self.variations // 4))

    @property
    def dev(self) -> range:
        return range(self.train.stop, 3 * (self.variations // 4))

    @property
    def test(self) -> range:
        return range(self.dev.stop, self.variations)


TASK_TYPES = {
    "boil": TaskType(30, 0, 100),
    "change-the-state-of-matter-of": TaskType(30, 1, 80),
    "chemistry-mix": TaskType(32, 17, 60),
    "chemistry-mix-paint-secondary-color": TaskType(36, 18, 15),
    "chemistry-mix-paint-tertiary-color": TaskType(36, 19, 30),
    "find-animal": TaskType(300, 11, 15),
    "find-living-thing": TaskType(300, 12, 15),
    "find-non-living-thing": TaskType(300, 13, 15),
    "find-plant": TaskType(300, 14, 15),
    "freeze": TaskType(30, 2, 80),
    "grow-fruit": TaskType(126, 15, 60),
    "grow-plant": TaskType(126, 16, 30),
    "identify-life-stages-1": TaskType(14, 23, 30),
    "identify-life-stages-2": TaskType(10, 24, 30),
    "inclined-plane-determine-angle": TaskType(168, 25, None),
    "inclined-plane-friction-named-surfaces": TaskType(1386, 26, None),
    "inclined-plane-friction-unnamed-surfaces": TaskType(162, 27, None),
    "lifespan-longest-lived": TaskType(125, 20, 10),
    "lifespan-longest-lived-then-shortest-lived": TaskType(125, 21, 12),
    "lifespan-shortest-lived": TaskType(125, 22, 10),
    "measure-melting-point-known-substance": TaskType(436, 4, 120),
    "measure-melting-point-unknown-substance": TaskType(300, 5, None),
    "melt": TaskType(30, 3, 80),
    "mendelian-genetics-known-plant": TaskType(120, 28, None),
    "mendelian-genetics-unknown-plant": TaskType(480, 29, None),
    "power-component": TaskType(20, 7, 20),
    "power-component-renewable-vs-nonrenewable-energy": TaskType(20, 8, 30),
    "test-conductivity": TaskType(900, 9, 30),
    "test-conductivity-of-unknown-substances": TaskType(600, 10, 30),
    "use-thermometer": TaskType(540, 6, 30),
}
PUBLISHED = tuple(name for name, kind in TASK_TYPES.items() if kind.step_limit is not None)
"""The 24 types of the published split."""

_ETO_NUMBERS = {kind.eto: name for name, kind in TASK_TYPES.items()}
_ETO_ID = re.compile(r"(?:^|\D)(\d+)_(\d+)$")


def from_published_name(name: str) -> str:
    """`task-6-lifespan-(longest-lived)`, as ETO's index files have it, as `lifespan-longest-lived`."""
    return re.sub(r"task-(\d|a|b)+-|[()]", "", name.replace("mendellian", "mendelian"))


def from_eto_id(identifier: str) -> tuple[str, int] | None:
    """The (task type, variation) that an ETO record's id such as `20_31` names; None if it names none."""
    found = _ETO_ID.search(identifier)
    name = _ETO_NUMBERS.get(int(found[1])) if found else None
    return (name, int(found[2])) if found and name else None
