"""The assets, one file a stage."""

from dataclasses import replace

from sand_dagster.assets.base_model import base_model
from sand_dagster.assets.candidate_actions import candidate_actions
from sand_dagster.assets.checkpoints import checkpoints
from sand_dagster.assets.critiques import critiques
from sand_dagster.assets.definition import StageDefinition
from sand_dagster.assets.deliberation_trajectories import deliberation_trajectories
from sand_dagster.assets.eval_episodes import eval_episodes
from sand_dagster.assets.eval_scores import eval_scores
from sand_dagster.assets.expert_data import expert_data
from sand_dagster.assets.expert_import import expert_import
from sand_dagster.assets.expert_trajectories import expert_trajectories
from sand_dagster.assets.explorations import explorations
from sand_dagster.assets.policy import policy
from sand_dagster.assets.rollouts import rollouts
from sand_dagster.assets.search_episodes import search_episodes
from sand_dagster.assets.search_scores import search_scores
from sand_dagster.assets.tasks import tasks
from sand_dagster.experiments.experiment import Experiment

STAGES = (
    tasks,
    expert_import,
    expert_data,
    base_model,
    expert_trajectories,
    policy,
    candidate_actions,
    rollouts,
    critiques,
    deliberation_trajectories,
    explorations,
    checkpoints,
    eval_episodes,
    eval_scores,
    search_episodes,
    search_scores,
)
"""In the order in which one iteration runs."""


_DELIBERATING = frozenset({"candidate_actions", "rollouts", "critiques", "deliberation_trajectories"})
_LACKS = {
    "full": frozenset({"explorations"}),
    "without_critique": frozenset({"rollouts", "critiques", "explorations"}),
    "without_sampling": frozenset({"candidate_actions", "rollouts", "critiques", "explorations"}),
    "more_sft": frozenset({"candidate_actions", "rollouts", "critiques", "explorations"}),
    "rft": _DELIBERATING,
    "eto": _DELIBERATING,
}
"""The stages that a variant does without."""

_SEARCHING = frozenset({"search_episodes", "search_scores"})
"""Those that only an experiment with a section `search` has."""


def stages_of(experiment: Experiment) -> list[StageDefinition]:
    """The stages of an experiment, each with what it reads there: a variant lacks some."""
    lacking = _LACKS[experiment.variant] | (frozenset() if experiment.search else _SEARCHING)
    return [
        replace(
            definition,
            reads=tuple(
                read for read in definition.reads if read.table not in lacking and read.when(experiment)
            ),
        )
        for definition in STAGES
        if definition.name not in lacking
    ]
