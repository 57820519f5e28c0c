from __future__ import annotations

from collections.abc import Sequence

from sand_dagster.types import Message, Step
from toy_alfworld.games.expert import Expert
from toy_alfworld.games.generation import STEP_LIMIT
from toy_alfworld.model.evaluate import evaluate

GAMES = 3


class Player:
    """Answers like a player of some skill, who reads the game from the chat; it cannot write critiques."""

    def __init__(self, advises: bool) -> None:
        self.advises = advises

    def __call__(self, chats: Sequence[Sequence[Message]], tokens: int) -> list[str]:
        return [self.reply(chat) for chat in chats]

    def reply(self, chat: Sequence[Message]) -> str:
        first = chat[0]["content"]
        if first.endswith("what is best?"):
            instruction, _, told = first.rpartition("\n\nQuestion: ")[0].partition("\n\nAction: ")
            told = f"Action: {told}"
            action = self.action(instruction, told.splitlines()) if self.advises else "look"
            return (
                f"Thought: x\n\n- {action}: x; x.\n\nAll in all, the best choice is to {action}, because x."
            )
        return "" if "Action Evaluation" in first else "Action: look"

    def action(self, instruction: str, lines: Sequence[str]) -> str:
        expert = Expert(instruction)
        done = [line.removeprefix("Action: ") for line in lines if line.startswith("Action: ")]
        seen = [line.removeprefix("Observation: ") for line in lines if line.startswith("Observation: ")]
        expert.replay(Step("", action, observation) for action, observation in zip(done, seen, strict=False))
        return expert.act().action


def test_games_are_won_by_good_advice_and_by_nothing_else() -> None:
    figures = evaluate(Player(advises=True), situations=2, games=GAMES)
    assert figures.advised_games_won == 1.0
    assert figures.games_won == 0.0 and figures.turns == GAMES * STEP_LIMIT
    assert figures.critiques_parsed == 0.0
    assert evaluate(Player(advises=False), situations=2, games=GAMES).advised_games_won == 0.0
