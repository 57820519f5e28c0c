"""Says where the published games lie in the shared data: the engine's own tests know nothing of that."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("SAND_SHARED", Path.cwd().parent / "shared"))
GAMES = SHARED / "data/alfworld/games.tar.xz"

if GAMES.is_file():
    os.environ.setdefault("ALFWORLD_COMPILED_GAMES", str(GAMES))
