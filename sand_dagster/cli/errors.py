"""Expected errors: one clear message on stderr and an exit code, no traceback."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec

import typer

from sand_dagster.home import sand_home

_Params = ParamSpec("_Params")

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
"""Exit codes: what was asked for failed or is not there yet; what was asked for does not exist; Ctrl-C."""


_LITTLE = 1 << 20
"""Bytes: SQLite needs some for its own files, and reports a failed disk where it does not get them."""


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the command with `message` on stderr."""
    typer.echo(f"sand: {message}", err=True)
    raise typer.Exit(code)


def command(function: Callable[_Params, None]) -> Callable[_Params, None]:
    """A command whose expected errors are told and not thrown. An unexpected one keeps its traceback."""

    @functools.wraps(function)
    def run(*args: _Params.args, **kwargs: _Params.kwargs) -> None:
        try:
            _check_home()
            function(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            fail("interrupted", INTERRUPTED)
        except Exception as error:
            told = _told(error)
            if told is None:
                raise
            fail(*told)

    return run


def _check_home() -> None:
    home = sand_home()
    if not os.path.lexists(home):
        return
    if not home.is_dir():
        fail(f"$SAND_HOME is {home}, which is not a folder. Name a folder, or move that file away")
    if not os.access(home, os.R_OK | os.X_OK):
        fail(
            f"$SAND_HOME is {home}, which user {os.getuid()} may not read. Give that user the right "
            "to it, or name another folder"
        )


def _told(error: Exception) -> tuple[str, int] | None:
    """The message and the exit code of an expected error; None: it was not expected."""
    from sand_dagster.artifacts.lineage import LineageError
    from sand_dagster.errors import ArtifactError, explain_os_error
    from sand_dagster.experiments.loading import ExperimentError

    if isinstance(error, ExperimentError | LineageError):
        return str(error), WRONG_USE
    if isinstance(error, ArtifactError):
        return str(error), FAILED
    if isinstance(error, OSError):
        return explain_os_error(error), FAILED
    if _is(error, "duckdb", "Error") or _is(error, "polars.exceptions", "PolarsError"):
        return f"a table cannot be read: {error}\n`sand verify` says which files are damaged", FAILED
    if _is(error, "sqlalchemy.exc", "DBAPIError"):
        return database_problem(error), FAILED
    return None


def database_problem(error: BaseException) -> str:
    """What is wrong with Dagster's own record, and what to do."""
    folder = sand_home() / "dagster"
    said = str(getattr(error, "orig", error))
    if "full" in said or ("disk I/O" in said and shutil.disk_usage(folder).free < _LITTLE):
        return f"no space left on the disk for Dagster's record in {folder}. Free some space and try again"
    if "disk I/O" in said:
        return (
            f"the disk failed on Dagster's record in {folder} ({said}). Look at the disk, its space and its "
            "limits; then try again"
        )
    if "readonly" in said or "unable to open" in said:
        return f"Dagster's record in {folder} cannot be written ({said}). Make it writable, and try again"
    if "locked" in said:
        return f"Dagster's record in {folder} is in use by another process ({said}). Try again"
    return (
        f"Dagster's record in {folder} is damaged ({said}). Move it away (mv {folder} {folder}.damaged): "
        "`sand run` then makes another; finished units are taken from the journals"
    )


def _is(error: Exception, module: str, name: str) -> bool:
    """Whether `error` is of a class of a library, which need not have been imported."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(error, kind)
