from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sand_dagster.environments.alfworld import DOMAIN
from sand_dagster.execution.units import Finished
from sand_dagster.interfaces import Domain
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow
from sand_dagster.rows.steps import DeliberationRow
from sand_dagster.sand.candidates import sample_candidates
from sand_dagster.sand.critiques import criticise
from sand_dagster.sand.deliberation import deliberate
from sand_dagster.sand.evidence import Evidence
from sand_dagster.sand.rollouts import roll_out
from sand_dagster.sand.settings import (
    CritiqueSettings,
    DeliberationSettings,
    RolloutSettings,
    SamplingSettings,
)
from sand_dagster.sand.trajectories import Demonstration, demonstrations_of, next_demonstrations
from sand_dagster.types import Sampling
from tests.sand.scripted import (
    CUT,
    GOAL,
    INSTRUCTION,
    TASK,
    Corridor,
    MemoryJournal,
    ScriptedModel,
    agent,
    demonstration,
    stage,
)

THOUGHT = "Thought: I am here.\n\n- fly: no wings.\n- walk: good.\n\nI walk."


def _policy(text: str, sampling: Sampling) -> str:
    """Disagrees with the expert only at the last step."""
    if "You walk." not in text:
        return "Action: go to door 1"
    return "Action: go to door 2" if sampling.seed % 2 else "Thought: up.\nAction: fly"


async def _evidence(
    reply: str = "Action: go to door 9", corridor: Corridor | None = None
) -> tuple[list[CandidateRow], Evidence]:
    sampled = await sample_candidates(stage(), [demonstration()], agent(_policy), SamplingSettings(n=5))
    candidates = [row for rows in sampled.rows for row in rows]
    rolled = await roll_out(
        stage(),
        candidates,
        [demonstration()],
        {TASK.id: TASK},
        corridor or Corridor(),
        agent(lambda text, _: reply),
        RolloutSettings(),
    )
    rollouts = {row.candidate_id: row for rows in rolled.rows for row in rows}
    base = ScriptedModel(lambda text, _: "Action Evaluation: It may work.", "base")
    judged = await criticise(stage(), candidates, rollouts, [demonstration()], base, CritiqueSettings())
    critiques = [row for rows in judged.rows for row in rows]
    return candidates, Evidence.of(candidates, rollouts.values(), critiques)


async def _deliberate(
    base: ScriptedModel, evidence: Evidence, iteration: str = "01", **settings: Any
) -> tuple[Finished[DeliberationRow], list[DeliberationRow]]:
    finished = await deliberate(
        stage(iteration=iteration),
        [demonstration()],
        evidence,
        base,
        DeliberationSettings.model_validate(settings),
    )
    return finished, [row for rows in finished.rows for row in rows]


async def test_trajectories_are_mixed_and_every_step_ends_in_the_experts_action() -> None:
    _, evidence = await _evidence()
    base = ScriptedModel(lambda text, _: THOUGHT + "\nAction: fly", "base")
    finished, rows = await _deliberate(base, evidence)
    assert [row.action for row in rows] == ["go to door 1", "go to door 2", GOAL]
    assert [row.deliberated for row in rows] == [False, True, True]
    assert rows[0].thought == "I start." and rows[0].outcome == "kept"
    assert rows[2].thought == THOUGHT.removeprefix("Thought: ")  # without the other action
    assert finished.outcomes == {"kept": 1, "ok": 2}
    assert rows[2].parent_step_id == demonstration().rows[2].step_id
    assert len(rows[2].candidate_ids) == len(rows[2].critique_ids) >= 2


async def test_what_is_synthesised_is_journalled_and_what_is_kept_is_not() -> None:
    _, evidence = await _evidence()
    journal = MemoryJournal()

    async def rows() -> list[DeliberationRow]:
        base = ScriptedModel(lambda text, _: f"{THOUGHT} {next(drawn)}", "base")
        finished = await deliberate(
            stage(journal=journal), [demonstration()], evidence, base, DeliberationSettings()
        )
        return [row for rows in finished.rows for row in rows]

    drawn = iter(range(2))
    first = await rows()
    assert len(journal) == 2
    assert await rows() == first


