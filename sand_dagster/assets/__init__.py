"""The assets, one file a stage."""

from sand_dagster.assets.base_model import base_model
from sand_dagster.assets.candidate_actions import candidate_actions
from sand_dagster.assets.checkpoints import checkpoints
from sand_dagster.assets.critiques import critiques
from sand_dagster.assets.deliberation_trajectories import deliberation_trajectories
from sand_dagster.assets.demonstrations import demonstrations
from sand_dagster.assets.eval_episodes import eval_episodes
from sand_dagster.assets.eval_scores import eval_scores
from sand_dagster.assets.expert_trajectories import expert_trajectories
from sand_dagster.assets.policy import policy
from sand_dagster.assets.rollouts import rollouts
from sand_dagster.assets.stage import StageDefinition
from sand_dagster.assets.tasks import tasks
from sand_dagster.experiment import Experiment

STAGES = (
    tasks,
    expert_trajectories,
    base_model,
    demonstrations,
    policy,
    candidate_actions,
    rollouts,
    critiques,
    deliberation_trajectories,
    checkpoints,
    eval_episodes,
    eval_scores,
)
"""In the order in which one iteration runs."""


def stages_of(experiment: Experiment) -> list[StageDefinition]:
    """The stages of an experiment: the variants of Table 3 lack some."""
    left_out = {"rollouts", "critiques"} if experiment.variant == "without_critique" else set()
    return [definition for definition in STAGES if definition.name not in left_out]
