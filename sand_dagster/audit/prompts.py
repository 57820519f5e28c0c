"""The prompts that models were given, rebuilt from the tables and checked against the recorded hashes.

Critiques and deliberations record the hash of their prompt. For candidates, rollouts and episodes the prompt,
or everything that it is made of, is part of the unit's key in its stage's journal; later turns follow from
the row's own steps, which have to be those in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sand_dagster.artifacts.identity import short
from sand_dagster.artifacts.lineage import Lineage, LineageError
from sand_dagster.artifacts.part import Node, Part
from sand_dagster.artifacts.recorded import stored_tasks
from sand_dagster.artifacts.store import JOURNAL, ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.assets.code import code_of
from sand_dagster.environments import environment_kind
from sand_dagster.errors import TornModel
from sand_dagster.execution.journal import JournalReader
from sand_dagster.home import stays_inside
from sand_dagster.ids import digest
from sand_dagster.prompts.figures import alternatives_prompt, critique_prompt, deliberation_prompt
from sand_dagster.prompts.turns import conversation, render_history, render_rollout
from sand_dagster.rows.plain import typed
from sand_dagster.rows.steps import DemonstrationRow, ExpertRow
from sand_dagster.sand.trajectories import Demonstration, demonstrations_of
from sand_dagster.types import Message, Step, Task, Trajectory

Row = dict[str, Any]

PROMPTED = (
    "candidate_actions",
    "rollouts",
    "critiques",
    "deliberation_trajectories",
    "explorations",
    "eval_episodes",
    "search_episodes",
)
"""The tables whose rows a model wrote."""


class NoPrompt(LineageError):
    """No model got a prompt for this row."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, rebuilt. `recorded` and `rebuilt` are hashes; `recorded` is empty if none is kept.

    `differs` names what has changed since the row was made, if that is known.
    """

    messages: list[Message]
    what: str
    recorded: str
    rebuilt: str
    model_folder: str
    chat_template: str
    tokens: int | None
    """The recorded number of the prompt's tokens, if the row was made with this prompt alone."""
    differs: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether it is the one that was given."""
        return bool(self.recorded) and self.recorded == self.rebuilt and not self.differs

    def verdict(self) -> str:
        """The same in words."""
        if self.agrees:
            return f"rebuilt, hash agrees: {self.what} {self.rebuilt[:16]}…"
        if not self.recorded:
            why = "; ".join(self.differs) or f"no {self.what} is kept"
            return f"rebuilt, not checked: {why}"
        changed = "; ".join(self.differs) or "nothing that is recorded has changed"
        return (
            f"rebuilt, and NOT the one that was given: {self.what} was {self.recorded[:16]}…, "
            f"is {self.rebuilt[:16]}…; {changed}"
        )


def prompt_of(lineage: Lineage, node: Node, turn: int | None = None) -> Prompt:
    """The prompt behind the row. `turn`, from 1, is that of a rollout or an episode; None: the last one.

    Raises:
        NoPrompt: no model was asked for this row.
        ArtifactError: a table that the prompt is made from is not there.
    """
    made: dict[str, Callable[[_Rows, Row, int | None], Prompt]] = {
        "candidate_actions": _candidate,
        "rollouts": _rollout,
        "critiques": _critique,
        "deliberation_trajectories": _deliberation,
        "explorations": _exploration,
        "eval_episodes": _episode,
        "search_episodes": _search_episode,
    }
    if node.table not in made:
        raise NoPrompt(f"no model writes rows of {node.table}; tables with prompts: {', '.join(PROMPTED)}")
    return made[node.table](_Rows(lineage, node), lineage.row(node), turn)


class _Rows:
    """A row's partition, and the rows that its prompt is made from, each from the version that was read."""

    def __init__(self, lineage: Lineage, node: Node) -> None:
        self._lineage, self._node = lineage, node
        self.part: Part = lineage.part(node)
        self.store = ArtifactStore(lineage.home, node.experiment or lineage.experiment)
        self.tasks: dict[str, Task] = stored_tasks(self.store)

    @property
    def config(self) -> dict[str, Any]:
        """The experiment's fields that decided the row."""
        return dict(self.part.source.manifest.identity.config)

    def named(self, column: str) -> list[Row]:
        """The rows that `column` names, in its order."""
        ends = [
            end for links in self._lineage.up(self._node) if links.column == column for end in links.nodes()
        ]
        wanted = self._lineage.row(self._node)[column]
        by_id = {end.id: self._lineage.row(end) for end in ends}
        missing = [id for id in ([wanted] if isinstance(wanted, str) else wanted) if id and id not in by_id]
        if missing:
            raise LineageError(
                f"{self._node.table} {self._node.id} names {', '.join(missing)} in {column}, but no kept "
                "version has that row: the prompt cannot be rebuilt"
            )
        order = [wanted] if isinstance(wanted, str) else wanted
        return [by_id[id] for id in order if id]

    def demonstration(self, step_column: str) -> tuple[Demonstration, int]:
        """The demonstration of the step that `step_column` names, and the step's index."""
        (end,) = (
            end
            for links in self._lineage.up(self._node)
            if links.column == step_column
            for end in links.nodes()
        )
        part = self._lineage.part(end)
        step = self._lineage.row(end)
        places = part.links.naming(step["trajectory_id"])["trajectory_id"]
        rows = part.rows(places.to_list(), list(part.schema.columns))
        steps = [typed(DemonstrationRow, row) for row in rows.values()]
        domain = environment_kind(self.tasks[steps[0].task_id].environment).DOMAIN
        stated = domain if self.config.get("task_instruction") == "full" else None
        (found,) = demonstrations_of(sorted(steps, key=lambda each: each.index), stated)
        return found, int(step["index"])

    def example(self) -> Trajectory | None:
        """The one shot of the `eto` protocol."""
        if self.config.get("protocol") != "eto":
            return None
        first = demonstrations_of(rows_of(self.store, ExpertRow, None))[0]
        return first.trajectory(self.tasks[first.task_id])

    def conversation(self, task_id: str, instruction: str, steps: Sequence[Step]) -> list[Message]:
        """The chat that an agent sees after `steps`."""
        domain = environment_kind(self.tasks[task_id].environment).DOMAIN
        return conversation(domain, instruction, steps, self.example())

    def model_id(self, own: str) -> str:
        """What identifies the acting model: a server's name, else the content hash `own`."""
        policy = self.config.get("generation.policy")
        served = policy["model"] if isinstance(policy, dict) else self.config.get("generation.policy.model")
        return str(served or own)

    def unit(self, *inputs: object) -> str:
        """The key of a unit in the stage's journal."""
        return digest(self.part.source.manifest.identity.key, self._node.iteration or "", *inputs)

    def journalled(self, key: str, row: Row) -> tuple[str, list[str]]:
        """The unit's key if the journal has it, and the differences of its rows from `row`."""
        journal = JournalReader(self.part.source.folder / JOURNAL)
        unit = journal.get(key)
        id = self.part.schema.key
        if unit is None:
            there = (self.part.source.folder / JOURNAL).exists()
            return "", [] if there else ["the stage's journal was removed"]
        same = [kept for kept in unit["rows"] if kept[id] == row[id]]
        if not same:
            return key, ["the journal's unit has no such row"]
        return key, [
            f"{name} is not what the journal holds" for name in same[0] if same[0][name] != row[name]
        ]

    def changed(self) -> list[str]:
        """The parts of the stage's code and texts that have changed."""
        made = self.part.source.manifest.identity.code
        files = (name for name in made if not name.startswith("columns of "))
        names = sorted(name for name in files if made[name] != _hash_now(name))
        return [f"changed since: {', '.join(names)}"] if names else []


