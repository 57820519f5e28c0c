"""Sets the folder of the published games in the shared data, for the engine's own tests."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("SAND_SHARED", Path.cwd().parent / "shared"))
GAMES = SHARED / "data/alfworld/games.tar.xz"

if GAMES.is_file():
    os.environ.setdefault("ALFWORLD_COMPILED_GAMES", str(GAMES))
