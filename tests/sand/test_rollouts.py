from dataclasses import replace

from sand_dagster.execution.units import Finished
from sand_dagster.rows.candidates import CandidateRow, RolloutRow
from sand_dagster.sand.candidates import sample_candidates
from sand_dagster.sand.rollouts import roll_out
from sand_dagster.sand.settings import RolloutSettings, SamplingSettings
from sand_dagster.types import Sampling
from tests.sand.scripted import CUT, GOAL, TASK, Corridor, ScriptedModel, agent, demonstration, stage


async def _candidates() -> list[CandidateRow]:
    finished = await sample_candidates(
        stage(),
        [demonstration()],
        agent(lambda text, _: "Thought: why not.\nAction: fly"),
        SamplingSettings(n=2),
    )
    return [row for rows in finished.rows for row in rows]


async def _roll_out(
    reply: str, corridor: Corridor | None = None, **settings: str
) -> tuple[Finished[RolloutRow], list[RolloutRow]]:
    player = agent(lambda text, _: reply)
    finished = await roll_out(
        stage(),
        await _candidates(),
        [demonstration()],
        {TASK.id: TASK},
        corridor or Corridor(),
        player,
        RolloutSettings.model_validate(settings),
    )
    return finished, [row for rows in finished.rows for row in rows]


async def test_every_candidate_is_executed_after_the_history_and_played_to_the_end() -> None:
    corridor = Corridor()
    finished, rows = await _roll_out(f"Thought: now.\nAction: {GOAL}", corridor)
    assert len(rows) == 6  # two candidates at each of three steps, including the expert's
    assert sorted(len(prefix) for prefix in corridor.opened) == [0, 0, 1, 1, 2, 2]
    flown = [row for row in rows if row.steps[0].action == "fly"]
    assert [row.steps[1].action for row in flown] == [GOAL] * 3
    assert [row.invalid_actions for row in flown] == [1, 1, 1]
    assert flown[0].steps[0].thought == "why not."
    assert {row.reward for row in rows} == {1.0}
    assert finished.outcomes["done"] == 6


async def test_the_step_limit_counts_the_history() -> None:
    finished, rows = await _roll_out("Action: go to door 9")
    by_start = {row.step_id: len(row.steps) for row in rows if row.steps[0].action == "fly"}
    assert [by_start[row.step_id] for row in demonstration().rows] == [6, 5, 4]
    assert finished.outcomes == {"step_limit": 5, "done": 1}  # the expert's last action wins at once


async def test_a_reply_without_an_action_costs_a_turn_and_is_counted() -> None:
    _, rows = await _roll_out("I would rather talk.")
    row = next(row for row in rows if row.steps[0].action == "fly")
    assert row.unparsed == len(row.steps) - 1
    assert row.steps[1].observation == "Nothing happens."


async def test_a_turn_that_is_cut_off_in_its_action_line_is_none_and_after_it_is_one() -> None:
    _, rows = await _roll_out(f"Action: {GOAL}{CUT}")
    row = next(row for row in rows if row.steps[0].action == "fly")
    assert row.unparsed == len(row.steps) - 1 and row.reward == 0.0
    _, rows = await _roll_out(f"Action: {GOAL}\nObservation: You rea{CUT}")
    assert {row.reward for row in rows} == {1.0} and not any(row.unparsed for row in rows)


async def test_a_full_context_ends_the_rollout_with_a_counted_outcome() -> None:
    player = agent(lambda text, _: None)
    candidates = await _candidates()
    finished = await roll_out(
        stage(), candidates, [demonstration()], {TASK.id: TASK}, Corridor(), player, RolloutSettings()
    )
    assert finished.outcomes == {"prompt_too_long": 5, "done": 1}


async def test_who_continues_the_experts_candidate_is_a_knob() -> None:
    _, by_policy = await _roll_out("Action: go to door 9", expert_rollout="policy")
    _, by_expert = await _roll_out("Action: go to door 9", expert_rollout="demonstration")

    def experts(rows: list[RolloutRow]) -> RolloutRow:
        return next(row for row in rows if row.steps[0].action == "go to door 1")

    assert experts(by_policy).reward == 0.0
    assert experts(by_expert).reward == 1.0
    assert [turn.action for turn in experts(by_expert).steps] == ["go to door 1", "go to door 2", GOAL]


async def test_a_rollout_whose_environment_died_is_played_again() -> None:
    finished, rows = await _roll_out(f"Action: {GOAL}", Corridor(deaths=2))
    assert len(rows) == 6
    assert finished.outcomes["repeated"] == 2


async def test_a_history_that_does_not_replay_is_a_counted_outcome_of_its_candidates() -> None:
    finished, rows = await _roll_out(f"Action: {GOAL}", Corridor(changed=True))
    assert finished.outcomes == {"done": 4, "replay_mismatch": 2}
    assert len(rows) == 6
    unplayed = [row for row in rows if row.ended == "replay_mismatch"]
    assert {row.step_id for row in unplayed} == {demonstration().rows[2].step_id}
    assert [(row.steps, row.reward, row.completion_tokens) for row in unplayed] == [((), 0.0, 0)] * 2


async def test_rollouts_are_sampled_at_the_settings_temperature_with_a_seed_a_turn() -> None:
    def reply(text: str, sampling: Sampling) -> str:
        assert sampling.temperature == 1.0
        return f"Action: go to door {sampling.seed}"

    player = agent(reply)
    assert isinstance(player.model, ScriptedModel)
    arguments = (
        await _candidates(),
        [demonstration()],
        {TASK.id: TASK},
        Corridor(),
        player,
        RolloutSettings(),
    )
    first = await roll_out(stage(1), *arguments)
    seeds = [sampling.seed for _, sampling in player.model.asked]
    assert len(set(seeds)) == len(seeds)
    again = await roll_out(replace(stage(8), iteration="01"), *arguments)
    assert list(again.rows) == list(first.rows)
    other = await roll_out(replace(stage(8), iteration="02"), *arguments)
    assert list(other.rows) != list(first.rows)
