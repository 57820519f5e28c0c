"""The household model's own evaluation: `python -m toy_alfworld.model.evaluate`.

It uses games of held-out rooms: critiques and deliberations are requested with the real prompts about real
rollouts, and acting is measured on whole games.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

import torch
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer

from alfworld_compiled.episode import REFUSAL
from sand_dagster.prompts.figures import parse_critique, parse_deliberation
from sand_dagster.prompts.turns import Reply, conversation, parse_reply
from sand_dagster.types import Message, Step
from toy_alfworld.games.generation import STEP_LIMIT, make_game
from toy_alfworld.games.simulation import Simulation
from toy_alfworld.model import CONTEXT, weights
from toy_alfworld.model.teachers.documents import advice_asked, critique_messages, deliberation_messages
from toy_alfworld.model.teachers.situations import DOMAIN, MOST_CANDIDATES, Situation, draw_situation
from toy_alfworld.model.teachers.verdicts import Verdict

Complete = Callable[[Sequence[Sequence[Message]], int], list[str]]
"""Completes a batch of chats greedily, each with at most the given number of tokens."""

_BATCH = 16
_CRITIQUE_TOKENS, _DELIBERATION_TOKENS, _TURN_TOKENS = 160, 320, 96
CANDIDATE = re.compile(r"^- (.+?): (.+)$", re.MULTILINE)
"""A line of a deliberation's list: the action, and its judgement."""

