from __future__ import annotations

import re
from functools import cache

import pytest

from sand_dagster.prompts.figures import is_deliberation, parse_critique, parse_deliberation
from sand_dagster.prompts.turns import parse_reply
from toy_alfworld.model.evaluate import CANDIDATE, called_best
from toy_alfworld.model.teachers.documents import DOMAIN, LESSONS, SHARES, Document, document

SAMPLE = 60


@cache
def drawn(kind: str) -> list[Document]:
    return [document("test", index, kind=kind) for index in range(SAMPLE)]  # type: ignore[arg-type]


def _thoughts() -> list[str]:
    said = (m["content"] for each in drawn("advice") for m in each.messages if m["role"] == "assistant")
    return [parse_deliberation(text).text for text in said]


def _notes(prompt: str) -> str:
    """The candidates of a deliberation's prompt, with their critiques if it has them."""
    return prompt.partition("(these notes stay private):\n")[2].partition("\n\n### Very Important")[0]


def _chosen(prompt: str) -> str:
    """The expert's action, in which the deliberation has to end."""
    return prompt.partition("Your final **Action** line must be **")[2].partition("**. Everything")[0]


def test_a_document_is_determined_by_seed_and_index() -> None:
    assert document("same", 3) == document("same", 3)
    assert document("same", 3) != document("same", 4)


def test_lessons_come_first_and_then_all_kinds_are_drawn() -> None:
    lessons = [document("kinds", index) for index in range(40)]
    assert {each.kind for each in lessons} == {"questions"}
    assert max(each.context for each in lessons) <= 10
    assert {document("kinds", LESSONS + index).kind for index in range(40)} == set(SHARES)


def test_no_document_is_from_a_held_out_room() -> None:
    indices = (*range(40), *range(LESSONS, LESSONS + 160))
    assert not any(document("rooms", index).game.room.held_out for index in indices)


def test_acting_never_deliberates() -> None:
    for each in drawn("acting"):
        said = [m["content"] for m in each.messages if m["role"] == "assistant"]
        replies = [parse_reply(text) for text in said]
        assert said and all(reply.action for reply in replies)
        assert not any(is_deliberation(reply.thought) for reply in replies)
        assert each.messages[0]["content"].startswith(DOMAIN.prompt("")[:200])


def test_in_the_midst_of_a_game_nothing_ever_deliberates() -> None:
    told = 0
    for index in range(300):
        first, *others = document("midst", LESSONS + index).messages
        if first["content"].startswith(DOMAIN.prompt("")[:200]):
            told += 1
            assert not any(is_deliberation(m["content"]) for m in others if m["role"] == "assistant")
    assert told > 60


def test_advice_is_given_outside_the_agents_conversation_and_never_acts() -> None:
    for each in drawn("advice"):
        assert not each.messages[0]["content"].startswith(DOMAIN.prompt("")[:200])
        for asked, answer in zip(each.messages[::2], each.messages[1::2], strict=True):
            question = asked["content"].rpartition("Question: ")[2]
            parsed = parse_deliberation(answer["content"])
            listed = [action for action, _ in CANDIDATE.findall(parsed.text)]
            assert parsed.outcome == "ok" and parse_reply(answer["content"]).action is None
            assert len(set(listed)) == len(listed)
            (best,) = called_best(parsed.text)
            assert f"the best choice is to {best}, because" in parsed.text.rpartition("\n")[2]
            if question.startswith("Compare these: "):
                assert question.removeprefix("Compare these: ").removesuffix(".").split("; ") == listed


def test_a_deliberations_list_calls_the_experts_action_best_and_it_alone() -> None:
    for each in drawn("deliberation"):
        prompt, reply = (m["content"] for m in each.messages)
        chosen = _chosen(prompt)
        assert called_best(reply) == [chosen]


def test_a_reflection_leaves_to_search_what_is_elsewhere_and_names_the_likeliest_of_it() -> None:
    searches = 0
    for text in _thoughts():
        if found := re.search(
            r"I am at the (\w+ \d+)\b.*Left to search: the (.+?)\. Most likely: the (.+?)\.", text
        ):
            here, left, likeliest = found[1], found[2].split(", the "), found[3]
            assert here not in left and likeliest in left and len(set(left)) == len(left)
            searches += 1
    assert searches > 10


def test_a_judgement_follows_from_what_it_says_first() -> None:
    ones = nones = 0
    for text in _thoughts():
        for kind, place, verdict in re.findall(r" an? (\w+), and (\w+) \d+ is (one|none)\b", text):
            assert (kind == place) == (verdict == "one")
            ones, nones = ones + (verdict == "one"), nones + (verdict == "none")
        for thing, place, other in re.findall(r"(\w+ \d+) is at (\w+ \d+), not at (\w+ \d+)", text):
            assert place != other and f"take {thing} from {place}" not in called_best(text)
    assert ones > 10 and nones > 10


def test_what_was_refused_a_moment_ago_is_judged_as_tried() -> None:
    judged = [line for text in _thoughts() for line in text.splitlines() if "was tried just now" in line]
    assert judged and all("best choice" not in line for line in judged)


