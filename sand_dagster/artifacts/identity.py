"""The identity of a stage: all that decides its rows, apart from the tables that it reads.

It is part of the keys of the journal, the manifest, and Dagster's `code_version`. A stage's rows are reused
only if its identity and the content of its inputs have not changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sand_dagster.ids import digest

_SHORT = 8
"""Digits of a hash that are shown."""

_VALUE_WIDTH = 60


class Identity(BaseModel):
    """What decides a stage's rows. Two identities are equal if all four parts are."""

    model_config = ConfigDict(frozen=True)

    code: Mapping[str, str] = Field({}, description="source files, prompts and templates: path and hash")
    config: Mapping[str, Any] = Field({}, description="the experiment's fields that the stage reads")
    packages: Mapping[str, str] = Field({}, description="versions of the packages that decide its rows")
    files: Mapping[str, str] = Field({}, description="data from outside $SAND_HOME: name and content hash")

    @cached_property
    def key(self) -> str:
        """Hash of all parts."""
        return digest(self.model_dump(mode="json"))

    @cached_property
    def version(self) -> str:
        """Dagster's `code_version`: everything that is known before the files from outside are read."""
        return digest(self.model_dump(mode="json", exclude={"files"}))[:16]

    def differences(self, new: Identity) -> list[str]:
        """The differences in `new`, one line each, such as `config: sampling.n 5 → 8`."""
        return [
            *_changes("code", self.code, new.code, _named_only),
            *_changes("config", self.config, new.config, _values),
            *_changes("package", self.packages, new.packages, _values),
            *_changes("file", self.files, new.files, _hashes),
        ]


def short(content_hash: str | None) -> str:
    """A hash as it is shown to a person."""
    return f"{content_hash[:_SHORT]}…" if content_hash else "nothing"


def plain(config: object) -> Any:
    """`config` as JSON values: pydantic models and dataclasses become objects.

    Raises:
        TypeError: it contains a value that JSON cannot represent.
    """
    if isinstance(config, BaseModel):
        return config.model_dump(mode="json")
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return plain(dataclasses.asdict(config))
    if isinstance(config, Mapping):
        return {str(name): plain(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [plain(value) for value in config]
    if config is None or isinstance(config, str | int | float | bool):
        return config
    if isinstance(config, Path):
        return str(config)
    raise TypeError(f"a configuration holds JSON values, found {type(config).__name__} {config!r}")


def _changes(kind: str, old: Mapping[str, Any], new: Mapping[str, Any], describe: Any) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{kind}: {name}{describe(old.get(name), new.get(name))}"


def _named_only(old: str | None, new: str | None) -> str:
    return " (new)" if old is None else " (gone)" if new is None else ""


def _values(old: object, new: object) -> str:
    return f" {_value(old)} → {_value(new)}"


def _hashes(old: str | None, new: str | None) -> str:
    return f" {short(old)} → {short(new)}"


def _value(value: object) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"
