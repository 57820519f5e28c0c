"""Write the pages that are generated from the code: `python -m sand_dagster.reference docs`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sand_dagster.artifacts import documentation
from sand_dagster.files import write_text
from sand_dagster.reference import configuration
from sand_dagster.reference.picture import architecture

PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": configuration.page,
    "tables.md": documentation.page,
    "architecture.svg": architecture,
}
"""The pages of `docs/`, by file name."""


def main(folder: Path) -> None:
    """Write every page into `folder`."""
    for name, make in PAGES.items():
        write_text(folder / name, make())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