def test_questions_are_about_the_game_so_far_and_their_answers_are_true() -> None:
    answers = 0
    for each in drawn("questions"):
        game = each.messages[: each.context]
        seen = " ".join(m["content"] for m in each.messages[:-1] if m["role"] == "user")
        assert all("Answer:" not in m["content"] for m in game)
        exchanges = each.messages[each.context :]
        for asked, answer in zip(exchanges[::2], exchanges[1::2], strict=True):
            question = asked["content"].rpartition("Question: ")[2]
            said = answer["content"].removeprefix("Answer: ")
            if found := re.fullmatch(r"An? (\w+): the (\1 \d+) (?:in|on) the (\w+ \d+)\.", said):
                assert question.startswith("Where is a") and all(name in seen for name in found.groups())
                answers += 1
            elif found := re.fullmatch(r"The (\w+ \d+): the (.+)\.", said):
                place, things = found.groups()
                contents = re.findall(rf"(?:the {place},|The {place} is open\. In it,) you see (.+?)\.", seen)
                assert contents and all(thing in seen for thing in things.split(", the "))
                answers += 1
            elif question == "What do you hold?" and said != "I hold nothing.":
                taken = said.removeprefix("I hold the ").removesuffix(".")
                assert f"You pick up the {taken} from" in seen
                answers += 1
    assert answers > 10


def test_acting_is_imperfect() -> None:
    observed = [m["content"] for d in drawn("acting") for m in d.messages[1:] if m["role"] == "user"]
    refused = sum(text == "Observation: Nothing happens." for text in observed)
    assert 0.03 < refused / len(observed) < 0.5


def test_critiques_parse_name_their_action_and_have_three_sentences() -> None:
    for each in drawn("critique"):
        prompt, reply = (m["content"] for m in each.messages)
        parsed = parse_critique(reply)
        action = prompt.partition("all start with the action **")[2].partition("**.\nHere")[0]
        assert parsed.outcome == "ok"
        assert action in parsed.text
        assert parsed.text.count(". ") == 2


def test_critiques_are_right_about_the_rollout() -> None:
    for each in drawn("critique"):
        prompt, reply = (m["content"] for m in each.messages)
        rollout = prompt.partition("keep it private):\n\n")[2].partition("\n\n### Instructions")[0]
        refused = rollout.splitlines()[1] == "Observation: Nothing happens."
        text = parse_critique(reply).text
        assert refused != bool(re.search(r" is (a )?valid", text.partition(".")[0]))
        assert ("Final task reward: 1.00" in rollout) == ("complet" in text.rpartition(". ")[2])


def test_deliberations_parse_list_every_candidate_and_lead_to_the_experts() -> None:
    for each in drawn("deliberation"):
        prompt, reply = (m["content"] for m in each.messages)
        parsed = parse_deliberation(reply)
        notes = _notes(prompt)
        chosen = _chosen(prompt)
        candidates = [line.partition(": ")[0] for line in notes.splitlines()]
        listed = [line.partition(": ")[0] for line in parsed.text.splitlines() if line.startswith("- ")]
        assert parsed.outcome == "ok"
        assert f"- {chosen}" in listed
        if asked := re.search(r"propose (\d+) alternative", notes):
            assert len(set(listed)) == len(listed) == int(asked[1]) + 1
        else:
            assert listed == candidates
        assert chosen in parsed.text.rpartition("\n")[2]
        assert parse_reply(reply).action is None


def test_judgements_are_shorter_than_the_critiques_they_come_from() -> None:
    compared = 0
    for each in drawn("deliberation"):
        prompt, reply = (m["content"] for m in each.messages)
        notes = _notes(prompt)
        judgements = [line for line in reply.splitlines() if line.startswith("- ")]
        if "alternative candidate actions" in notes:
            continue
        for note, judgement in zip(notes.splitlines(), judgements, strict=True):
            if ": " in note:
                assert len(judgement) < len(note)
                compared += 1
    assert compared > SAMPLE / 2


def test_some_deliberations_have_no_critiques_to_draw_on_and_some_no_candidates() -> None:
    prompts = [each.messages[0]["content"] for each in drawn("deliberation")]
    notes = [_notes(prompt) for prompt in prompts]
    proposing = sum("alternative candidate actions" in n for n in notes)
    informed = sum(": " in n for n in notes) - proposing
    assert SAMPLE / 5 < informed < SAMPLE * 3 / 5
    assert 0 < proposing < SAMPLE - informed


def test_words_are_varied() -> None:
    texts = [d.messages[-1]["content"] for d in drawn("critique")]
    assert len(set(texts)) > 0.9 * SAMPLE


@pytest.mark.parametrize("kind", ["critique", "deliberation"])
def test_no_teacher_mentions_what_it_was_shown(kind: str) -> None:
    for each in drawn(kind):
        reply = each.messages[-1]["content"].lower()
        assert not any(word in reply for word in ("simulat", "rollout", "note", "scratch", "reward"))
