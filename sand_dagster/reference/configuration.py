"""The configuration reference, from the types themselves."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, SerializeAsAny
from pydantic.fields import FieldInfo

from sand_dagster.environments import environment_kind, kinds
from sand_dagster.experiments.experiment import EnvironmentSection, Experiment
from sand_dagster.experiments.problems import MOVED, RENAMED_MODELS
from sand_dagster.resources import BY_VARIABLES, PARTS, variable_of
from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.generation import A_CARD, ON_A_CPU
from sand_dagster.resources.loop import Loop

_WORDS = {str: "text", int: "integer", float: "number", bool: "`true` or `false`", Path: "path"}

_HEAD = """\
# Configuration

<!-- Written by `make docs` from the types in the code. Do not edit it by hand. -->

Settings that decide results are in an experiment's file. Settings of the machine are in the
resources, which the launchpad and environment variables set. `reuse.md` says what a change means for
finished work.

## An experiment's file

A YAML file, `$SAND_HOME/experiments/NAME.yaml`. NAME is the experiment's name: lower-case letters, digits
and single hyphens. A file may also have the key `extends: OTHER`. It then has all fields of the experiment
OTHER, and the fields in the file replace those, section by section. A section with another
`kind` replaces the whole section. An unknown key, a wrong type and a contradiction are errors that name
the file and the field.
"""

_RESOURCES = """\
## The machine: resources

