"""The picture of `docs/architecture.md`: layers, the assets of an iteration, and a stage's identity, as SVG.

It uses only greys and line styles, so that it looks the same in print. The stages and the tables that they
read are taken from the code.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from sand_dagster.assets import STAGES
from sand_dagster.assets.definition import StageDefinition, Where, always

LAYERS: Sequence[tuple[Sequence[str], str]] = (
    (("cli",), "`sand`: thin commands"),
    (("bench", "reference"), "measurements; pages made from code"),
    (("audit", "downloads", "exports"), "traces and questions; data in and out"),
    (("definitions",), "the Dagster code location"),
    (("jobs",), "jobs, sensor, checks, plan"),
    (("assets",), "one file for each stage"),
    (("resources",), "what a machine offers to stages"),
    (("estimate", "reports", "moving_line"), "what a run will need; pages of results"),
    (("evaluation",), "statistics, comparisons"),
    (("experiments",), "typed configuration, YAML files"),
    (("environments", "training"), "worker processes; TRL in a process"),
    (("models", "recordings", "artifacts"), "vLLM; expert files; tables, lineage"),
    (("sand",), "Algorithm 1, only over interfaces"),
    (("execution", "prompts", "fingerprints"), "units, journal; Figures 5 to 8"),
    (("rows", "interfaces", "files", "home", "scratch"), "typed rows; Environment, Generator, Trainer"),
    (("types", "outcomes", "verdicts", "roles", "ids", "errors"), "Task, Step; enums; hashes"),
)
"""The parts of `sand_dagster`, highest first, and their purpose. A test compares them with the layers that
imports have to follow."""

_ROWS = {
    "tasks": "a task: train, seen or unseen",
    "expert_import": "verdict on a row of a file",
    "expert_data": "a step of the expert's",
    "base_model": "a file of the base model",
    "expert_trajectories": "a step of D_exp",
    "policy": "which weights π_k has",
    "candidate_actions": "an action that was sampled, or the expert's",
    "rollouts": "a candidate played to the end, with its reward",
    "critiques": "the base model's verdict on a candidate",
    "deliberation_trajectories": "a step of D_delib, with its new thought",
    "explorations": "RFT, ETO: a training task, played by π_k",
    "checkpoints": "a finetuning: π after it",
    "eval_episodes": "a test task, played",
    "eval_scores": "a split's average reward",
    "search_episodes": "a test task, with N samples (best-of-N, voting)",
    "search_scores": "reward and tokens of a mode",
}
"""The meaning of a row."""

_WIDTH, _BOX, _HIGH = 180, 162, 118
_LEFT = 372
_PLACES = {
    **{
        name: (column, 0)
        for column, name in enumerate(("tasks", "expert_import", "expert_data", "base_model"))
    },
    **{"expert_trajectories": (2, 1), "policy": (3, 1)},
    **{
        name: (column, 2)
        for column, name in enumerate(
            ("candidate_actions", "rollouts", "critiques", "deliberation_trajectories")
        )
    },
    **{"explorations": (0, 3), "search_scores": (2, 4), "search_episodes": (3, 4)},
    **{"eval_scores": (1, 3), "eval_episodes": (2, 3), "checkpoints": (3, 3)},
}
"""Column and row of each stage."""

_TOPS = (64, 204, 350, 492, 634)
_MAIN = (
    *(("tasks", "expert_import"), ("expert_import", "expert_data"), ("expert_data", "expert_trajectories")),
    *(("base_model", "policy"), ("candidate_actions", "rollouts"), ("rollouts", "critiques")),
    *(("critiques", "deliberation_trajectories"), ("deliberation_trajectories", "checkpoints")),
    *(("checkpoints", "eval_episodes"), ("eval_episodes", "eval_scores")),
    *(("checkpoints", "search_episodes"), ("search_episodes", "search_scores")),
)
"""The main path. Each stage's box lists what it reads."""

_MANY = 4
"""More parts of a layer than this are written in smaller letters."""

_IDENTITY = (
    ("code", "modules, prompts, templates, columns"),
    ("settings", "the experiment's fields that it reads"),
    ("packages", "versions that decide rows"),
    ("files", "content of data from outside"),
    ("inputs", "the rows that it reads"),
)

_STYLE = """\
text { font-family: Helvetica, Arial, sans-serif; font-size: 12px; fill: #111; }
.head { font-size: 16px; font-weight: bold; }
.name { font-size: 13px; font-weight: bold; }
.tight { font-size: 11.5px; font-weight: bold; }
.small { font-size: 11px; fill: #333; }
rect { stroke: #333; stroke-width: 1.2; fill: #fff; }
.once { fill: #eee; }
.gpu { stroke-width: 2.6; }
.result { fill: #ddd; }
.arrow { fill: none; stroke: #222; stroke-width: 1.8; marker-end: url(#tip); }
.loop { fill: none; stroke: #222; stroke-width: 1.8; stroke-dasharray: 6 4; marker-end: url(#tip); }"""


@dataclass(frozen=True, slots=True)
class _Box:
    x: int
    y: int

    @property
    def middle(self) -> int:
        return self.x + _BOX // 2


