"""ALFWorld's text games, compiled once and played over immutable states, with exactly the stock engine's
texts.

`CompiledGame.load` reads a `game.tw-pddl` file. A state is an immutable value: `step`, `admissible` and `won`
are functions of it. `CompiledEpisode` keeps the state for you, and forks.

Interfaces, each in its own module: `batch` (ALFWorld's own lists in, lists out), `alfred_tw_env` (replaces
ALFWorld's class), `gym` (Gymnasium), `trl` and `verifiers`. `stock` has the reference engine.
"""

from alfworld_compiled.compiling import compile_ahead
from alfworld_compiled.engine import CompiledEpisode, CompiledGame, State
from alfworld_compiled.games import GameError, find_games
from alfworld_compiled.refusal import UnsupportedGame

__all__ = [
    "CompiledEpisode",
    "CompiledGame",
    "GameError",
    "State",
    "UnsupportedGame",
    "compile_ahead",
    "find_games",
]