def _hash_now(name: str) -> str | None:
    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    try:
        found = code_of((module,), follow=False) if name.endswith(".py") else code_of((), (name,))
    except (OSError, AssertionError, ModuleNotFoundError):
        return None
    return found.get(name)


def _asked(rows: _Rows, row: Row, prompt: str, folder: str) -> Prompt:
    recorded, rebuilt = row["prompt_hash"], digest(prompt)
    return Prompt(
        [{"role": "user", "content": prompt}],
        "prompt",
        recorded,
        rebuilt,
        folder,
        str(rows.config.get("finetuning.chat_template", "auto")),
        row["prompt_tokens"] if row["attempts"] == 1 and row["prompt_tokens"] else None,
        [] if recorded == rebuilt else rows.changed(),
    )


def _critique(rows: _Rows, row: Row, _: int | None) -> Prompt:
    (candidate,), (rollout,) = rows.named("candidate_id"), rows.named("rollout_id")
    demonstration, t = rows.demonstration("step_id")
    prompt = critique_prompt(
        demonstration.task_instruction,
        render_history(demonstration.history(t)),
        candidate["action"],
        render_rollout(_steps(rollout), rollout["reward"], row["steps_left_out"]),
    )
    return _asked(rows, row, prompt, _base_folder(rows))


