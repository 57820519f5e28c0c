"""Where everything is kept: `$SAND_HOME`."""

from __future__ import annotations

import os
from pathlib import Path


def sand_home() -> Path:
    """`$SAND_HOME`, by default `.sand` in the working directory, as an absolute path. It need not exist."""
    return Path(os.environ.get("SAND_HOME") or ".sand").expanduser().absolute()
