"""Experiment files: those that ship with the project, and the user's, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.problems import explain

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST = 100
"""Characters of a name. File systems allow 255, and a report's or a lock's file adds to the name."""

_TAKEN = {"alfworld", "dagster", "experiments", "games", "questions", "reports", "server-logs", "webshop"}
"""Folders in $SAND_HOME that are not an experiment's."""


_TAG = "tag:yaml.org,2002:"
_FORMS = {
    "bool": r"true|false",
    "int": r"[-+]?\d+",
    "float": r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\.inf|\.nan",
}


class _Loader(yaml.SafeLoader):
    """Reads numbers and booleans as YAML 1.2 does, and refuses a key that a mapping has twice.

    For PyYAML's own `010` is eight, `1:30` is ninety, `no` is false, and the last of two keys counts.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written = [key for key, _ in node.value if key.tag != f"{_TAG}merge"]
        seen: set[str] = set()
        for key in written:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice; keep one", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag in (f"{_TAG}null", f"{_TAG}merge")]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _form in _FORMS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_form})\Z"), None)
_Loader.add_constructor(f"{_TAG}int", lambda _, node: int(node.value))


class ExperimentError(Exception):
    """An experiment's file cannot be used; the message names the file, the field and what is allowed."""


def load_experiments(home: Path) -> tuple[dict[str, Experiment], dict[str, ExperimentError]]:
    """All experiments, those that ship with the project and the user's in `home / "experiments"`, by name.

    A file with an error does not affect the others: the error is returned by the file's name.
    """
    files, errors = _files(home)
    experiments = {}
    for name in sorted(files):
        try:
            experiments[name] = _load(name, files)
        except ExperimentError as error:
            errors[name] = error
    return experiments, errors


def load_experiment(name: str, home: Path) -> Experiment:
    """The experiment `name`.

    Raises:
        ExperimentError: there is none, or its file is not valid.
    """
    files, errors = _files(home)
    if name in errors:
        raise errors[name]
    if name not in files:
        raise ExperimentError(
            f"there is no experiment {name!r}; there are: {', '.join(sorted(files))}. "
            f"Put your own into {home / 'experiments'}, one YAML file each"
        )
    return _load(name, files)


def _files(home: Path) -> tuple[dict[str, Path], dict[str, ExperimentError]]:
    """The files by name, and those whose name cannot be an experiment's."""
    shipped = Path(str(resources.files("sand_dagster"))) / "experiments"
    files: dict[str, Path] = {}
    errors: dict[str, ExperimentError] = {}
    for folder in (shipped, home / "experiments"):
        for file in sorted(folder.glob("*.yaml")):
            if not _NAME.fullmatch(file.stem) or len(file.stem) > _LONGEST:
                errors[file.stem] = ExperimentError(
                    f"{file}: an experiment's name is lower-case letters, digits and single hyphens, at most "
                    f"{_LONGEST} characters; rename the file"
                )
            elif file.stem in _TAKEN:
                errors[file.stem] = ExperimentError(
                    f"{file}: {home / file.stem} is kept for other files than an experiment's; rename yours"
                )
            elif file.stem in files:
                # Neither has a better right to the name, but others extend the shipped one.
                errors[f"{file.stem} (yours)"] = ExperimentError(
                    f"{file}: {files[file.stem]} has the same name; rename yours"
                )
            else:
                files[file.stem] = file
    return files, errors


def _load(name: str, files: dict[str, Path]) -> Experiment:
    experiment = _validated(name, files)
    if experiment.control_for is not None:
        problem = _control_problem(experiment, experiment.control_for, files)
        if problem:
            raise ExperimentError(f"{files[name]} is not a valid experiment:\n  control_for: {problem}")
    return experiment


def _control_problem(control: Experiment, name: str, files: dict[str, Path]) -> str:
    """Why the experiment `name` cannot set the tokens of `control`; empty: it can."""
    if name not in files:
        return f"there is no experiment {name!r}; there are: {', '.join(sorted(files))}"
    other = _validated(name, files)
    if other.variant == "more_sft":
        return f"{name} is a control itself; name the experiment that deliberates"
    for section in ("environment", "model"):
        if getattr(control, section) != getattr(other, section):
            return f"{name} has another `{section}`, so tokens cannot be compared; use the same"
    if control.iterations > other.iterations:
        return (
            f"{name} has {other.iterations} iterations, but the control has {control.iterations}: "
            "it must not have more"
        )
    return ""


def _validated(name: str, files: dict[str, Path]) -> Experiment:
    values = _read(name, files, ())
    try:
        experiment = Experiment.model_validate({"name": name, **values})
        understood = experiment.model_dump()
        understood["environment"] |= understood["environment"]["options"]  # a file has them side by side
        problems = list(_booleans(values, understood))
    except ValidationError as error:
        problems = [explain(problem, Experiment) for problem in error.errors()]
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ExperimentError(f"{files[name]} is not a valid experiment:\n{listed}")
    return experiment


def _booleans(given: Any, understood: Any, where: str = "") -> Iterator[str]:
    """A problem for each true or false in `given` that pydantic took for a number."""
    if isinstance(given, bool) and not isinstance(understood, bool) and isinstance(understood, int | float):
        yield f"{where}: expected a number, found {str(given).lower()}"
    elif isinstance(given, dict) and isinstance(understood, dict):
        for key, value in given.items():
            yield from _booleans(value, understood.get(key), f"{where}.{key}".removeprefix("."))
    elif isinstance(given, list) and isinstance(understood, list | tuple):
        for at, (one, other) in enumerate(zip(given, understood, strict=False)):
            yield from _booleans(one, other, f"{where}.{at}")


def _read(name: str, files: dict[str, Path], children: tuple[str, ...]) -> dict[str, Any]:
    file = files[name]
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{file} cannot be read: {error}. It has to be a text file in UTF-8") from None
    except yaml.YAMLError as error:
        raise ExperimentError(f"{file}: not YAML: {error}") from None
    except RecursionError:
        raise ExperimentError(f"{file}: its sections are nested too deeply") from None
    if not isinstance(values, dict):
        raise ExperimentError(f"{file}: expected a mapping of fields, found {type(values).__name__}")
    if "name" in values:
        raise ExperimentError(f"{file}: name: an experiment is named by its file; remove this key")
    parent = values.pop("extends", None)
    if parent is None:
        return values
    if not isinstance(parent, str) or parent not in files or parent in (*children, name):
        raise ExperimentError(
            f"{file}: extends: {parent!r} must name another experiment that does not extend this one; "
            f"there are: {', '.join(sorted(files))}"
        )
    return _merge(_read(parent, files, (*children, name)), values)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, section by section; a section of another `kind` replaces the old one."""
    if "kind" in above and above["kind"] != below.get("kind"):
        return above
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
