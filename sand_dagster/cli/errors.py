"""Expected errors: one clear message on stderr and an exit code, no traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NoReturn, ParamSpec

import typer

_Params = ParamSpec("_Params")

FAILED, WRONG_USE = 1, 2
"""Exit codes: what was asked for failed or is not there yet; what was asked for does not exist."""


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the command with `message` on stderr."""
    typer.echo(f"sand: {message}", err=True)
    raise typer.Exit(code)


def command(function: Callable[_Params, None]) -> Callable[_Params, None]:
    """A command whose expected errors are told and not thrown. An unexpected one keeps its traceback."""

    @functools.wraps(function)
    def run(*args: _Params.args, **kwargs: _Params.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            code = _code(error)
            if code is None:
                raise
            fail(str(error), code)

    return run


def _code(error: Exception) -> int | None:
    """The exit code of an expected error; None: it was not expected."""
    from sand_dagster.artifacts.lineage import LineageError
    from sand_dagster.errors import ArtifactError
    from sand_dagster.experiments.loading import ExperimentError

    if isinstance(error, ExperimentError | LineageError):
        return WRONG_USE
    return FAILED if isinstance(error, ArtifactError) else None
