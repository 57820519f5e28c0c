"""The pages are true: links, commands, experiments, dependencies, figures."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

from sand_dagster.cli import app
from sand_dagster.experiments.loading import load_experiment, load_experiments
from tests.docs.blocks import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "packages").glob("*/README.md")),
    ROOT / "benchmarks" / "README.md",
]
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def _spans(page: Path) -> list[str]:
    """The texts in backticks outside of blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))


def _typed(page: Path) -> list[str]:
    """All lines that the reader should type, and the commands in the text."""
    lines = [line for block in FENCE.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    return [*lines, *_spans(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), target
    theirs = {"mine.py"}  # what the reader writes
    roots = (ROOT, page.parent, ROOT / "sand_dagster", ROOT / "packages" / "toy-alfworld")
    for span in _spans(page):
        if page.name == "CHANGELOG.md" or span in theirs:
            continue
        if re.fullmatch(r"(?!\.sand)[\w.-]+(/[\w.-]+)*\.(py|md|txt|toml)", span):
            assert any((root / span).exists() for root in roots), f"{page.name} names {span}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_a_page_names_are_there(page: Path) -> None:
    commands = typer.main.get_command(app)
    bench = commands.commands["bench"]  # type: ignore[attr-defined]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in _typed(page):
        for name, below in re.findall(r"(?:^|\.venv/bin/|\s)sand ([a-z]+)(?: ([a-z][a-z-]*))?", line):
            if re.match(r"(?:\S+=\S+ )*(?:\.venv/bin/)?sand ", line):
                assert name in commands.commands, line  # type: ignore[attr-defined]
                assert name != "bench" or not below or below in bench.commands, line
        for target in re.findall(r"^(?:\S+=\S+ )*make (?:[A-Z]+=\S+ )*([a-z][\w-]*)", line):
            assert target in targets, line


def test_every_experiment_is_on_the_page_and_the_page_names_no_other(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    experiments = set(load_experiments(tmp_path)[0])
    for name in experiments:
        stem = re.sub(r"-(base|without-sampling|without-critique)$", "", name)
        assert f"`{name}`" in text or (f"`{stem}`" in text and f"`{name.removeprefix(stem)}`" in text), name
    named = set(re.findall(r"`((?:household|alfworld|scienceworld)-[a-z0-9-]+)`", text))
    assert named - {"alfworld-download"} <= experiments


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "experiments.md"], ids=lambda p: p.name)
def test_the_experiment_that_a_page_writes_can_be_loaded(page: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(# \.sand/experiments/mine\.yaml\n.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.yaml").write_text(block)
    mine, whole = (load_experiment(name, tmp_path) for name in ("mine", "alfworld-llama31-8b"))
    assert mine.finetuning.method == "lora" and mine.model.base != whole.model.base
    options = mine.environment.options.model_dump()
    assert options["games"].is_absolute() and options["experts"].suffix == ".json"


CLAIMS = {
    (page, row.split("|")[1].strip()): row
    for page, head in (
        ("README.md", "## What of the paper is here"),
        ("docs/results.md", "# What was reproduced"),
    )
    for row in re.findall(
        r"^\|(?! in the paper |---).*\|$",
        re.split(r"^## ", (ROOT / page).read_text(encoding="utf-8").partition(head)[2], flags=re.MULTILINE)[
            0
        ],
        re.MULTILINE,
    )
}
assert len(CLAIMS) > 25
RUN = re.compile(r"`[^`\n]*\b(?:sand|make|pytest|python|alfworld-compiled) [^`\n]+`|```sh")


@pytest.mark.parametrize(("page", "subject"), CLAIMS)
def test_a_claim_about_the_paper_links_the_command_that_was_run(page: str, subject: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)#([\w-]+)\)", CLAIMS[page, subject])
    assert links or "**not run**" in CLAIMS[page, subject] or "not built" in CLAIMS[page, subject]
    for target, anchor in links:
        section = _section(((ROOT / page).parent / target).read_text(encoding="utf-8"), anchor)
        assert RUN.search(section), f"{target}#{anchor} names no command"


def _section(text: str, anchor: str) -> str:
    """What stands below the heading that a link's `anchor` means."""
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        heading, _, below = part.partition("\n")
        if re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") == anchor:
            return below
    raise AssertionError(f"no heading {anchor}")


def test_the_readmes_small_experiment_can_be_loaded_beside_it(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    pattern = r"```yaml\n(# \.sand/experiments/(\w+)\.yaml\n.*?)```"
    for block, name in re.findall(pattern, (ROOT / "README.md").read_text(), re.DOTALL):
        (tmp_path / "experiments" / f"{name}.yaml").write_text(block)
    small = load_experiment("small", tmp_path)
    assert small.model.base == "smollm2"
    assert small.environment.options.model_dump()["limits"] == {"train": 3, "seen": 3, "unseen": 0}
    assert small.generation.max_new_tokens == small.deliberation.max_new_tokens == 48


def test_every_picture_is_shown_on_a_page() -> None:
    shown = {name for page in PAGES for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())}
    pictures = {path.name for path in (ROOT / "docs").glob("*.png")}
    assert pictures <= {Path(name).name for name in shown}


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for file in (ROOT / "pyproject.toml", *(ROOT / "packages").glob("*/pyproject.toml")):
        project = tomllib.loads(file.read_text())["project"]
        groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
        for requirement in (requirement for group in groups for requirement in group):
            name = re.split(r"[=<>\[ ;]", requirement)[0]
            assert f"`{name}`" in text, f"docs/dependencies.md does not say what {name} is for"


def test_the_readmes_scores_are_those_that_were_recorded() -> None:
    measured = (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| 0\d \| .*$", readme, re.MULTILINE)
    assert len(rows) == 4
    assert all(row in measured for row in rows)
