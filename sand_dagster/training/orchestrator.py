"""What a training tells the run that asked for it.

On the run's machine this is a line of standard output. Elsewhere it is a message of Dagster Pipes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, PipesContext, open_dagster_pipes

from sand_dagster.training.job import PROGRESS_MARK, Progress


@contextmanager
def orchestrator() -> Iterator[PipesContext | None]:
    """The connection to the run by Dagster Pipes, on the first of the processes and if there is one."""
    if DAGSTER_PIPES_CONTEXT_ENV_VAR not in os.environ or os.environ.get("RANK", "0") != "0":
        yield None
        return
    with open_dagster_pipes() as pipes:
        yield pipes


def tell(progress: Progress) -> None:
    """Tell the run that an optimiser step is done."""
    print(PROGRESS_MARK + progress.model_dump_json(), flush=True)
    if PipesContext.is_initialized():
        PipesContext.get().report_custom_message(progress.model_dump())