async def test_the_full_task_instruction_is_the_agents_prompt_with_the_available_actions() -> None:
    candidates, evidence = await _evidence()
    rollouts = {
        id: evidence.rollouts[id]
        for id in (each.candidate_id for each in candidates)
        if id in evidence.rollouts
    }
    actions = "The available actions are:\n\n1. go to {recep}"

    async def asked(full: Domain | None) -> tuple[list[str], set[str]]:
        base = ScriptedModel(lambda text, _: f"Action Evaluation: so.\n{THOUGHT}", "base")
        steps = [demonstration()] if full is None else demonstrations_of(demonstration().rows, full)
        judged = await criticise(stage(), candidates, rollouts, steps, base, CritiqueSettings())
        critiques = [row for rows in judged.rows for row in rows]
        for weighed in (evidence, Evidence({}, alternatives=3)):
            await deliberate(stage(), steps, weighed, base, DeliberationSettings())
        prompts = [messages[0]["content"] for messages, _ in base.asked]
        return prompts, {row.critique_id for row in critiques}

    task, ids = await asked(None)
    full, full_ids = await asked(DOMAIN)
    assert len(task) == len(full) == len(ids) + 2 + 3
    for short, long in zip(task, full, strict=True):
        assert actions not in short
        assert long.count(actions) == 1
        assert long == short.replace(INSTRUCTION, DOMAIN.prompt(INSTRUCTION), 1)
    assert len(ids) == len(full_ids) and not ids & full_ids


async def test_the_prompts_history_is_of_d_exp_not_of_the_trajectory_being_built() -> None:
    _, evidence = await _evidence()
    base = ScriptedModel(lambda text, _: THOUGHT, "base")
    await _deliberate(base, evidence)
    last = next(m[0]["content"] for m, _ in base.asked if f"must be **{GOAL}**" in m[0]["content"])
    assert "Thought: I start.\nAction: go to door 1\nObservation: You walk.\nAction: go to door 2" in last
    assert "no wings" not in last
    assert "- fly: It may work." in last


async def test_synthesis_is_greedy_and_retried_once_warmer() -> None:
    _, evidence = await _evidence()
    base = ScriptedModel(lambda text, s: "just go" if s.temperature == 0 else THOUGHT, "base")
    finished, rows = await _deliberate(base, evidence)
    assert {sampling.temperature for _, sampling in base.asked} == {0.0, 0.7}
    assert [row.attempts for row in rows] == [0, 2, 2]
    assert [row.first_outcome for row in rows] == ["kept", "no_list", "no_list"]
    assert finished.outcomes["ok"] == 2


@pytest.mark.parametrize(
    ("reply", "outcome"), [("just go", "no_list"), ("", "empty"), (None, "prompt_too_long")]
)
async def test_a_thought_that_does_not_parse_is_kept_as_it_was_and_counted(
    reply: str | None, outcome: str
) -> None:
    _, evidence = await _evidence()
    finished, rows = await _deliberate(ScriptedModel(lambda text, _: reply, "base"), evidence)
    assert [row.thought for row in rows] == ["I start.", "", "Nearly there."]
    assert finished.outcomes == {"kept": 1, outcome: 2}
    assert not any(row.deliberated for row in rows)


async def _deliberate_without(
    evidence: Evidence, uncritical: Callable[[CandidateRow], bool]
) -> tuple[Finished[DeliberationRow], list[DeliberationRow], list[str]]:
    """The last step's candidates for which `uncritical` holds have no usable critique."""
    assert evidence.critiques is not None
    critiques = dict(evidence.critiques)
    for candidate in evidence.candidates[demonstration().rows[2].step_id]:
        if uncritical(candidate):
            critiques[candidate.candidate_id] = replace(critiques[candidate.candidate_id], critique="")
    evidence = replace(evidence, critiques=critiques)
    base = ScriptedModel(lambda text, _: THOUGHT, "base")
    finished, rows = await _deliberate(base, evidence)
    return finished, rows, [messages[0]["content"] for messages, _ in base.asked]


