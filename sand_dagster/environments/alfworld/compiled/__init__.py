"""Our ALFWorld engine: a game is grounded once, then played over immutable states, text for text."""

from sand_dagster.environments.alfworld.compiled.engine import CompiledGame, State
from sand_dagster.environments.alfworld.compiled.play import CompiledPlay
from sand_dagster.environments.alfworld.compiled.refusal import UnsupportedGame

__all__ = ["CompiledGame", "CompiledPlay", "State", "UnsupportedGame"]
