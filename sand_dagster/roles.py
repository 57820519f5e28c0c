"""Who chose the action of a step, and which model an iteration samples from."""

from __future__ import annotations

from enum import StrEnum


class Origin(StrEnum):
    """Who chose the action of a step."""

    EXPERT = "expert"
    SWITCHED = "switched"
    """π_k, in a rollout that replaced the demonstration: Section 4.4's expert switch."""


class Role(StrEnum):
    """The role of an iteration's model."""

    POLICY = "policy"
    """π_k, finetuned by the iteration before."""
    BASE = "base"
    """The base model, in iteration 00."""
