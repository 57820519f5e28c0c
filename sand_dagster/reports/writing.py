"""Writing a report into a folder: the page, its data, and every table as CSV and Markdown."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from sand_dagster.errors import DiskFull, is_disk_full
from sand_dagster.files import write_text
from sand_dagster.reports import costs, failures, paired, scores, search, seeds, state
from sand_dagster.reports.figures import Picture, pictures
from sand_dagster.reports.pieces import write_pieces
from sand_dagster.reports.places import PAGE, SUMMARY
from sand_dagster.reports.subjects import Subject, subjects
from sand_dagster.reports.table import Table

_DATA, _TABLES, _FIGURES = "data", "tables", "figures"
_MARK = '<meta name="generator" content="sand report">'


class NotAReport(Exception):
    """The folder holds something else than a report, which would be lost among its files."""


@dataclass(frozen=True, slots=True)
class Section:
    """A table, and the figure above it, if it has one."""

    table: Table
    picture: Picture | None


def write_report(names: Sequence[str], folder: Path, home: Path) -> Path:
    """Write the report of the experiments `names` into `folder`; returns its page.

    Raises:
        ExperimentError: there is no such experiment.
        NotAReport, ArtifactError, DiskFull: as `write_report_about`.
    """
    _check(folder)
    return write_report_about(subjects(names, home), folder, home)


def write_report_about(about: Sequence[Subject], folder: Path, home: Path) -> Path:
    """Write the report of `about` into `folder`; returns its page.

    What an earlier report in `folder` had and this one has not is removed.

    Raises:
        NotAReport: the folder holds other files.
        ArtifactError: a table is damaged.
        DiskFull: there was no space.
    """
    _check(folder)
    sections = _sections(about, home)
    written: set[Path] = set()

    def write(name: str, text: str) -> None:
        written.add(folder / name)
        _put(folder / name, text)

    index = write_pieces(about, lambda name, text: write(f"{_DATA}/{name}", text))
    title = f"SAND: {', '.join(each.name for each in about)}"
    for section in sections:
        write(f"{_TABLES}/{section.table.name}.csv", section.table.csv())
        write(f"{_TABLES}/{section.table.name}.md", section.table.markdown())
        if section.picture:
            write(f"{_FIGURES}/{section.table.name}.svg", section.picture.file())
    write(SUMMARY, f"# {title}\n\n" + "\n".join(section.table.markdown() for section in sections))
    write_text(folder / PAGE, _page(title, sections, index, _made(about)))
    for below in (_DATA, _TABLES, _FIGURES):
        for path in (folder / below).glob("*"):
            if path not in written:
                path.unlink()
    return folder / PAGE


def _put(path: Path, text: str) -> None:
    """Write `text` whole or not at all; not durably, which for hundreds of files takes minutes on some disks.

    A file that has the text's size is left as it is if its name is its content's hash.

    Raises:
        DiskFull: there was no space.
    """
    content = text.encode()
    if path.parent.name == _DATA and path.is_file() and path.stat().st_size == len(content):
        return
    temporary = path.with_name(f"{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if is_disk_full(error):
            raise DiskFull(path) from error
        raise


def _check(folder: Path) -> None:
    page = folder / PAGE
    if folder.is_dir() and any(folder.iterdir()):
        known = page.is_file() and _MARK in page.read_text(encoding="utf-8", errors="replace")[:2000]
        if not known:
            raise NotAReport(
                f"{folder} holds files that are no report of `sand report`. Give a new or empty folder"
            )
    elif folder.exists() and not folder.is_dir():
        raise NotAReport(f"{folder} is a file. Give a new or empty folder")


def _sections(about: Sequence[Subject], home: Path) -> list[Section]:
    comparison = paired.compared(about, home)
    tables = [
        state.experiments(about),
        scores.table2(about, home),
        seeds.table(comparison.arms, comparison.over_seeds),
        paired.paired_tests(comparison),
        scores.table3(about, home),
        scores.table4(about, home),
        search.table5(about),
        scores.figure3(about),
        paired.figure4(comparison),
        scores.by_type(about),
        failures.table(about),
        costs.table(about),
        state.stages(about),
    ]
    there = [table for table in tables if table is not None]
    drawn = {
        picture.name: picture
        for picture in pictures({table.name: table for table in there}, comparison.bands)
    }
    return [Section(table, drawn.get(table.name)) for table in there]


def _made(about: Sequence[Subject]) -> str:
    """When the newest table that the report reads was written: the same tables give the same page."""
    times = [
        manifest.created_at
        for subject in about
        for iteration in subject.episodes
        if (manifest := subject.store.manifest("eval_episodes", iteration)) is not None
    ]
    return f"newest evaluation {max(times):%Y-%m-%d %H:%M} UTC" if times else "nothing is evaluated yet"


def _code(text: str) -> str:
    """The text as HTML, with what stands in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _page(title: str, sections: Sequence[Section], index: str, made: str) -> str:
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    pages = Environment(autoescape=True, undefined=StrictUndefined)
    pages.filters["code"] = _code
    return pages.from_string(_text("index.html.j2")).render(
        title=title,
        sections=sections,
        index=index,
        made=made,
        script=script,
        script_hash=f"sha256-{digest}",
        style=_text("report.css"),
    )


@cache
def _script() -> str:
    """The page's script: its files in order, in one scope."""
    below = files(__package__) / "page"
    names = sorted(path.name for path in below.iterdir() if path.name.endswith(".js"))
    return '(() => {\n"use strict";\n' + "\n".join(map(_text, names)) + "})();\n"


@cache
def _text(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")
