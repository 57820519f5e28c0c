"""What is open when ScienceWorld's tasks start: containers of each task type, with our simplifications."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from scienceworld import ScienceWorldEnv

from sand_dagster.bench.scienceworld import public_environment
from sand_dagster.environments import Progress
from sand_dagster.environments.scienceworld.specification import simplifications

_VARIATION = 0
_PRESET = "easy"


@dataclass(frozen=True, slots=True)
class Start:
    """The containers of a task type at its start, in all rooms; `preset` is with the package's `easy`."""

    task_type: str
    open: int
    closed: int
    preset_open: int
    preset_closed: int


@dataclass(frozen=True, slots=True)
class Starts:
    """One row a task type."""

    rows: list[Start]

    def to_json(self) -> dict[str, Any]:
        """The variation that was started, and the rows."""
        return {"variation": _VARIATION, "rows": [asdict(each) for each in self.rows]}

    def render(self) -> Table:
        """The rows."""
        table = Table(title="Containers at the start", title_justify="left")
        table.add_column("task type")
        for column in ("open", "closed", f"open, preset {_PRESET}", f"closed, preset {_PRESET}"):
            table.add_column(column, justify="right")
        for each in self.rows:
            counts = (each.open, each.closed, each.preset_open, each.preset_closed)
            table.add_row(each.task_type, *map(str, counts))
        return table


def starts(task_types: Sequence[str], progress: Progress = lambda done, total: None) -> Starts:
    """The first variation of each of `task_types`, as the package starts it."""
    rows = []
    with public_environment() as environment:
        for done, name in enumerate(task_types, start=1):
            ours = _counted(environment, name, simplifications(name))
            rows.append(Start(name, *ours, *_counted(environment, name, _PRESET)))
            progress(done, len(task_types))
    return Starts(rows)


def containers_of(thing: dict[str, Any], where: str = "") -> Iterator[tuple[str, bool]]:
    """All containers in an object tree of the simulator: their places, and whether they are open."""
    where = f"{where}/{thing['name']} {thing['uuid']}"
    container = thing["propContainer"]
    # Pictures and tools also have the property, but cannot contain anything.
    if container is not None and container["isContainer"] == "true":
        yield where, container["isOpen"]
    for inside in thing["contents"].values():
        yield from containers_of(inside, where)


def _counted(environment: ScienceWorldEnv, name: str, simplified: str) -> tuple[int, int]:
    """How many containers are open, and how many closed."""
    environment.load(name, _VARIATION, simplified)
    found = [is_open for _, is_open in containers_of(environment.getObjectTree())]
    return sum(found), len(found) - sum(found)
