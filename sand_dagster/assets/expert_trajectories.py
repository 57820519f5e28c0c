"""D_exp of an iteration: closes the loop."""

from sand_dagster.assets.definition import INITIALISATION, Read, Where, stage
from sand_dagster.assets.loop import previous_materialisation
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.rows.steps import DeliberationRow, ExpertRow
from sand_dagster.sand.trajectories import next_demonstrations, original_thoughts


@stage(
    reads=("expert_data", Read("deliberation_trajectories", Where.PREVIOUS)),
    settings=lambda experiment: ("variant",) if experiment.explores else ("deliberation.carry_over",),
    modules=("sand_dagster.sand.trajectories",),
    kinds=frozenset({"parquet"}),
)
def expert_trajectories(run: StageRun) -> Result:
    """D_exp of this iteration: the expert trajectories in 00, then the previous D_delib (Algorithm 1).

    With variants rft and eto there is no D_delib: D_exp stays the expert trajectories. Else it looks the
    previous iteration's `deliberation_trajectories` up, since Dagster knows no cycles, and records which
    materialisation it found.
    """
    expert = run.rows(ExpertRow)
    if run.iteration == INITIALISATION or run.experiment.explores:
        return Result(next_demonstrations(str(run.iteration), expert, None))
    closed = previous_materialisation(run, "deliberation_trajectories")
    original = original_thoughts(expert) if run.experiment.deliberation.carry_over == "original" else None
    previous = run.rows(DeliberationRow, closed.iteration)
    return Result(next_demonstrations(str(run.iteration), previous, original), metadata=closed.metadata())
