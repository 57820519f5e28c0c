"""The engine's tests know nothing of this project's shared data: this says where the published games lie in it."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("SAND_SHARED", Path.cwd().parent / "shared"))
GAMES = SHARED / "data/alfworld/games.tar.xz"

if GAMES.is_file():
    os.environ.setdefault("ALFWORLD_COMPILED_GAMES", str(GAMES))
