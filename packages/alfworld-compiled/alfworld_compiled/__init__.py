"""Our ALFWorld engine: a game is grounded once, then played over immutable states, text for text."""

from alfworld_compiled.compiled_episode import CompiledEpisode
from alfworld_compiled.engine import CompiledGame, State
from alfworld_compiled.refusal import UnsupportedGame

__all__ = ["CompiledEpisode", "CompiledGame", "State", "UnsupportedGame"]
