"""ALFWorld's text games, compiled once and played over immutable states: text for text as the stock engine.

`CompiledGame.load` reads a `game.tw-pddl` file. A state is a value: `step`, `admissible` and `won` are
functions of it, and nothing is ever undone. `CompiledEpisode` keeps the state for you, and forks.

Interfaces, each in a module of its own: `batch` (ALFWorld's own lists in, lists out), `alfred_tw_env` (in the
place of ALFWorld's class), `gym` (Gymnasium), `trl` and `verifiers`. `stock` has the reference engine.
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
