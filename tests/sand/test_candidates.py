from collections.abc import Callable

from sand_dagster.execution.units import Finished
from sand_dagster.rows.candidates import CandidateRow
from sand_dagster.sand.candidates import sample_candidates
from sand_dagster.sand.settings import SamplingSettings
from sand_dagster.types import Sampling
from tests.sand.scripted import CUT, ScriptedModel, agent, demonstration, stage


async def _rows(
    reply: Callable[[str, Sampling], str | None],
) -> tuple[Finished[CandidateRow], list[list[CandidateRow]]]:
    finished = await sample_candidates(stage(), [demonstration()], agent(reply), SamplingSettings())
    return finished, list(finished.rows)


async def test_a_step_whose_samples_agree_with_the_expert_does_not_deliberate() -> None:
    _, steps = await _rows(lambda text, sampling: "Action: GO TO DOOR 1.")
    first, second, third = steps
    assert [row.deliberates for row in first] == [False]
    assert first[0].votes == 5 and first[0].is_expert
    assert first[0].texts == ("Action: GO TO DOOR 1.",) * 5  # the raw text is kept
    assert [row.deliberates for row in second] == [True, True]
    assert [row.deliberates for row in third] == [True, True]


async def test_the_set_is_of_normalised_actions_of_both_grammars() -> None:
    spellings = iter(
        ["put pen 1 in/on desk 1", "Put pen 1  in/on desk 1.", "move pen 1 to desk 1", "look", "hm"] * 3
    )

    def reply(text: str, _: Sampling) -> str:
        word = next(spellings)
        return "no action at all" if word == "hm" else f"Action: {word}"

    finished, steps = await _rows(reply)
    for rows in steps:
        assert [(row.votes, row.is_expert) for row in rows] == [(0, True), (3, False), (1, False)]
        assert rows[1].normalised == "move pen 1 to desk 1"
        assert len(set(rows[1].texts)) > 1
        assert {row.unparsed for row in rows} == {1}
    assert finished.outcomes["deliberates"] == 3


async def test_every_sample_has_a_seed_of_its_own_and_the_history_of_the_demonstration() -> None:
    seen = agent(lambda text, sampling: "Action: look")
    await sample_candidates(stage(), [demonstration()], seen, SamplingSettings(n=3))
    assert isinstance(seen.model, ScriptedModel)
    asked = seen.model.asked
    assert len({sampling.seed for _, sampling in asked}) == len(asked) == 9
    assert {sampling.temperature for _, sampling in asked} == {1.0}
    longest = max((messages for messages, _ in asked), key=len)
    assert [m["content"] for m in longest[1::2]] == [
        "Thought: I start.\nAction: go to door 1",
        "Action: go to door 2",
    ]


async def test_the_same_inputs_give_the_same_rows_in_any_order_of_work() -> None:
    def reply(text: str, sampling: Sampling) -> str:
        return f"Action: go to door {sampling.seed % 4}"

    one = await sample_candidates(stage(1), [demonstration()], agent(reply), SamplingSettings())
    many = await sample_candidates(stage(9), [demonstration()], agent(reply), SamplingSettings())
    assert list(one.rows) == list(many.rows)


async def test_a_sample_that_was_cut_off_in_its_action_is_no_candidate() -> None:
    _, steps = await _rows(lambda text, sampling: f"Thought: up.\nAction: go to do{CUT}")
    assert [(len(rows), rows[0].unparsed, rows[0].deliberates) for rows in steps] == [(1, 5, False)] * 3


async def test_a_prompt_too_long_is_counted_and_leaves_the_expert_alone() -> None:
    finished, steps = await _rows(lambda text, sampling: None)
    assert finished.outcomes["prompt_too_long"] == 3
    assert all(len(rows) == 1 and not rows[0].deliberates for rows in steps)
    assert {rows[0].outcome for rows in steps} == {"prompt_too_long"}