_CHOICE = re.compile(r"the best choice is to (.+?), because")
_REFUSED = re.compile(
    r"not (?:a )?valid|refused|cannot|fails|does not work|not understood|does nothing", re.I
)
_GRADES = {
    "good": re.compile(r"strong choice|right choice|(?:very )?good step|right step"),
    "fair": re.compile(r"acceptable|reasonable try|weak choice|not convincing"),
    "poor": re.compile(r"poor choice|not worth a step|better not"),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares in [0, 1], over `critiques`, `deliberations`, `turns` and `games` tries.

    A critique agrees in validity if it says that the action is refused exactly when it was refused; in grade
    if its last sentence is as favourable as the teacher's verdict; in outcome if it expects the task to be
    completed exactly when the rollout completed it. A deliberation agrees with itself if its list calls only
    the expert's action best. An advised game is played by asking at every step what is best now: it shows how
    well an agent would play that follows the model's deliberations.
    """

    critiques: int
    critiques_parsed: float
    critiques_naming: float
    critiques_validity: float
    critiques_grade: float
    critiques_outcome: float
    deliberations: int
    deliberations_parsed: float
    deliberations_listing: float
    deliberations_choosing: float
    deliberations_agreeing: float
    turns: int
    turns_unparsed: float
    turns_invalid: float
    games: int
    games_won: float
    advised_games_won: float


def evaluate(complete: Complete, situations: int, games: int, seed: int | str = "evaluation") -> Figures:
    """Measure a model on held-out rooms."""
    drawn = [_situation(f"{seed} {i}") for i in range(situations)]
    critiques = _critiques(complete, drawn)
    deliberations = _deliberations(complete, drawn)
    return Figures(**critiques, **deliberations, **_games(complete, games, seed))  # type: ignore[arg-type]


def completer(folder: Path) -> Complete:
    """The model of a Hugging Face folder, greedy, in float32."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def complete(chats: Sequence[Sequence[Message]], tokens: int) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(chats), _BATCH):
            batch: Any = tokenizer.apply_chat_template(
                [list(chat) for chat in chats[start : start + _BATCH]],
                add_generation_prompt=True,
                padding=True,
                truncation=True,
                max_length=CONTEXT - tokens,
                return_tensors="pt",
                return_dict=True,
            )
            with torch.inference_mode():
                ids = model.generate(**batch, max_new_tokens=tokens, do_sample=False)
            texts += tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts

    return complete


def _situation(seed: str) -> Situation:
    rng = Random(f"household model situation {seed}")
    return draw_situation(rng, make_game(f"household model {seed}", "unseen"), MOST_CANDIDATES)


def _critiques(complete: Complete, situations: Sequence[Situation]) -> dict[str, float]:
    asked = [(s, i % len(s.verdicts)) for i, s in enumerate(situations)]
    chats = [critique_messages(Random(i), s, chosen)[:1] for i, (s, chosen) in enumerate(asked)]
    texts = [parse_critique(reply).text for reply in complete(chats, _CRITIQUE_TOKENS)]
    pairs = [(text, s.verdicts[chosen]) for text, (s, chosen) in zip(texts, asked, strict=True)]
    return {
        "critiques": len(pairs),
        "critiques_parsed": _share(bool(text) for text, _ in pairs),
        "critiques_naming": _share(verdict.action in text for text, verdict in pairs),
        "critiques_validity": _share(refuses(text) != verdict.valid for text, verdict in pairs),
        "critiques_grade": _share(_grade(text) == verdict.grade for text, verdict in pairs),
        "critiques_outcome": _share(completes(text) == verdict.won for text, verdict in pairs),
    }


def refuses(text: str) -> bool:
    """Whether a critique says that its action is refused."""
    return _REFUSED.search(text.partition(".")[0]) is not None


def _grade(text: str) -> str | None:
    return next((grade for grade, words in _GRADES.items() if words.search(_closing(text))), None)


def completes(text: str) -> bool:
    """Whether a critique expects the task to be completed."""
    return "complet" in _closing(text)


def _closing(text: str) -> str:
    return text.rpartition(". ")[2]


def _deliberations(complete: Complete, situations: Sequence[Situation]) -> dict[str, float]:
    chats = [deliberation_messages(Random(i), situation)[:1] for i, situation in enumerate(situations)]
    thoughts = [parse_deliberation(reply).text for reply in complete(chats, _DELIBERATION_TOKENS)]
    pairs = list(zip(thoughts, situations, strict=True))
    return {
        "deliberations": len(pairs),
        "deliberations_parsed": _share(bool(thought) for thought, _ in pairs),
        "deliberations_listing": _share(_lists(thought, s.verdicts) for thought, s in pairs),
        "deliberations_choosing": _share(s.expert_action in t.rpartition("\n")[2] for t, s in pairs),
        "deliberations_agreeing": _share(called_best(t) == [s.expert_action] for t, s in pairs),
    }


def called_best(thought: str) -> list[str]:
    """The actions that a deliberation's list calls best."""
    return [action for action, judged in CANDIDATE.findall(thought) if "best choice" in judged]


def _lists(thought: str, verdicts: Sequence[Verdict]) -> bool:
    """Whether the list has exactly the candidates, in their order."""
    return [action for action, _ in CANDIDATE.findall(thought)] == [verdict.action for verdict in verdicts]


def _games(complete: Complete, games: int, seed: int | str) -> dict[str, float]:
    def acting(instruction: str, steps: Sequence[Step]) -> list[Message]:
        return conversation(DOMAIN, instruction, steps)

    played, won = _play(complete, games, seed, acting, parse_reply, _TURN_TOKENS)
    _, advised = _play(complete, games, seed, advice_asked, _follow, _DELIBERATION_TOKENS)
    return {
        "turns": len(played),
        "turns_unparsed": _share(not step.action for step in played),
        "turns_invalid": _share(step.observation == REFUSAL for step in played),
        "games": games,
        "games_won": won,
        "advised_games_won": advised,
    }


def _follow(advice: str) -> Reply:
    """The action of a player that only follows the advice."""
    chosen = _CHOICE.search(advice.rpartition("\n")[2])
    return Reply("", chosen[1] if chosen else None)


def _play(
    complete: Complete,
    games: int,
    seed: int | str,
    ask: Callable[[str, Sequence[Step]], Sequence[Message]],
    read: Callable[[str], Reply],
    tokens: int,
) -> tuple[list[Step], float]:
    """All steps of `games` games of held-out rooms, and the share of the games that were won."""
    worlds = [Simulation(make_game(f"household model {seed} game {i}", "unseen")) for i in range(games)]
    steps: list[list[Step]] = [[] for _ in worlds]
    won = [False] * games
    for _ in range(STEP_LIMIT):
        playing = [i for i in range(games) if not won[i]]
        chats = [ask(worlds[i].instruction, steps[i]) for i in playing]
        for i, text in zip(playing, complete(chats, tokens) if chats else [], strict=True):
            reply = read(text)
            result = worlds[i].step(reply.action or "")
            steps[i].append(Step(reply.thought, reply.action or "", result.observation))
            won[i] = result.reward >= 1.0
    return [step for game in steps for step in game], _share(won)


def _share(found: Iterable[bool]) -> float:
    listed = list(found)
    return sum(listed) / max(len(listed), 1)


def main(
    folder: Annotated[Path | None, typer.Option(help="The model. Default: the shipped one.")] = None,
    situations: Annotated[int, typer.Option(help="Steps to write critiques and deliberations about.")] = 100,
    games: Annotated[int, typer.Option(help="Games to play.")] = 50,
) -> None:
    """Measure a household model on games of held-out rooms."""
    print(json.dumps(asdict(evaluate(completer(folder or weights()), situations, games)), indent=2))


if __name__ == "__main__":
    typer.run(main)