None of these fields decides what is generated, played or trained. Set them in the launchpad, under
`resources`, or by the environment variable in the table.
"""

_VARIABLES = {
    "SAND_HOME": "where everything is kept: tables, checkpoints, generated games, Dagster's instance. "
    "Default `.sand`",
    "SAND_POSTGRES_URL": "the PostgreSQL database of a team's Dagster instance (`team.md`); unset: files in "
    "`$SAND_HOME/dagster`",
    "ALFWORLD_DATA": "the folder that `alfworld-download` fills; `sand play`, `sand replay` and "
    "`sand bench environments` look there",
    "XDG_CACHE_HOME": "where the hashes of large files are cached. Default `~/.cache`",
}


def page() -> str:
    """The whole reference, in Markdown."""
    return "\n".join([_HEAD, *_experiment(), *_launchpad(), *_variables(), *_renamed()])


def _experiment() -> Iterator[str]:
    sections = [name for name, field in Experiment.model_fields.items() if _model(field.annotation)]
    yield _table(
        {name: field for name, field in Experiment.model_fields.items() if name not in {"name", *sections}}
    )
    for name in sections:
        field = Experiment.model_fields[name]
        section = _model(field.annotation)
        assert section is not None
        yield f"### `{name}`\n\n{_described(section)}\n"
        if field.description:
            yield f"Optional: {field.description}.\n"
        if section is EnvironmentSection:
            yield from _environments()
        else:
            yield _table(section.model_fields)


def _environments() -> Iterator[str]:
    yield (
        "`kind` names the environment; the other keys depend on it. For an environment of your own, give its "
        "module, such as `kind: my_package.my_environment` (`write-an-environment.md`).\n"
    )
    for name in kinds():
        options = environment_kind(name).Options
        yield f"#### `kind: {name}`\n\n{_described(options)}\n"
        yield _table(options.model_fields)


def _launchpad() -> Iterator[str]:
    yield _RESOURCES
    for name, kind in BY_VARIABLES.items():
        yield f"### `{name}`\n\n{_described(kind)}\n"
        own = {field: info for field, info in kind.model_fields.items() if field not in PARTS}
        yield _table(own, variables=True)
    yield "Set in the launchpad only:\n"
    others: dict[str, type[BaseModel]] = {"artifacts": Artifacts, "loop": Loop}
    rows = [
        [f"`{name}.{field}`", *_cells(field, info)]
        for name, kind in others.items()
        for field, info in kind.model_fields.items()
    ]
    yield _rows(("field", "type", "default", "meaning"), rows)


def _variables() -> Iterator[str]:
    yield "## Other environment variables\n"
    yield _rows(("variable", "meaning"), [[f"`{name}`", text] for name, text in _VARIABLES.items()])
    yield (
        "`key_variable` of an endpoint names another variable, which holds that server's key. Tests read "
        "`SAND_SHARED` (`CONTRIBUTING.md`).\n"
    )


def _renamed() -> Iterator[str]:
    yield "## Fields of earlier versions\n\nEach of them gives an error that says what to do:\n"
    rows = [[f"`{old}`", advice] for old, advice in MOVED.items()]
    rows += [[f"`model.base: {old}`", f"write `{new}`"] for old, new in RENAMED_MODELS.items()]
    yield _rows(("field", "instead"), rows)


def _table(fields: Mapping[str, FieldInfo], variables: bool = False) -> str:
    """The fields of one section; fields of an inner section have its name in front."""
    columns = ("field", "type", "default", *(["variable"] if variables else []), "meaning")
    rows = []
    for name, field in _flat(fields):
        kind, default, meaning = _cells(name, field)
        rows.append([f"`{name}`", kind, default, *([f"`{variable_of(name)}`"] if variables else []), meaning])
    return _rows(columns, rows)


def _flat(fields: Mapping[str, FieldInfo], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in fields.items():
        yield above + name, field
        if nested := _model(field.annotation):
            yield from _flat(nested.model_fields, f"{above}{name}.")


def _cells(name: str, field: FieldInfo) -> tuple[str, str, str]:
    """Type, default and meaning of a field."""
    return _type(field), _default(name, field), _escaped(field.description or "")


def _type(field: FieldInfo) -> str:
    return _escaped(_bounded(field.annotation, field.metadata))


def _name(kind: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_name(each) for each in inner if each is not types.NoneType)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(f"`{value}`" for value in kind)
    if origin is tuple:
        word = _name(inner[0])
        return f"list of {word if word.startswith('`') else _plural(word)}"
    if origin is not None and inner:  # Annotated
        return _bounded(inner[0], inner[1:])
    if _model(kind):
        return "section"
    return _WORDS[kind]


def _plural(word: str) -> str:
    noun, _, rest = word.partition(" ")
    return f"{noun}s {rest}".rstrip()


def _bounded(kind: Any, metadata: Sequence[Any]) -> str:
    """A type in words, with what is allowed: `integer ≥ 1, ≤ 99`."""
    return f"{_name(kind)} {', '.join(_bounds(metadata))}".rstrip()


def _bounds(metadata: Sequence[Any]) -> Iterator[str]:
    for each in metadata:
        match each:
            case FieldInfo():
                yield from _bounds(each.metadata)
            case annotated_types.Ge(bound):
                yield f"≥ {bound}"
            case annotated_types.Gt(bound):
                yield f"> {bound}"
            case annotated_types.Le(bound):
                yield f"≤ {bound}"
            case annotated_types.Lt(bound):
                yield f"< {bound}"
            case annotated_types.MinLen(bound):
                yield f"(at least {bound} of them)"


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if name in ON_A_CPU:
        return f"`{ON_A_CPU[name]}`; a GPU `{A_CARD[name]}`"
    value = field.get_default(call_default_factory=True)
    if value is None or value == "" or isinstance(value, BaseModel):
        return ""
    if isinstance(value, tuple) and len(value) > 3:
        return f"{len(value)} of them"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _model(kind: Any) -> type[BaseModel] | None:
    """The model class of a field that is a section; `Endpoint | None` is also one."""
    for each in (kind, *get_args(kind)):
        if each is not SerializeAsAny and isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _described(kind: type[Any]) -> str:
    """The docstring, its lines joined."""
    paragraphs = (kind.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (columns, *rows)]
    lines.insert(1, "|---" * len(columns) + "|")
    return "\n".join(lines) + "\n"
