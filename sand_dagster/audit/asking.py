"""Named questions in SQL: those of the project, and users' own in `$SAND_HOME/questions`.

A file `name.sql` starts with a comment: its title, then a description, then a line for each parameter,
`$name = default: what it is`, with a JSON value as default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sand_dagster.artifacts.sql import Database, LineageError

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_PARAMETER = re.compile(r"\$(\w+) = (.+?): (.+)")


class Parameter(NamedTuple):
    """A parameter of a question."""

    default: Any
    description: str


class Question(NamedTuple):
    """A named question. `own` is true for a user's question."""

    name: str
    title: str
    description: str
    parameters: Mapping[str, Parameter]
    sql: str
    own: bool


def questions(home: Path) -> dict[str, Question]:
    """All questions by name; a user's question replaces ours of the same name.

    Raises:
        LineageError: a file has no title, no description, or a parameter's default that is not JSON.
    """
    found = {}
    ours = Path(str(resources.files("sand_dagster.audit"))) / "questions"
    for folder, own in ((ours, False), (home / "questions", True)):
        for path in sorted(folder.glob("*.sql")):
            found[path.stem] = read_question(path, own=own)
    return dict(sorted(found.items()))


def read_question(path: Path, *, own: bool) -> Question:
    """The question in a file.

    Raises:
        LineageError: see `questions`.
    """
    if not _NAME.fullmatch(path.stem):
        raise LineageError(f"{path}: a question's name is letters, digits, '_' and '-'")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LineageError(f"{path} cannot be read: {error}") from error
    lines = text.splitlines()
    end = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    head = [line.removeprefix("--").strip() for line in lines[:end]]
    parameters, header = {}, []
    for line in head:
        if match := _PARAMETER.fullmatch(line):
            parameters[match[1]] = Parameter(_json(path, match[1], match[2]), match[3])
        else:
            header.append(line)
    if len(header) < 2 or not header[0]:
        raise LineageError(
            f"{path}: the file has to start with a comment: a title and, below it, a description "
            "(`-- Title`, `-- What it answers.`)"
        )
    return Question(
        path.stem, header[0], " ".join(header[1:]).strip(), parameters, "\n".join(lines[end:]), own
    )


def ask(database: Database, question: Question, values: Mapping[str, str]) -> pl.DataFrame:
    """The answer; `values` are texts that replace the parameters' defaults, read as the default's type.

    Raises:
        LineageError: there is no such parameter, a value is not of its type, or the SQL cannot be answered.
    """
    if unknown := values.keys() - question.parameters.keys():
        there = ", ".join(question.parameters) or "it has none"
        raise LineageError(f"question {question.name} has no parameter {', '.join(unknown)}; {there}")
    filled = {
        name: _typed(question, name, values[name]) if name in values else parameter.default
        for name, parameter in question.parameters.items()
    }
    used = database.parameters(question.sql)
    if missing := used - filled.keys():
        raise LineageError(
            f"question {question.name}: ${', $'.join(sorted(missing))} has no line in the head comment "
            "(`-- $name = default: what it is`)"
        )
    return database.query(question.sql, {name: filled[name] for name in used})


def _typed(question: Question, name: str, text: str) -> Any:
    default = question.parameters[name].default
    if isinstance(default, str) or default is None:
        return text
    value = _json(Path(question.name), name, text)
    if not isinstance(value, type(default)) and not (isinstance(default, float) and isinstance(value, int)):
        raise LineageError(
            f"question {question.name}: {name} has to be of type {type(default).__name__}, found {text!r}"
        )
    return value


def _json(path: Path, name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise LineageError(f"{path}: the value of {name} is not JSON: {text!r}") from None
