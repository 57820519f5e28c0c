"""The figures of the report as SVG, in greys: series differ by markers, line styles and hatches."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.evaluation import figure4 as violins
from sand_dagster.evaluation.compare import Row
from sand_dagster.reports.failures import Failing
from sand_dagster.reports.table import Table

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", ":", "-.")
_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++")
_GREYS = ("0.25", "0.55", "0.8", "0.4", "0.7", "0.95")
_SETTINGS: Any = {
    "svg.fonttype": "none",  # texts stay texts: they can be read out, searched and scaled
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "hatch.linewidth": 0.6,
}
_UPRIGHT = 4
"""So many names of agents have place side by side."""
_LEGEND_COLUMNS = 4
_PANEL_WIDTH = 4.2  # inches
_TYPES = 12
"""A figure by task type with more types than these cannot be read; its table has them all."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure: its file's name, what it shows in words, and the SVG as the content of a page."""

    name: str
    described: str
    svg: str

    def file(self) -> str:
        """The figure as a file of its own."""
        return f'<?xml version="1.0" encoding="utf-8"?>\n{self.svg}'


def pictures(tables: dict[str, Table], bands: Sequence[Row]) -> list[Picture]:
    """The figures of those `tables` (by name) that have rows; `bands` are Figure 4's."""
    drawn = []
    for name, (described, draw) in _FIGURES.items():
        rows = [
            dict(zip((column.name for column in tables[name].columns), row, strict=True))
            for row in tables[name].rows
        ]
        if rows and (svg := _svg(name, described, draw, rows)):
            drawn.append(Picture(name, described, svg))
    if bands:
        described = "Violins of the tasks' deliberation rates, by difficulty band, split and iteration."
        drawn.append(Picture("figure-4", described, _figure4(bands, described)))
    return drawn


def _svg(name: str, described: str, draw: Callable[[Any, Sequence[Row]], bool], rows: Sequence[Row]) -> str:
    """What `draw` makes of a figure, as SVG; empty if it says that there is nothing to draw."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(layout="constrained")
        if not draw(figure, rows):
            return ""
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _for_page(text.getvalue(), name, described)


def _figure4(bands: Sequence[Row], described: str) -> str:
    import matplotlib

    with (
        tempfile.TemporaryDirectory() as folder,
        matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": "figure-4"}),
    ):
        file = Path(folder) / "figure-4.svg"
        violins.draw(bands, file)
        return _for_page(file.read_text(encoding="utf-8"), "figure-4", described)


def _for_page(svg: str, name: str, described: str) -> str:
    """The `<svg>` with a title that is read out, and ids that no other figure of the page has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    head, _, body = svg.partition(">")
    return f'{head} role="img" aria-label="{escape(described)}"><title>{escape(described)}</title>{body}'


def _panels(
    figure: Any, rows: Sequence[Row], height: float, width: float = _PANEL_WIDTH
) -> list[tuple[Any, str, list[Row]]]:
    """One panel a split, side by side, each so many inches wide."""
    splits = sorted({row["split"] for row in rows})
    figure.set_size_inches(max(width * len(splits), 5.2), height)
    axes = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    return [
        (panel, split, [row for row in rows if row["split"] == split])
        for panel, split in zip(axes, splits, strict=True)
    ]


def _distinct(rows: Sequence[Row], *names: str) -> list[Any]:
    found = dict.fromkeys(tuple(row[name] for name in names) for row in rows)
    return [each[0] if len(names) == 1 else each for each in found]


