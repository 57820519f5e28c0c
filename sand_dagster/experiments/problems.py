"""The errors in an experiment's file, one line for each field."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

MOVED = {
    f"generation.{old}": f"set the field {new} of the resource `generation` in the launchpad, or the "
    f"environment variable SAND_{new.upper()}"
    for old, new in {
        "in_flight": "max_concurrency",
        "max_sequences": "max_num_seqs",
        "cpu_cache_gib": "kv_cache_gib",
        "gpu_memory_share": "gpu_memory_utilization",
        "tensor_parallel": "tensor_parallel_size",
    }.items()
} | {
    old: f"write {new}"
    for old, new in {
        "generation.turn_tokens": "generation.max_new_tokens",
        "critiques.max_tokens": "critiques.max_new_tokens",
        "deliberation.max_tokens": "deliberation.max_new_tokens",
        "deliberation.held_to_candidates": "deliberation.constrain_to_candidates",
        "deliberation.names_action": "deliberation.require_expert_action",
        "model.context": "model.max_model_len",
    }.items()
}
"""Fields of earlier versions, and what to do instead."""

RENAMED_MODELS = {"household": "toy-alfworld"}
"""Names of `model.base` in earlier versions."""


def explain(problem: Any, model: type[BaseModel]) -> str:
    """The problem that pydantic found in `model`: the field, the problem, and what is allowed there."""
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    if where in MOVED:
        return f"{where}: this field no longer exists; {MOVED[where]}"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key; allowed here: {', '.join(_allowed(model, problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"{where}: required, but missing"
    message = problem["msg"].removeprefix("Value error, ")
    return (
        f"{where}: {message}"
        if problem["type"] == "value_error"
        else f"{where}: {message} (found {problem['input']!r})"
    )


def _allowed(section: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The keys of the section at `path`."""
    for part in path:
        field = section.model_fields.get(str(part))
        if field is None or not (
            isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        ):
            return sorted(section.model_fields)
        section = field.annotation
    return sorted(section.model_fields)
