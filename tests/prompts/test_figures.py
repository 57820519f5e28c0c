import re

import pytest

from sand_dagster.prompts.figures import (
    Parsed,
    alternatives_prompt,
    critique_prompt,
    deliberation_pattern,
    deliberation_prompt,
    fill,
    is_deliberation,
    parse_critique,
    parse_deliberation,
    template,
)

DELIBERATION = (
    "Thought: I am here.\n\n- go to desk 1: the pen may be there.\n- go to bed 1: unlikely.\n\nThe desk."
)


def test_slots_are_filled_once_and_braces_in_the_text_stay() -> None:
    assert fill("{a} {b} {c}", {"a": "{b}", "b": "x{"}) == "{b} x{ {c}"


def test_the_critique_prompt_names_its_action_under_both_spellings() -> None:
    prompt = critique_prompt("TASK {x}", "HISTORY", "go to {recep} 1", "ROLLOUT")
    assert prompt.count("**go to {recep} 1**") == 4
    assert "sample_action" not in prompt and "sampled_action" not in prompt
    assert "### Background\nTASK {x}\n" in prompt
    assert prompt.endswith("### Output Format\nAction Evaluation: <your paragraph>")


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_the_deliberation_prompt_has_a_line_for_each_candidate(count: int) -> None:
    candidates = [(f"go to desk {n}", f"note\n{n}") for n in range(count)]
    prompt = deliberation_prompt("TASK", "HISTORY", candidates, "go to desk 0")
    pad = prompt.split("(these notes stay private):\n")[1].split("\n\n### Very Important")[0]
    assert pad.splitlines() == [f"- go to desk {n}: note {n}" for n in range(count)]
    assert "Your final **Action** line must be **go to desk 0**." in prompt
    assert "{task_instrution}" in template("deliberation") and "{" not in prompt


def test_candidates_without_a_critique_are_listed_bare() -> None:
    prompt = deliberation_prompt("TASK", "HISTORY", [("look", ""), ("go to desk 1", "")], "look")
    assert "- look\n- go to desk 1\n" in prompt


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("Action Evaluation: Fine.\nIt  helps.", "ok"),
        ("It helps.", "no_marker"),
        ("  ", "empty"),
        ("Action Evaluation:  ", "empty"),
        ("Action Evaluation: In my simulations it helps.", "mentions_notes"),
    ],
)
def test_critiques_are_parsed_by_kind(reply: str, outcome: str) -> None:
    assert parse_critique(reply).outcome == outcome
    assert parse_critique(reply).text == ("Fine. It helps." if outcome == "ok" else "")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (DELIBERATION, "ok"),
        ("Thought: I just go.", "no_list"),
        ("", "empty"),
        (DELIBERATION + " My scratch-pad says so.", "mentions_notes"),
    ],
)
def test_deliberations_are_parsed_by_kind(reply: str, outcome: str) -> None:
    assert parse_deliberation(reply).outcome == outcome


def test_a_rationale_may_have_to_name_the_experts_action() -> None:
    text = "Here.\n\n- go to bed 1: no.\n- go to bed 12: yes.\n\nBest is to go to bed 12, for it is near."
    assert parse_deliberation(text, "go to bed 12").outcome == "ok"
    assert parse_deliberation(text, "go to bed 1") == Parsed("", "other_action")


def test_an_action_line_in_a_deliberation_is_cut() -> None:
    parsed = parse_deliberation(DELIBERATION + "\nAction: go to bed 1\nAction: look")
    assert parsed.outcome == "ok"
    assert parsed.text == parse_deliberation(DELIBERATION).text
    assert not parsed.text.startswith("Thought:")


def test_a_plain_thought_is_no_deliberation() -> None:
    assert not is_deliberation("I go to the desk - it is near.")
    assert is_deliberation(DELIBERATION)


def test_without_sampling_figure_6_asks_for_alternatives_and_is_word_for_word_the_same_elsewhere() -> None:
    prompt = alternatives_prompt("TASK", "HISTORY", 5, "go to {recep} 1")
    listed = deliberation_prompt("TASK", "HISTORY", [("look", "note")], "go to {recep} 1")
    before, after = listed.split("- look: note\n")
    assert prompt.startswith(before) and prompt.endswith(after)
    asked = prompt.removeprefix(before).removesuffix(after)
    assert "propose 5 alternative candidate actions" in asked and "go to {recep} 1" in asked
    assert not any(line.startswith("- ") for line in asked.splitlines())


def test_the_pattern_takes_each_candidate_once_in_order() -> None:
    pattern = deliberation_pattern(["go to shelf 1", "use (a) b.c"])
    lines = ["- go to shelf 1: yes.", "- use (a) b.c: no."]
    assert re.fullmatch(pattern, f"Thought: So.\n\n{lines[0]}\n{lines[1]}\n\nHence.")
    for wrong in (lines[:1], lines[::-1], [*lines, lines[0]], [lines[0], "- use (a) bxc: no."]):
        assert not re.fullmatch(pattern, "Thought: So.\n\n" + "\n".join(wrong) + "\n\nHence.")