def _rewards(figure: Any, rows: Sequence[Row]) -> bool:
    experiments = _distinct(rows, "experiment")
    panels = _panels(figure, rows, 2.9 + 0.18 * (len(experiments) // _LEGEND_COLUMNS))
    iterations = sorted({row["iteration"] for row in rows})
    for panel, split, here in panels:
        for number, experiment in enumerate(experiments):
            own = [row for row in here if row["experiment"] == experiment]
            shift = min(0.08, 0.7 / len(experiments)) * (number - (len(experiments) - 1) / 2)
            places = [iterations.index(row["iteration"]) + shift for row in own]
            values = [100 * row["average reward"] for row in own]
            panel.errorbar(
                places,
                values,
                yerr=_reach(values, [[100 * end for end in row["95 % interval"]] for row in own]),
                marker=_MARKERS[number % len(_MARKERS)],
                linestyle=_LINES[number % len(_LINES)],
                color=_GREYS[number % 2],
                markersize=5,
                linewidth=1.2,
                capsize=3,
                label=experiment,
            )
            papers = [(place, row.get("the paper's")) for place, row in zip(places, own, strict=True)]
            known = [(place, 100 * value) for place, value in papers if value is not None]
            if known:
                panel.plot(*zip(*known, strict=True), "_", color="black", markersize=16, label="the paper's")
        panel.set(title=split, xlabel="iteration", ylim=(-2, 102), xlim=(-0.4, len(iterations) - 0.6))
        panel.set_xticks(range(len(iterations)), iterations)
        panel.grid(axis="y", color="0.9")
    panels[0][0].set_ylabel("average reward, %")
    if len(experiments) > 1 or any(row.get("the paper's") is not None for row in rows):
        _legend_below(figure)
    return True


def _a_step(figure: Any, rows: Sequence[Row]) -> bool:
    bars = len(_distinct(rows, "experiment", "iteration"))
    crowded = bars > _UPRIGHT
    panels = _panels(figure, rows, 4.4 if crowded else 2.9, max(_PANEL_WIDTH, 0.28 * bars))
    for panel, split, here in panels:
        places = range(len(here))
        rewards = [row["reward a step"] for row in here]
        reach = _reach(rewards, [row["95 % interval"] for row in here])
        panel.bar(
            places,
            rewards,
            0.6,
            color="0.85",
            edgecolor="0.3",
            hatch="///",
            yerr=reach,
            ecolor="0.3",
            capsize=3,
        )
        panel.set(title=split)
        panel.set_xticks(
            list(places),
            [f"{row['experiment']} {row['iteration']}" for row in here],
            **({"rotation": 50, "ha": "right", "rotation_mode": "anchor"} if crowded else {}),
        )
        rates = panel.twinx()
        rates.spines["right"].set_visible(True)
        for experiment in _distinct(here, "experiment"):
            own = [place for place in places if here[place]["experiment"] == experiment]
            rates.plot(
                own,
                [here[place]["deliberation a step"] for place in own],
                "o-",
                color="black",
                markersize=4,
            )
        rates.set_ylim(-0.02, 1.02)
        rates.set_ylabel("deliberation a step (line)")
    panels[0][0].set_ylabel("reward a step (bars)")
    return True


def _reach(values: Sequence[float], intervals: Sequence[Sequence[float]]) -> list[list[float]]:
    """How far the intervals reach below and above the values."""
    pairs = list(zip(values, intervals, strict=True))
    below = [max(value - low, 0) for value, (low, _) in pairs]
    return [below, [max(high - value, 0) for value, (_, high) in pairs]]


def _types(figure: Any, rows: Sequence[Row]) -> bool:
    kinds = sorted({row["task type"] for row in rows})
    if len(kinds) > _TYPES:
        return False
    agents = _distinct(rows, "experiment", "iteration")
    for panel, split, here in _panels(figure, rows, _height(kinds, agents)):
        for number, agent in enumerate(agents):
            own = {row["task type"]: 100 * row["average reward"] for row in _of(agent, here)}
            _bars(panel, agents, number, [own.get(kind) for kind in kinds])
        panel.set(title=split, xlabel="average reward, %", xlim=(0, 102))
        panel.set_yticks(range(len(kinds)), kinds)
    _finish(figure)
    return True


def _failures(figure: Any, rows: Sequence[Row]) -> bool:
    names = [name for name in map(str, Failing) if any(row[name] for row in rows)]
    if not names:
        return False
    agents = _distinct(rows, "experiment", "iteration")
    for panel, split, here in _panels(figure, rows, _height(names, agents)):
        for number, agent in enumerate(agents):
            counts = [sum((row[name] or 0) * row["lost"] for row in _of(agent, here)) for name in names]
            _bars(panel, agents, number, counts)
        panel.set(title=split, xlabel="lost episodes")
        panel.set_yticks(range(len(names)), names)
    _finish(figure)
    return True


def _costs(figure: Any, rows: Sequence[Row]) -> bool:
    spending = [row for row in rows if row["tokens read"] or row["tokens written"]]
    if not spending:
        return False
    stages = [stage for stage in TABLES if any(row["stage"] == stage for row in spending)]
    agents = _distinct(spending, "experiment", "iteration")
    figure.set_size_inches(8.4, _height(stages, agents))
    panels = figure.subplots(1, 2, sharey=True)
    for panel, name in zip(panels, ("tokens read", "tokens written"), strict=True):
        for number, agent in enumerate(agents):
            own = {row["stage"]: (row[name] or 0) / 1e6 for row in _of(agent, spending)}
            _bars(panel, agents, number, [own.get(stage) for stage in stages])
        panel.set(xlabel=f"{name}, millions")
        panel.set_yticks(range(len(stages)), stages)
    _finish(figure)
    return True


def _of(agent: tuple[str, str], rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if (row["experiment"], row["iteration"]) == agent]


def _height(groups: Sequence[str], agents: Sequence[tuple[str, str]]) -> float:
    """Of a figure of horizontal bars, in inches."""
    return 0.9 + len(groups) * max(0.16 * len(agents), 0.3)


def _bars(panel: Any, agents: Sequence[tuple[str, str]], number: int, values: Sequence[float | None]) -> None:
    """The bars of one agent, one in each group; None: it has none there."""
    thick = 0.8 / len(agents)
    shift = thick * (number - (len(agents) - 1) / 2)
    panel.barh(
        [place + shift for place, value in enumerate(values) if value is not None],
        [value for value in values if value is not None],
        thick,
        label=" ".join(agents[number]),
        **_look(number),
    )


def _finish(figure: Any) -> None:
    """What all figures of horizontal bars have: the first group on top, a grid, and a legend below."""
    for panel in figure.axes:
        panel.grid(axis="x", color="0.9")
        panel.set_axisbelow(True)
    figure.axes[0].invert_yaxis()
    _legend_below(figure)


def _legend_below(figure: Any) -> None:
    """Every label of the figure's panels once, where it covers nothing."""
    drawn: dict[str, Any] = {}
    for panel in figure.axes:
        handles, labels = panel.get_legend_handles_labels()
        for label, handle in zip(labels, handles, strict=True):
            drawn.setdefault(label, handle)
    figure.legend(
        drawn.values(),
        drawn.keys(),
        loc="outside lower center",
        ncols=min(len(drawn), _LEGEND_COLUMNS),
        fontsize=8,
        frameon=False,
    )


def _look(number: int) -> dict[str, str]:
    """How the bars of series `number` are filled."""
    return {
        "color": _GREYS[-1 - number % len(_GREYS)],
        "edgecolor": "0.2",
        "hatch": _HATCHES[number % len(_HATCHES)],
    }


_FIGURES: dict[str, tuple[str, Callable[[Any, Sequence[Row]], bool]]] = {
    "table-2": ("Average reward by iteration, with 95 % intervals, one panel for each split.", _rewards),
    "figure-3": (
        "Reward a step as bars with 95 % intervals, deliberation a step as a line, by iteration.",
        _a_step,
    ),
    "task-types": ("Average reward by task type, one bar for each iteration.", _types),
    "failures": ("Lost episodes that show each kind of failure, one bar for each iteration.", _failures),
    "costs": ("Tokens read and written by stage, one bar for each iteration.", _costs),
}
"""By the table that a figure shows."""