def architecture() -> str:
    """The picture, as the text of an SVG file."""
    parts = [*_layers(), *_assets(), *_identity()]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1100 966" role="img" '
        'aria-label="Layers of the code, the assets of one iteration, the identity of a stage">\n'
        f"<style>\n{_STYLE}\n</style>\n"
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#222"/></marker></defs>\n'
        '<rect x="0" y="0" width="1100" height="966" style="stroke: none"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _layers() -> Iterator[str]:
    yield _text(24, 32, "Layers: imports point downwards", "head")
    for row, (parts, purpose) in enumerate(LAYERS):
        y = 52 + row * 43
        yield _rect(24, y, 300, 38, "result" if "sand" in parts else "")
        yield _text(34, y + 16, ", ".join(parts), "tight" if len(parts) > _MANY else "name")
        yield _text(34, y + 31, purpose.replace("`", ""), "small")
    yield f'<path class="arrow" d="M338 60 V{52 + len(LAYERS) * 43 - 8}"/>'


def _assets() -> Iterator[str]:
    yield _text(_LEFT, 32, "The assets of one experiment", "head")
    yield _text(
        _LEFT, 50, "grey: once per experiment; white: once per iteration k; thick: uses the GPU", "small"
    )
    for stage in STAGES:
        yield from _stage(stage)
    for start, end in _MAIN:
        yield _arrow(_box(start), _box(end))
    down = _box("candidate_actions")
    for name in ("expert_trajectories", "policy"):
        box = _box(name)
        way = f"M{box.middle - 40} {box.y + _HIGH} V{down.y - 19} H{down.middle} V{down.y}"
        yield f'<path class="arrow" d="{way}"/>'
    yield from _loops()


def _loops() -> Iterator[str]:
    """Iteration k reads tables of k-1. Dagster allows no cycle, so the stage looks them up."""
    right = _LEFT + 3 * _WIDTH + _BOX
    policy, trajectories = _box("policy"), _box("expert_trajectories")
    made, finetuned = _box("deliberation_trajectories"), _box("checkpoints")
    yield (
        f'<path class="loop" d="M{right} {finetuned.y + 60} H{right + 16} V{policy.y + 40} H{right + 3}"/>'
    )
    lane = trajectories.y + _HIGH + 8
    yield (
        f'<path class="loop" d="M{made.middle + 50} {made.y} V{lane} H{trajectories.middle + 50} '
        f'V{trajectories.y + _HIGH + 3}"/>'
    )
    yield _text(_LEFT, trajectories.y + 24, "dashed: read by the next iteration,", "small")
    yield _text(_LEFT, trajectories.y + 40, "D_exp ← D_delib and π_k ← π_θ (Algorithm 1).", "small")
    yield _text(_LEFT, trajectories.y + 56, "Looked up: Dagster allows no cycles;", "small")
    yield _text(_LEFT, trajectories.y + 72, "the version read is recorded.", "small")


def _stage(stage: StageDefinition) -> Iterator[str]:
    box = _box(stage.name)
    kind = " ".join(["" if stage.partitioned else "once", "gpu" if stage.gpu else ""]).strip()
    yield _rect(box.x, box.y, _BOX, _HIGH, kind)
    yield _text(
        box.x + 8, box.y + 17, stage.name.replace("deliberation_trajectories", "deliberation_traj."), "name"
    )
    y = box.y + 32
    for line in textwrap.wrap(_ROWS[stage.name], 24):
        yield _text(box.x + 8, y, line)
        y += 14
    read = [each.table for each in stage.reads if each.where is Where.HERE and each.when is always]
    for line in textwrap.wrap(f"reads {', '.join(map(_short, read))}" if read else "", 27):
        yield _text(box.x + 8, y, line, "small")
        y += 12


def _identity() -> Iterator[str]:
    top = 776
    yield _text(_LEFT, top, "One identity per stage: what decides its rows", "head")
    for place, (name, what) in enumerate(_IDENTITY):
        x = _LEFT + place * 142
        yield _rect(x, top + 14, 134, 62, "once")
        yield _text(x + 8, top + 31, name, "name")
        for line, text in enumerate(textwrap.wrap(what, 22)):
            yield _text(x + 8, top + 47 + 13 * line, text, "small")
        yield f'<path class="arrow" d="M{x + 67} {top + 76} V{top + 100}"/>'
    yield _rect(_LEFT, top + 102, 4 * 142 + 134, 56, "result")
    yield _text(_LEFT + 10, top + 122, "key of every unit in the journal · manifest of the table", "name")
    yield _text(
        _LEFT + 10, top + 142, "Dagster's code_version; the rows' content hash is its data_version", "name"
    )
    for line, text in enumerate(
        (
            "Where work is done:",
            "models: vLLM, one process per core, or on",
            "   the GPU, or an OpenAI-compatible server",
            "environments: worker processes, one per core",
            "training: TRL in its own process",
            "everything else: Dagster's step process",
        )
    ):
        yield _text(24, 842 + line * 18, text, "name" if line == 0 else "")


def _box(name: str) -> _Box:
    column, row = _PLACES[name]
    return _Box(_LEFT + column * _WIDTH, _TOPS[row])


def _arrow(start: _Box, end: _Box) -> str:
    if start.y == end.y:
        y = start.y + 12
        first, last = (start.x + _BOX, end.x) if end.x > start.x else (start.x, end.x + _BOX)
        return f'<path class="arrow" d="M{first} {y} H{last}"/>'
    return f'<path class="arrow" d="M{start.middle} {start.y + _HIGH} V{end.y}"/>'


def _short(table: str) -> str:
    return table.replace("deliberation_trajectories", "deliberation_traj.")


def _rect(x: int, y: int, width: int, height: int, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<rect{named} x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x}" y="{y}">{escape(text)}</text>'