def _deliberation(rows: _Rows, row: Row, _: int | None) -> Prompt:
    if not row["prompt_hash"]:
        raise NoPrompt(f"step {row['step_id']} kept its thought without asking a model: {row['outcome']}")
    demonstration, t = rows.demonstration("parent_step_id")
    task_and_history = demonstration.task_instruction, render_history(demonstration.history(t))
    if row["candidate_ids"]:
        critiques = {
            critique["candidate_id"]: critique["critique"] for critique in rows.named("critique_ids")
        }
        pairs = [
            (candidate["action"], critiques.get(candidate["candidate_id"], ""))
            for candidate in rows.named("candidate_ids")
        ]
        prompt = deliberation_prompt(*task_and_history, pairs, row["action"])
    else:
        prompt = alternatives_prompt(*task_and_history, int(rows.config["sampling.n"]), row["action"])
    return _asked(rows, row, prompt, _base_folder(rows))


def _candidate(rows: _Rows, row: Row, _: int | None) -> Prompt:
    demonstration, t = rows.demonstration("step_id")
    (policy,) = rows.named("policy_id")
    messages = rows.conversation(row["task_id"], demonstration.instruction, demonstration.history(t))
    key = rows.unit(demonstration.rows[t], messages, rows.model_id(policy["model_id"]), policy["policy_id"])
    samples = int(rows.config.get("sampling.n", 0))
    tokens = row["prompt_tokens"] // samples if samples and row["outcome"] == "ok" else None
    return _acted(rows, row, messages, key, policy, tokens)


def _rollout(rows: _Rows, row: Row, turn: int | None) -> Prompt:
    demonstration, t = rows.demonstration("step_id")
    (policy,), (candidate,) = rows.named("policy_id"), rows.named("candidate_id")
    history = demonstration.history(t)
    asked = _turn(row, turn, first=2)
    messages = rows.conversation(
        row["task_id"], demonstration.instruction, [*history, *_steps(row)[: asked - 1]]
    )
    at_start = rows.conversation(row["task_id"], demonstration.instruction, history)
    replayed = rows.config.get("rollouts.expert_rollout") == "demonstration" and candidate["is_expert"]
    shown = demonstration.rows if replayed else ()
    if replayed:
        raise NoPrompt(f"rollout {row['rollout_id']} is the demonstration itself: no model played it")
    model_id = rows.model_id(policy["model_id"])
    key = rows.unit(row["rollout_id"], rows.tasks[row["task_id"]], at_start, shown, model_id)
    return _acted(rows, row, messages, key, policy, None)


