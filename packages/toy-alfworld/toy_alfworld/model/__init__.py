"""The household model: a small causal language model that replaces the instruction-tuned base π_base."""

from __future__ import annotations

from pathlib import Path

CONTEXT = 4096
"""Positions of the model's context, in tokens."""


def weights() -> Path:
    """The Hugging Face folder that ships with the project."""
    return Path(__file__).parent / "weights"


def folder(home: Path) -> Path:
    """See `PackagedModel`: the weights are shipped in the Hugging Face format."""
    return weights()


def present(home: Path) -> Path:
    """See `PackagedModel`."""
    return weights()
