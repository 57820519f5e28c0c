"""`docs/tables.md` agrees with the definitions of the rows."""

from __future__ import annotations

from sand_dagster.artifacts.documentation import page
from sand_dagster.artifacts.schemas import TABLES


def test_every_column_is_listed_with_the_tables_of_its_ids() -> None:
    for table in TABLES.values():
        (section,) = (part for part in page().split("\n## ") if part.startswith(f"{table.name}\n"))
        for name, column in table.columns.items():
            (line,) = (line for line in section.splitlines() if line.startswith(f"| `{name}` |"))
            assert column.description in line
            assert all(parent.table in line for parent in column.parents)
    assert "list of (thought: text, action: text, observation: text, valid: bool)" in page()