def _episode(rows: _Rows, row: Row, turn: int | None) -> Prompt:
    (checkpoint,) = rows.named("checkpoint_id")
    return _played(rows, row, turn, row["episode_id"], checkpoint)


def _search_episode(rows: _Rows, row: Row, turn: int | None) -> Prompt:
    (checkpoint,) = rows.named("checkpoint_id")
    return _played(rows, row, turn, row["search_episode_id"], checkpoint)


def _exploration(rows: _Rows, row: Row, turn: int | None) -> Prompt:
    (policy,) = rows.named("policy_id")
    return _played(rows, row, turn, row["exploration_id"], policy)


def _played(rows: _Rows, row: Row, turn: int | None, id: str, model: Row) -> Prompt:
    """The prompt of a turn of a task that the `model` played from its start."""
    asked = _turn(row, turn, first=1)
    messages = rows.conversation(row["task_id"], row["instruction"], _steps(row)[: asked - 1])
    key = rows.unit(id, rows.tasks[row["task_id"]], rows.example(), rows.model_id(model["model_id"]))
    return _acted(rows, row, messages, key, model, None)


def _acted(
    rows: _Rows, row: Row, messages: list[Message], key: str, model: Row, tokens: int | None
) -> Prompt:
    """The prompt that a row of `policy` or `checkpoints` was given."""
    recorded, differs = rows.journalled(key, row)
    if not recorded:
        differs = [*differs, *rows.changed()]
    template = str(rows.config.get("finetuning.chat_template", "auto"))
    folder = _acting_folder(rows, model)
    return Prompt(messages, "unit of the journal", recorded, key, folder, template, tokens, differs)


def _acting_folder(rows: _Rows, model: Row) -> str:
    """Where the acting model lies; empty if a server has it. Only the base model may lie outside the home."""
    folder = rows.store.home / model["folder"]
    if model["checkpoint_id"] and not stays_inside(model["folder"]):
        experiment = rows.store.experiment
        raise TornModel(
            folder,
            f"{experiment}/checkpoints",
            short(model["model_id"]),
            "a folder outside $SAND_HOME",
            f"`sand verify {experiment}` says what to do.",
        )
    return str(folder) if model["folder"] else ""


def _turn(row: Row, turn: int | None, first: int) -> int:
    played = len(row["steps"])
    if played < first:
        raise NoPrompt(f"no model played a turn of {next(iter(row.values()))}: it ended with {row['ended']}")
    asked = played if turn is None else turn
    if not first <= asked <= played:
        why = ": turn 1 is the candidate itself, whose prompt is the candidate's" if first > 1 else ""
        raise NoPrompt(f"the model played turns {first} to {played}; turn {asked} was requested{why}")
    return asked


def _steps(row: Row) -> list[Step]:
    return [Step(step["thought"], step["action"], step["observation"]) for step in row["steps"]]


def _base_folder(rows: _Rows) -> str:
    folder: str = rows.store.read("base_model", None)["folder"][0]
    return folder


def rendered(prompt: Prompt) -> tuple[str, int]:
    """The prompt as the model's chat template writes it, and how many tokens that is.

    Raises:
        LineageError: the model's folder, with its tokenizer, is not there.
    """
    # Imported only when a tokenizer is needed: it takes seconds.
    from sand_dagster.models.model_folder import chat_encoder

    folder = Path(prompt.model_folder)
    if not prompt.model_folder or not folder.is_dir():
        raise LineageError(
            f"the model's folder {prompt.model_folder or '(a server has it)'} is not there, so its chat "
            "template cannot be applied; without --rendered the messages are shown"
        )
    encoder = chat_encoder(folder, prompt.chat_template)  # type: ignore[arg-type]
    text = encoder.render(prompt.messages)
    return text, len(encoder.encode_text(text))


def text_of(prompt: Prompt) -> Iterator[tuple[str, str]]:
    """The messages, as (role, content)."""
    for message in prompt.messages:
        yield message["role"], message["content"]
