"""The small model that was also taught ScienceWorld's short tasks, and what taught it."""

from __future__ import annotations

from pathlib import Path


def weights() -> Path:
    """The Hugging Face folder that ships with the project."""
    return Path(__file__).parent / "weights"


def folder(home: Path) -> Path:
    """See `PackagedModel`: the weights are shipped in the Hugging Face format."""
    return weights()


def present(home: Path) -> Path:
    """See `PackagedModel`."""
    return weights()
