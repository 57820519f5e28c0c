"""The lock agrees with `pyproject.toml`: it has every required version. No network is used."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [tomllib.loads(file.read_text()) for file in sorted(ROOT.glob("packages/*/pyproject.toml"))]
OURS = {canonicalize_name(each["project"]["name"]) for each in [PYPROJECT, *PACKAGES]}
LEFT_OUT = OURS | {
    canonicalize_name(Requirement(line).name) for line in PYPROJECT["tool"]["uv"]["override-dependencies"]
}
HARDWARE = pytest.mark.parametrize("hardware", ["cpu", "gpu"])


def _locked(hardware: str) -> dict[NormalizedName, Version]:
    locked = {}
    for line in (ROOT / "requirements" / f"{hardware}.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            locked[canonicalize_name(name)] = Version(version)
    return locked


def _asked_for(hardware: str) -> list[Requirement]:
    extras = PYPROJECT["project"]["optional-dependencies"]
    asked = [line for each in [PYPROJECT, *PACKAGES] for line in each["project"]["dependencies"]]
    requirements = [Requirement(line) for line in [*asked, *extras[hardware], *extras["dev"]]]
    return [each for each in requirements if canonicalize_name(each.name) not in OURS]


def _reached(hardware: str) -> Iterator[tuple[str, Requirement]]:
    """Each requirement with the package that has it, as deep as the locked versions are installed here."""
    locked = _locked(hardware)
    waiting = [("pyproject.toml", requirement) for requirement in _asked_for(hardware)]
    seen = set()
    while waiting:
        asker, requirement = waiting.pop()
        yield asker, requirement
        if (requirement.name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((requirement.name, frozenset(requirement.extras)))
        try:
            installed = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        if Version(installed.version) != locked.get(canonicalize_name(requirement.name)):
            continue
        for deeper in map(Requirement, installed.requires or []):
            extras = requirement.extras or {""}
            wanted = deeper.marker is None or any(
                deeper.marker.evaluate({"extra": extra}) for extra in extras
            )
            if wanted and canonicalize_name(deeper.name) not in LEFT_OUT:
                waiting.append((requirement.name, deeper))


@HARDWARE
def test_every_requirement_is_met_by_a_locked_version(hardware: str) -> None:
    locked = _locked(hardware)
    unmet = [
        f"{requirement} (required by {asker}; locked: {locked.get(canonicalize_name(requirement.name))})"
        for asker, requirement in _reached(hardware)
        if (version := locked.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(version, prereleases=True)
    ]
    step = f"requirements/{hardware}.txt is out of date: run `make lock` and commit the result"
    assert not unmet, "\n".join([step, *unmet])


def test_each_machine_gets_its_own_build_of_torch() -> None:
    torch = canonicalize_name("torch")
    assert (_locked("cpu")[torch].local, _locked("gpu")[torch].local) == ("cpu", None)


@HARDWARE
def test_the_lock_names_no_registry(hardware: str) -> None:
    text = (ROOT / "requirements" / f"{hardware}.txt").read_text()
    assert [line for line in text.splitlines() if ":/" in line or line.startswith("-")] == []
