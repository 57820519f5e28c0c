"""`sand bench links`: the chain from a sample to a better action, link by link, in a household experiment.

Does sampling offer alternatives, and are they really worse? Are critiques right about their rollouts? Do
deliberations list the candidates? And the agent that was finetuned on them: are its judgements of actions
true, does it choose well, does it repeat refused actions? The value of an action is known here: how many
steps the exploring expert needs to win after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import RenderableType
from rich.table import Table

from sand_dagster.artifacts.recorded import stored_tasks
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.interfaces import Environment
from sand_dagster.prompts.figures import is_deliberation
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow
from sand_dagster.rows.evaluation import EpisodeRow
from sand_dagster.rows.row import Row
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow
from sand_dagster.sand.trajectories import demonstrations_of
from sand_dagster.types import Step, Task
from toy_alfworld import games as household
from toy_alfworld.games.catalogue import Rules
from toy_alfworld.games.expert import Expert
from toy_alfworld.model.evaluate import CANDIDATE, called_best, completes, refuses

_ENVIRONMENT = "household"
_LONGEST = 40
"""Steps after which the expert gives up."""
_REFUSED = re.compile(r"nothing would happen|would fail")

R = TypeVar("R", bound=Row)


@dataclass(slots=True)
class Share:
    """A share of `of` cases."""

    hits: int = 0
    of: int = 0

    def count(self, hit: bool) -> None:
        """Count one case."""
        self.hits += hit
        self.of += 1

    @property
    def value(self) -> float | None:
        """The share in [0, 1]; None without a case."""
        return self.hits / self.of if self.of else None


LINKS: Mapping[str, str] = {
    "deliberating": "steps of the demonstrations whose samples disagree",
    "alternative_worse": "sampled alternatives after which winning takes longer",
    "alternative_refused": "sampled alternatives that the environment refuses",
    "alternative_loses": "alternatives whose rollout wins less than the expert's action's",
    "alternative_wins": "alternatives whose rollout wins more than the expert's action's",
    "critique_validity": "critiques that are right about whether the action is accepted",
    "critique_outcome": "critiques that are right about whether the rollout won",
    "deliberation_lists": "deliberations that list exactly the candidates",
    "deliberation_chooses": "deliberations whose rationale names the expert's action",
    "deliberation_agrees": "deliberations whose list calls only the expert's action best",
    "turn_deliberates": "turns of the evaluated agent that deliberate",
    "lists_alternatives": "of these, those that list two actions or more, none twice",
    "lists_a_good_one": "of these, those that list an action as good as the expert's",
    "judges_validity": "listed actions judged correctly as accepted or refused",
    "follows_its_choice": "deliberating turns whose action is the one that their list calls best",
    "deliberating_good": "deliberating turns whose action is as good as the expert's",
    "other_good": "other turns whose action is as good as the expert's",
    "deliberating_refused": "deliberating turns that are refused",
    "other_refused": "other turns that are refused",
    "repeats": "turns after a refusal that repeat the refused action",
}
"""What each link counts. An action is good if the expert wins after it no later than after its own action."""


class Links(dict[str, Share]):
    """The share of each of `LINKS`."""

    def __init__(self) -> None:
        super().__init__({name: Share() for name in LINKS})

    def to_json(self) -> dict[str, Any]:
        """All figures, for a program."""
        return {name: {"share": share.value, "of": share.of} for name, share in self.items()}

    def render(self) -> RenderableType:
        """All figures, for a person."""
        table = Table(title="The links of the chain")
        for column in ("link", "share", "of"):
            table.add_column(column, justify="left" if column == "link" else "right")
        for name, share in self.items():
            table.add_row(LINKS[name], "" if share.value is None else f"{share.value:.1%}", str(share.of))
        return table


def measure(
    home: Path, experiment: Experiment, iteration: str, progress: Callable[[int, int], None]
) -> Links:
    """The links of one iteration.

    Raises:
        ValueError: the experiment is not in the household world.
        MissingArtifact: the iteration is not complete.
    """
    if experiment.environment.kind != _ENVIRONMENT:
        raise ValueError(
            f"{experiment.name} plays in {experiment.environment.kind}; the value of an action is known only "
            f"in the {_ENVIRONMENT}, so name an experiment of that environment"
        )
    store = ArtifactStore(home, experiment.name)
    links = Links()
    with closing(experiment.environment.module.make(experiment.environment.options, home)) as world:
        probe = _Probe(world, stored_tasks(store), _rules(experiment))
        demonstrations = demonstrations_of(rows_of(store, DemonstrationRow, iteration))
        episodes = rows_of(store, EpisodeRow, iteration)
        total = len(demonstrations) + len(episodes)
        candidates: dict[str, list[CandidateRow]] = {}
        for candidate in _rows(store, CandidateRow, iteration):
            candidates.setdefault(candidate.step_id, []).append(candidate)
        rollouts = {r.candidate_id: r for r in _rows(store, RolloutRow, iteration)}
        for done, demonstration in enumerate(demonstrations, start=1):
            steps = demonstration.history(len(demonstration.rows))
            for t, state in probe.states(demonstration.task_id, demonstration.instruction, steps):
                _alternatives(links, state, candidates.get(demonstration.rows[t].step_id, ()), rollouts)
            progress(done, total)
        _texts(links, store, iteration, rollouts)
        for done, episode in enumerate(episodes, start=len(demonstrations) + 1):
            _turns(links, probe, episode)
            progress(done, total)
    return links


def _rules(experiment: Experiment) -> Rules:
    options = experiment.environment.options
    assert isinstance(options, household.Options)
    return options.rules


class _State:
    """A moment of a game, with what a sensible player knows at this point."""

    def __init__(self, world: Environment, expert: Expert, instruction: str) -> None:
        self._world, self._expert, self._instruction = world, expert, instruction
        self.best = self.after(expert.act().action)[1]

    def after(self, action: str) -> tuple[bool, int]:
        """Whether `action` is accepted, and in how many steps the expert then wins, including this one."""
        world = self._world.fork()
        other = Expert(self._instruction)
        other.belief = self._expert.belief.copy()
        valid = True
        for taken in range(1, _LONGEST + 1):
            chosen = action if taken == 1 else other.act().action
            result = world.step(chosen)
            valid = result.valid if taken == 1 else valid
            if result.done:
                return valid, taken
            other.observe(chosen, result.observation)
        return valid, _LONGEST + 1

    def good(self, action: str) -> bool:
        """Whether `action` is as good as the expert's own."""
        return self.after(action)[1] <= self.best


