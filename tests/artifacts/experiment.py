"""A small hand-made experiment: two iterations of every table, with ids that a test can name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.store import ArtifactStore
from tests.artifacts.rows import row

STEPS = (0, 1)


def write(store: ArtifactStore, table: str, iteration: str | None, rows: list[Any]) -> None:
    with store.writing(table, iteration, inputs={}, identity=Identity(), seed=0, run_id="run") as writer:
        writer.commit(rows, {})


def two_iterations(home: Path, experiment: str = "household") -> ArtifactStore:
    """Two steps of one trajectory; in iteration 01 the first deliberates over two candidates."""
    store = ArtifactStore(home, experiment)
    tasks = [
        row("tasks", f"t{n}", kind="heat", split=split, spec="{}")
        for n, split in enumerate(("train", "seen"))
    ]
    write(store, "tasks", None, tasks)
    moon = {"thought": "", "action": "go to moon 1", "observation": "Nothing happens.", "valid": False}
    left_out: dict[str, Any] = {
        "row": 3,
        "record_id": "alfworld_7",
        "verdict": "refused_action",
        "action": "go to moon 1",
        "expected": "You arrive.",
        "found": "Nothing happens.",
        "reward": 1.0,
        "steps": [moon],
    }
    write(store, "expert_import", None, [row("expert_import", "i0", task_id="t0", **left_out)])
    write(store, "expert_data", None, [_step("expert_data", f"e{t}", t) for t in STEPS])
    files = ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")
    base = [row("base_model", f"f{n}", model_id="base", file=file) for n, file in enumerate(files)]
    write(store, "base_model", None, base)

    first = [_step("expert_trajectories", f"d0{t}", t, parent_step_id=f"e{t}") for t in STEPS]
    write(store, "expert_trajectories", "00", first)
    write(store, "policy", "00", [row("policy", "p0", model_id="base", role="base")])
    _finetune_and_evaluate(store, "00", "p0", ["d00", "d01"])

    second = [_step("expert_trajectories", f"d1{t}", t, parent_step_id=f"e{t}") for t in STEPS]
    write(store, "expert_trajectories", "01", second)
    write(store, "policy", "01", [row("policy", "p1", checkpoint_id="c00", model_id="m00", role="policy")])
    of_step = {"step_id": "d10", "policy_id": "p1", "task_id": "t0", "deliberates": True}
    write(
        store,
        "candidate_actions",
        "01",
        [
            row("candidate_actions", "a1", **of_step, action="take mug 1", votes=3, is_expert=True),
            row("candidate_actions", "a2", **of_step, action="go to [stove 1]", votes=2),
        ],
    )
    play = {"thought": "", "action": "look", "observation": "You see nothing.", "valid": True}
    played = {"policy_id": "p1", "step_id": "d10", "task_id": "t0", "ended": "done", "steps": [play]}
    write(
        store,
        "rollouts",
        "01",
        [row("rollouts", f"r{n}", candidate_id=f"a{n}", reward=n - 1.0, **played) for n in (1, 2)],
    )
    judged = {"step_id": "d10", "model_id": "base", "outcome": "ok", "critique": "It is not there."}
    critiques = [
        row("critiques", f"q{n}", candidate_id=f"a{n}", rollout_id=f"r{n}", **judged) for n in (1, 2)
    ]
    write(store, "critiques", "01", critiques)
    thought = "I could:\n- take mug 1: It is there.\n- go to [stove 1]: It is not there."
    synthesised: dict[str, Any] = {
        "candidate_ids": ["a1", "a2"],
        "critique_ids": ["q1", "q2"],
        "model_id": "base",
        "thought": thought,
        "deliberated": True,
        "outcome": "ok",
    }
    deliberations = [
        _step("deliberation_trajectories", "s10", 0, parent_step_id="d10", **synthesised),
        _step("deliberation_trajectories", "s11", 1, parent_step_id="d11", outcome="kept"),
    ]
    write(store, "deliberation_trajectories", "01", deliberations)
    _finetune_and_evaluate(store, "01", "p1", ["s10", "s11"])
    return store


def _step(table: str, key: str, place: int, **values: Any) -> Any:
    common = {"trajectory_id": "e", "task_id": "t0", "index": place, "action": "take mug 1", "reward": 1.0}
    return row(table, key, **{"thought": "I want a mug.", "observation": "Taken.", **common, **values})


def _finetune_and_evaluate(store: ArtifactStore, iteration: str, policy: str, steps: list[str]) -> None:
    checkpoint = f"c{iteration}"
    model = {"policy_id": policy, "model_id": f"m{iteration}", "truncated": ["e"], "dropped": ["x7"]}
    write(store, "checkpoints", iteration, [row("checkpoints", checkpoint, step_ids=steps, **model)])
    play = {"thought": "Hm.", "action": "look", "observation": "You see [nothing].", "valid": True}
    of_task = {"checkpoint_id": checkpoint, "task_id": "t1", "split": "seen", "ended": "done", "reward": 1.0}
    keys = [f"v{iteration}{n}" for n in range(5)]
    episodes = [row("eval_episodes", key, steps=[play], rewards=[1.0], **of_task) for key in keys]
    write(store, "eval_episodes", iteration, episodes)
    score: dict[str, Any] = {
        "split": "seen",
        "tasks": 5,
        "average_reward": 0.25 + int(iteration),
        "protocol": "paper",
    }
    score |= {"reward_per_step": 0.125, "deliberation_per_step": 0.375}
    aggregate = row("eval_scores", f"x{iteration}", checkpoint_id=checkpoint, episode_ids=keys, **score)
    write(store, "eval_scores", iteration, [aggregate])
