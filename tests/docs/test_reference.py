"""The generated pages agree with the code."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from sand_dagster.assets import STAGES
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import load_experiments
from sand_dagster.reference.__main__ import PAGES
from sand_dagster.reference.configuration import page
from sand_dagster.reference.picture import LAYERS as DRAWN
from sand_dagster.reference.picture import architecture
from tests.docs.blocks import ROOT
from tests.test_layers import LAYERS


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_as_the_code_makes_it(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"run `make docs` and commit docs/{name}"


def _fields() -> set[str]:
    """Every field of the reference, by section; the environments' fields are in one set."""
    found, section = set(), ""
    for line in page().partition("## The machine")[0].splitlines():
        if line.startswith("### "):
            section = line.split("`")[1] + "."
        elif line.startswith("| `"):
            found.add(section + line.split("`")[1])
    return found


def _keys(values: dict[str, object], above: str = "") -> set[str]:
    found = set()
    for key, value in values.items():
        found |= _keys(value, f"{above}{key}.") if isinstance(value, dict) else {above + key}
    return found


def test_every_field_that_an_experiment_of_the_project_sets_is_in_the_reference(tmp_path: Path) -> None:
    fields = _fields()
    for file in (ROOT / "sand_dagster" / "experiments").glob("*.yaml"):
        keys = _keys(yaml.safe_load(file.read_text())) - {"extends", "environment.kind"}
        assert keys <= fields, f"{file.name}: {keys - fields}"
    assert len(load_experiments(tmp_path)[0]) > 20


def test_every_section_and_the_resources_variables_are_there() -> None:
    text = page()
    for name, field in Experiment.model_fields.items():
        assert name == "name" or f"`{name}`" in text
        assert field.description is None or field.description.replace("|", r"\|") in text or name == "name"
    assert "| `workers` | integer ≥ 0 | `0` | `SAND_WORKERS` |" in text
    assert "| `max_concurrency` | integer ≥ 1 | `128`; a GPU `256` | `SAND_MAX_CONCURRENCY` |" in text
    assert "| `seed` | integer ≥ 0 | `0` |" in text and "| `epochs` | list of integers ≥ 0" in text


def test_the_picture_has_the_layers_that_imports_are_held_to() -> None:
    assert [set(parts) for parts, _ in DRAWN] == [set(layer) for layer in LAYERS]


def test_the_picture_has_every_stage_once_and_uses_no_colour() -> None:
    drawn = architecture()
    names = [element.text for element in ET.fromstring(drawn).iter() if element.get("class") == "name"]
    for stage in STAGES:
        assert names.count(stage.name.replace("deliberation_trajectories", "deliberation_traj.")) == 1
    colours = {word for word in drawn.replace('"', " ").replace(";", " ").split() if word.startswith("#")}
    assert colours and all(len(set(colour[1:])) == 1 for colour in colours if len(colour) == 4)
