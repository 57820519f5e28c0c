"""The policy of an iteration: closes the loop."""

from sand_dagster.assets.definition import INITIALISATION, Read, Where, stage
from sand_dagster.assets.loop import previous_materialisation
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.roles import Role
from sand_dagster.rows.models import BaseModelRow, CheckpointRow, PolicyRow
from sand_dagster.sand.checkpoints import policy_id


@stage(
    reads=("base_model", Read("checkpoints", Where.PREVIOUS)),
    modules=("sand_dagster.sand.checkpoints",),
    kinds=frozenset({"huggingface"}),
)
def policy(run: StageRun) -> Result:
    """π_k: the base model in 00, then the previous iteration's checkpoint (Algorithm 1, π_k ← π_θ).

    Looks the previous iteration's `checkpoints` up, since Dagster knows no cycles, and records which
    materialisation it found.
    """
    if run.iteration == INITIALISATION:
        base = run.rows(BaseModelRow)[0]
        return Result([_row(run, Role.BASE, "", base.model_id, base.folder)])
    closed = previous_materialisation(run, "checkpoints")
    (checkpoint,) = run.rows(CheckpointRow, closed.iteration)
    row = _row(run, Role.POLICY, checkpoint.checkpoint_id, checkpoint.model_id, checkpoint.folder)
    run.policy_folder(row)
    return Result([row], metadata=closed.metadata())


def _row(run: StageRun, role: Role, checkpoint_id: str, model_id: str, folder: str) -> PolicyRow:
    return PolicyRow(
        policy_id=policy_id(str(run.iteration), checkpoint_id, model_id),
        checkpoint_id=checkpoint_id,
        model_id=model_id,
        folder=folder,
        role=role,
    )
