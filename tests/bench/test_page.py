"""The page of measurements is made only from the records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sand_dagster.bench.page import TEMPLATE, render_page
from sand_dagster.bench.record import Record, describe_machine, measured, read, write
from tests.docs.blocks import ROOT

BENCHMARKS = ROOT / "benchmarks"
RECORD = Record(
    command="sand bench rollouts", date="2026-01-02", machine={"cores": "2"}, report={"rate": 12.5}
)


def test_the_page_is_in_step_with_the_records() -> None:
    written = (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    assert written == render_page(BENCHMARKS), "run `sand bench render` and commit docs/measurements.md"


def test_every_record_is_on_the_page_and_names_no_place_of_a_machine() -> None:
    template = (BENCHMARKS / TEMPLATE).read_text(encoding="utf-8")
    for name, record in read(BENCHMARKS).items():
        assert name.replace("-", "_") in template, f"{name}.json is not used by {TEMPLATE}"
        assert not re.search(r"(^|\s)(/|~/)", record.command), f"{name}.json: {record.command}"


def test_the_template_holds_no_figure_of_its_own() -> None:
    text = (BENCHMARKS / TEMPLATE).read_text(encoding="utf-8")
    prose = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|<!--.*?-->|`[^`]*`", "", text, flags=re.DOTALL)
    prose = prose.replace("95 % interval", "")
    assert not re.findall(
        r"\d[\d.,]*\s?(?:%|m?s\b|µs|min\b|MB|GiB|tokens/s|rollouts/s|times\b|points)", prose
    )


def test_a_record_is_read_as_it_was_written_and_says_where_it_ran(tmp_path: Path) -> None:
    machine = describe_machine()
    record = measured(["bench", "rollouts", "--out", "a/b.json", "--rollouts", "8"], machine, {"rate": 1.5})
    write(record, tmp_path / "b.json")
    assert read(tmp_path) == {"b": record}
    assert record.command == "sand bench rollouts --rollouts 8"
    assert record.machine["processor"] and int(record.machine["cores"]) >= 1
    assert record.versions["python"].startswith("3.")


def test_figures_are_filled_in_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    write(RECORD, tmp_path / "some-rates.json")
    (tmp_path / TEMPLATE).write_text("{{ some_rates.report.rate|number(1) }} on {{ some_rates|where }}\n")
    assert render_page(tmp_path) == "12.5 on 2026-01-02, 2 cores.\n"
    (tmp_path / TEMPLATE).write_text("{{ some_rates.report.speed }}")
    with pytest.raises(ValueError, match=rf"{TEMPLATE} cannot be filled in: .*speed"):
        render_page(tmp_path)


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no measurement.*--out"):
        read(tmp_path)
    (tmp_path / "odd.json").write_text('{"date": "2026-01-02"}')
    with pytest.raises(ValueError, match=r"odd\.json is not a measurement"):
        read(tmp_path)