class _Probe:
    """Replays recorded steps, and stops before each one."""

    def __init__(self, world: Environment, tasks: Mapping[str, Task], rules: Rules) -> None:
        self._world, self._tasks, self._rules = world, tasks, rules

    def states(self, task_id: str, instruction: str, steps: Sequence[Step]) -> Iterator[tuple[int, _State]]:
        """The moment before each of `steps`, with its number."""
        self._world.reset(self._tasks[task_id])
        expert = Expert(instruction, rules=self._rules)
        for t, step in enumerate(steps):
            yield t, _State(self._world, expert, instruction)
            if step.action:
                self._world.step(step.action)
            expert.observe(step.action, step.observation)


def _alternatives(
    links: Links, state: _State, candidates: Sequence[CandidateRow], rollouts: Mapping[str, RolloutRow]
) -> None:
    if not candidates:
        return
    links["deliberating"].count(candidates[0].deliberates)
    own = next(c for c in candidates if c.is_expert)
    standard = state.after(own.action)[1]
    for candidate in candidates:
        if candidate is own:
            continue
        valid, steps = state.after(candidate.action)
        links["alternative_worse"].count(steps > standard)
        links["alternative_refused"].count(not valid)
        if rollouts and all(rollouts[c.candidate_id].was_played for c in (candidate, own)):
            reward, expert = (rollouts[c.candidate_id].reward for c in (candidate, own))
            links["alternative_loses"].count(reward < expert)
            links["alternative_wins"].count(reward > expert)


def _texts(links: Links, store: ArtifactStore, iteration: str, rollouts: Mapping[str, RolloutRow]) -> None:
    actions = {c.candidate_id: c.action for c in _rows(store, CandidateRow, iteration)}
    for critique in _rows(store, CritiqueRow, iteration):
        rollout = rollouts[critique.candidate_id]
        links["critique_validity"].count(refuses(critique.critique) != rollout.steps[0].valid)
        links["critique_outcome"].count(completes(critique.critique) == (rollout.reward >= 1.0))
    for step in _rows(store, DeliberationRow, iteration):
        if step.deliberated and step.candidate_ids:
            listed = [action for action, _ in CANDIDATE.findall(step.thought)]
            links["deliberation_lists"].count(listed == [actions[c] for c in step.candidate_ids])
            links["deliberation_agrees"].count(called_best(step.thought) == [step.action])
            links["deliberation_chooses"].count(step.action in step.thought.rpartition("\n")[2])


def _turns(links: Links, probe: _Probe, episode: EpisodeRow) -> None:
    played = [turn.step for turn in episode.steps]
    valid = [turn.valid for turn in episode.steps]
    for t, state in probe.states(episode.task_id, episode.instruction, played):
        turn = played[t]
        if t and not valid[t - 1]:
            links["repeats"].count(turn.action == played[t - 1].action)
        deliberates = is_deliberation(turn.thought)
        links["turn_deliberates"].count(deliberates)
        good, refused = (
            ("deliberating_good", "deliberating_refused") if deliberates else ("other_good", "other_refused")
        )
        links[good].count(state.good(turn.action))
        links[refused].count(not valid[t])
        if deliberates:
            _listed(links, state, turn)


def _listed(links: Links, state: _State, turn: Step) -> None:
    lines = CANDIDATE.findall(turn.thought)
    actions = [action for action, _ in lines]
    links["lists_alternatives"].count(len(actions) >= 2 and len(set(actions)) == len(actions))
    links["lists_a_good_one"].count(any(state.good(action) for action in set(actions)))
    for action, judged in lines:
        links["judges_validity"].count((_REFUSED.search(judged) is None) == state.after(action)[0])
    links["follows_its_choice"].count(turn.action in called_best(turn.thought))


def _rows(store: ArtifactStore, kind: type[R], iteration: str) -> Sequence[R]:
    """The rows of a stage; none if the experiment's variant does not have it."""
    return rows_of(store, kind, iteration) if iteration in store.iterations(kind.table) else ()
