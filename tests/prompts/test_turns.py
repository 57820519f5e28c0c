from sand_dagster.environments.alfworld import DOMAIN
from sand_dagster.prompts.turns import conversation, parse_reply, render_rollout, render_turn
from sand_dagster.types import Step, Task, Trajectory

HISTORY = [Step("Look.", "go to desk 1", "On the desk 1, you see a pen 1.")]


def test_the_action_is_the_first_line_after_the_last_marker() -> None:
    text = (
        "Thought: two ways.\n\n- go to desk 1: Action: words in a list\n"
        "Action: open drawer 1\nAction: go to bed 1\nmore"
    )
    reply = parse_reply(text)
    assert reply.action == "go to bed 1"
    assert reply.thought.startswith("two ways.") and "open drawer 1" in reply.thought


def test_a_thought_is_optional() -> None:
    assert parse_reply("Action: go to bed 1") == parse_reply("  Action:   go to bed 1  ")
    assert parse_reply("Action: go to bed 1").thought == ""
    assert render_turn("", "go to bed 1") == "Action: go to bed 1"


def test_a_reply_without_an_action_has_none() -> None:
    assert parse_reply("Thought: hm").action is None
    assert parse_reply("Thought: hm\nAction:").action is None
    assert parse_reply("").action is None


def test_turns_survive_the_round_trip() -> None:
    reply = parse_reply(render_turn("One.\n\n- a: b\n\nC.", "take pen 1 from desk 1"))
    assert (reply.thought, reply.action) == ("One.\n\n- a: b\n\nC.", "take pen 1 from desk 1")


def test_the_paper_protocol_is_zero_shot_with_figure_7() -> None:
    messages = conversation(DOMAIN, "You see {a desk 1}.", HISTORY)
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"].startswith("Interact with a household to solve a task.")
    assert messages[0]["content"].endswith("here is the task.\nYou see {a desk 1}.")
    assert "1. go to {recep}" in messages[0]["content"]
    assert messages[-1]["content"] == "Observation: On the desk 1, you see a pen 1."


def test_the_eto_protocol_shows_one_solved_task_first() -> None:
    task = Task("t", "alfworld", "train", "pick", 40, {})
    example = Trajectory("x", task, "Example task.", [Step("T.", "use lamp 1", "It is on.")], 1.0)
    messages = conversation(DOMAIN, "The task.", HISTORY, example)
    assert [m["role"] for m in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert messages[0]["content"].endswith("Example task.")
    assert messages[2]["content"].endswith("The task.")


def test_a_rollout_ends_with_its_reward() -> None:
    assert render_rollout(HISTORY, 0.25).splitlines()[-1] == "Final task reward: 0.25 out of 1.00"
