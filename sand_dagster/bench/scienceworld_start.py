"""What is open when ScienceWorld's tasks start: containers of each task type, with our simplifications.

python -m sand_dagster.bench.scienceworld_start [--types NAME ...] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scienceworld import ScienceWorldEnv

from sand_dagster.bench.record import describe_machine, measured, write
from sand_dagster.bench.scienceworld import public_environment
from sand_dagster.environments.scienceworld.specification import simplifications
from sand_dagster.environments.scienceworld.task_types import TASK_TYPES

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


def starts(task_types: Sequence[str] = tuple(TASK_TYPES)) -> list[Start]:
    """The first variation of each task type, as the package starts it."""
    with public_environment() as environment:
        return [
            Start(
                name,
                *_counted(environment, name, simplifications(name)),
                *_counted(environment, name, _PRESET),
            )
            for name in task_types
        ]


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


def main() -> None:
    """The command line."""
    name = "python -m sand_dagster.bench.scienceworld_start"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    parser.add_argument("--types", nargs="+", choices=TASK_TYPES, default=list(TASK_TYPES), metavar="NAME")
    parser.add_argument("--out", type=Path, help="also write a record, for benchmarks/")
    options = parser.parse_args()
    machine = describe_machine()
    report = {"variation": _VARIATION, "rows": [asdict(start) for start in starts(options.types)]}
    print(json.dumps(report, indent=2))
    if options.out:
        command = name if options.types == list(TASK_TYPES) else f"{name} --types {' '.join(options.types)}"
        write(measured((), machine, report).model_copy(update={"command": command}), options.out)


if __name__ == "__main__":
    main()
