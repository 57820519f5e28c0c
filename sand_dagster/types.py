"""The values that SAND's stages pass to each other (Section 3 and Section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]
Message = dict[str, str]
"""One chat message: `{"role": Role, "content": str}`."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of an environment: the argument of `Environment.reset`.

    `spec` is what the environment needs to open it (ALFWorld: the game's path relative to the games
    folder; ScienceWorld: task type, variation and how it is played). `step_limit` counts the agent's turns.
    `content` is the hash of the file that opens it, empty if only the environment's package determines
    the task.
    """

    id: str
    environment: str
    split: str
    kind: str
    step_limit: int
    spec: Mapping[str, str | int] = field(default_factory=dict)
    content: str = ""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The environment's answer to an action: o_t, the reward so far in [0, 1], and two flags.

    `valid` is False when the environment did not understand or refused the action and nothing changed.
    """

    observation: str
    reward: float
    done: bool
    valid: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One turn (z_t, a_t, o_t). `thought` is empty if the agent wrote only `Action:`."""

    thought: str
    action: str
    observation: str


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A trajectory e = (u, z_1, a_1, o_1, ..., z_L, a_L); `instruction` is the task's text u.

    `instruction` is the environment's first observation, the text that fills `{task}` in Figures 7 and 8.
    """

    id: str
    task: Task
    instruction: str
    steps: Sequence[Step]
    reward: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample one completion. `seed` is ignored at temperature 0.

    `pattern`, unless empty, is a regular expression that the text has to match, by constrained decoding.
    """

    temperature: float
    max_tokens: int
    seed: int = 0
    stop: tuple[str, ...] = ()
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled text. `finish` is "length" when `max_tokens` or the context ended it."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: Literal["stop", "length"]

    @property
    def cut(self) -> bool:
        """Whether the text was cut off: its last line may be incomplete."""
        return self.finish == "length"