async def test_a_candidate_without_a_critique_is_not_listed() -> None:
    _, evidence = await _evidence()
    finished, rows, asked = await _deliberate_without(evidence, lambda row: row.action == "fly")
    assert finished.outcomes == {"kept": 1, "ok": 1, "ok_fewer_candidates": 1}
    assert rows[2].outcome == "ok" and rows[2].deliberated
    assert len(rows[2].candidate_ids) == len(rows[2].critique_ids) == 2
    listed = {c.candidate_id: c.action for c in evidence.candidates[rows[2].parent_step_id]}
    assert [listed[c] for c in rows[2].candidate_ids] == ["go to door 2", GOAL]
    (last,) = [text for text in asked if f"must be **{GOAL}**" in text]
    assert "- go to door 2: It may work." in last and "- fly" not in last


@pytest.mark.parametrize("left", [{GOAL}, {"fly", "go to door 2"}, set()])
async def test_a_step_keeps_its_thought_without_critiques_of_two_candidates_and_its_own(
    left: set[str],
) -> None:
    _, evidence = await _evidence()
    finished, rows, _ = await _deliberate_without(evidence, lambda row: row.action not in left)
    assert finished.outcomes == {"kept": 1, "ok": 1, "no_critique": 1}
    assert rows[2].thought == "Nearly there." and not rows[2].deliberated
    assert len(rows[2].candidate_ids) == len(rows[2].critique_ids) == 3


async def test_the_middle_of_a_rollout_that_does_not_fit_is_left_out_and_counted() -> None:
    candidates, evidence = await _evidence()
    long = [row for row in evidence.rollouts.values() if len(row.steps) == 5]
    assert long
    fits = ScriptedModel(
        lambda text, _: "Action Evaluation: Yes." if text.count("Observation: ") <= 3 else None, "base"
    )

    async def criticised(base: ScriptedModel) -> tuple[Finished[CritiqueRow], dict[str, CritiqueRow]]:
        judged = await criticise(
            stage(), candidates, evidence.rollouts, [demonstration()], base, CritiqueSettings()
        )
        return judged, {row.rollout_id: row for rows in judged.rows for row in rows}

    judged, rows = await criticised(fits)
    assert judged.outcomes["ok_shortened"] == sum(row.steps_left_out > 0 for row in rows.values()) > 0
    assert {row.outcome for row in rows.values()} == {"ok"}
    assert {rows[rollout.rollout_id].steps_left_out for rollout in long} == {3}
    asked = "\n".join(messages[0]["content"] for messages, _ in fits.asked)
    assert (
        "Action: go to door 2\nObservation: You walk.\n[... 3 steps left out ...]\n"
        "Action: go to door 9\nObservation: You walk.\nFinal task reward: 0.00 out of 1.00"
    ) in asked

    judged, rows = await criticised(ScriptedModel(lambda text, _: None, "base"))
    assert {row.outcome for row in rows.values()} == {"prompt_too_long"}
    assert judged.outcomes["prompt_too_long_shortened"] >= len(long)
    assert {rows[rollout.rollout_id].steps_left_out for rollout in long} == {4}


async def test_a_step_whose_candidates_could_not_be_played_keeps_its_thought_and_is_counted() -> None:
    candidates, evidence = await _evidence(corridor=Corridor(changed=True))
    last = demonstration().rows[2].step_id
    unplayed = {row.candidate_id for row in candidates if row.step_id == last}
    assert evidence.critiques is not None and len(unplayed) >= 2
    assert set(evidence.critiques) == set(evidence.rollouts) - unplayed
    for switch in ("never", "higher_reward_or_shorter"):
        finished, rows = await _deliberate(
            ScriptedModel(lambda text, _: THOUGHT, "base"), evidence, expert_switch=switch
        )
        assert finished.outcomes == {"kept": 1, "ok": 1, "no_rollout": 1}
        assert [row.outcome for row in rows] == ["kept", "ok", "no_rollout"]
        assert (rows[2].thought, rows[2].action) == ("Nearly there.", GOAL)
        assert set(rows[2].candidate_ids) == unplayed and rows[2].critique_ids == ()


async def test_an_unplayed_candidate_is_a_counted_unit_without_a_critique() -> None:
    candidates, evidence = await _evidence(corridor=Corridor(changed=True))
    base = ScriptedModel(lambda text, _: "Action Evaluation: Yes.", "base")
    judged = await criticise(
        stage(), candidates, evidence.rollouts, [demonstration()], base, CritiqueSettings()
    )
    assert judged.outcomes["no_rollout"] >= 2
    assert judged.outcomes.total() == len(evidence.rollouts)
    assert len([row for rows in judged.rows for row in rows]) == judged.outcomes["ok"] == len(base.asked)


async def test_without_critique_the_candidates_are_listed_bare() -> None:
    _, evidence = await _evidence()
    base = ScriptedModel(lambda text, _: THOUGHT, "base")
    _, rows = await _deliberate(base, Evidence(evidence.candidates))
    assert all("- fly\n" in messages[0]["content"] for messages, _ in base.asked)
    assert rows[2].critique_ids == () and len(rows[2].candidate_ids) >= 2


async def test_critiques_are_retried_once_and_their_first_outcome_is_kept() -> None:
    candidates, evidence = await _evidence()
    base = ScriptedModel(lambda text, s: "well" if s.temperature == 0 else "Action Evaluation: Yes.", "base")
    judged = await criticise(
        stage(), candidates, evidence.rollouts, [demonstration()], base, CritiqueSettings()
    )
    rows = [row for group in judged.rows for row in group]
    assert {(row.outcome, row.first_outcome, row.attempts) for row in rows} == {("ok", "no_marker", 2)}
    assert all("Final task reward: " in messages[0]["content"] for messages, _ in base.asked)


async def test_a_critique_that_only_copies_its_prompt_is_counted_and_asked_for_again() -> None:
    candidates, evidence = await _evidence()

    def copy(text: str, sampling: Sampling) -> str:
        rollout = text.partition("(keep it private):\n\n")[2].partition("\n\n### Instructions")[0]
        observed = next(line for line in rollout.splitlines() if line.startswith("Observation: "))
        return f"Action Evaluation:\n  {observed.removeprefix('Observation: ')}"

    async def criticised(base: ScriptedModel) -> tuple[Finished[CritiqueRow], list[CritiqueRow]]:
        judged = await criticise(
            stage(), candidates, evidence.rollouts, [demonstration()], base, CritiqueSettings()
        )
        return judged, [row for group in judged.rows for row in group]

    judged, rows = await criticised(ScriptedModel(copy, "base"))
    assert judged.outcomes == {"copied": len(evidence.rollouts)}
    assert {(row.critique, row.attempts) for row in rows} == {("", 2)}

    judged, rows = await criticised(
        ScriptedModel(lambda text, s: copy(text, s) + " It helps." * (s.temperature > 0), "base")
    )
    assert judged.outcomes == {"ok": len(evidence.rollouts)}
    assert {(row.outcome, row.first_outcome) for row in rows} == {("ok", "copied")}


async def test_a_critique_that_was_cut_off_is_asked_for_again_with_twice_the_room() -> None:
    candidates, evidence = await _evidence()

    def reply(text: str, sampling: Sampling) -> str:
        said = "Action Evaluation: It may wo"
        return said + CUT if sampling.max_tokens == 40 else f"{said}rk."

    base = ScriptedModel(reply, "base")
    judged = await criticise(
        stage(), candidates, evidence.rollouts, [demonstration()], base, CritiqueSettings(max_new_tokens=40)
    )
    rows = [row for group in judged.rows for row in group]
    assert {row.critique for row in rows} == {"It may work."}
    assert {(row.outcome, row.first_outcome, row.attempts) for row in rows} == {("ok", "cut_off", 2)}
    assert sorted(s.max_tokens for _, s in base.asked) == [40] * len(rows) + [80] * len(rows)
    assert {s.temperature for _, s in base.asked if s.max_tokens == 80} == {0.7}


async def test_where_the_context_has_no_twice_the_room_the_retry_has_the_plain_one() -> None:
    _, evidence = await _evidence()

    def reply(text: str, sampling: Sampling) -> str | None:
        if sampling.max_tokens == 80:
            return None
        return THOUGHT if sampling.temperature else THOUGHT + CUT

    base = ScriptedModel(reply, "base")
    finished, rows = await _deliberate(base, evidence, max_new_tokens=40)
    assert [row.first_outcome for row in rows] == ["kept", "cut_off", "cut_off"]
    assert [row.attempts for row in rows] == [0, 2, 2]
    assert finished.outcomes == {"kept": 1, "ok": 2}
    assert [s.max_tokens for m, s in base.asked if f"must be **{GOAL}**" in m[0]["content"]] == [40, 80, 40]


async def test_a_thought_that_is_cut_off_twice_is_kept_as_it_was_and_counted() -> None:
    _, evidence = await _evidence()
    finished, rows = await _deliberate(ScriptedModel(lambda text, _: THOUGHT + CUT, "base"), evidence)
    assert finished.outcomes == {"kept": 1, "cut_off": 2}
    assert [row.thought for row in rows] == ["I start.", "", "Nearly there."]
    assert rows[2].text == THOUGHT


async def test_the_expert_is_switched_for_a_shorter_rollout_if_configured() -> None:
    _, evidence = await _evidence(f"Thought: quick.\nAction: {GOAL}")
    base = ScriptedModel(lambda text, _: THOUGHT, "base")
    _, never = await _deliberate(base, evidence)
    _, higher = await _deliberate(base, evidence, expert_switch="higher_reward")
    assert [row.origin for row in never] == [row.origin for row in higher] == ["expert"] * 3
    lost = Demonstration([replace(row, reward=0.0) for row in demonstration().rows])
    finished = await deliberate(
        stage(),
        [lost],
        evidence,
        base,
        DeliberationSettings(expert_switch="higher_reward"),
    )
    rows = [row for group in finished.rows for row in group]
    assert rows[0].action == "go to door 1"
    assert rows[-1].action == GOAL
    assert {row.origin for row in rows[1:]} == {"switched"}
    assert {row.reward for row in rows} == {1.0}
    assert rows[1].deliberated and rows[1].rollout_id
    assert [row.index for row in rows] == list(range(len(rows)))


async def test_the_next_iteration_starts_from_the_deliberations_or_the_experts_thoughts() -> None:
    _, evidence = await _evidence()
    _, rows = await _deliberate(ScriptedModel(lambda text, _: THOUGHT, "base"), evidence)
    previous = next_demonstrations("02", rows, None)
    assert [row.thought for row in previous] == [row.thought for row in rows]
    assert [row.parent_step_id for row in previous] == [row.step_id for row in rows]
    thoughts = {(row.trajectory_id, row.index): row.thought for row in demonstration().rows}
    original = next_demonstrations("02", rows, thoughts)
    assert [row.thought for row in original] == ["I start.", "", "Nearly there."]
    assert len(demonstrations_of(original)) == 1


async def test_in_iteration_00_every_step_is_kept() -> None:
    finished = await deliberate(
        stage(iteration="00"), [demonstration()], Evidence({}), None, DeliberationSettings()
    )
    assert finished.outcomes == {"kept": 3}
    assert len([row for rows in finished.rows for row in rows]) == 3


async def test_without_sampling_every_step_deliberates_over_actions_of_the_base_models_own() -> None:
    base = ScriptedModel(lambda text, _: THOUGHT, "base")
    finished, rows = await _deliberate(base, Evidence({}, alternatives=4))
    first = [messages[0]["content"] for messages, sampling in base.asked if sampling.temperature == 0.0]
    assert len(first) == 3 and all("propose 4 alternative candidate actions" in text for text in first)
    assert [row.action for row in rows] == ["go to door 1", "go to door 2", GOAL]
    assert all(row.candidate_ids == row.critique_ids == () for row in rows)
    assert all(f"must be **{row.action}**" in text for row, text in zip(rows, first, strict=True))
    assert [row.deliberated for row in rows] == [True] * 3
    assert finished.outcomes == {"ok": 3}


async def test_without_sampling_a_reply_that_does_not_parse_is_retried_and_then_counted() -> None:
    base = ScriptedModel(lambda text, _: "just go", "base")
    finished, rows = await _deliberate(base, Evidence({}, alternatives=4))
    assert finished.outcomes == {"no_list": 3} and len(base.asked) == 6
    assert [row.thought for row in rows] == ["I start.", "", "Nearly there."]
