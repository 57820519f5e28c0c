"""Figure 4: the distribution of deliberation rates over a split's tasks, by difficulty band and iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sand_dagster.evaluation.difficulty import BANDS
from sand_dagster.files import write_whole

_FORMATS = (".svg", ".png", ".pdf")
_PANEL_INCHES = (3.8, 2.8)


def draw(bands: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw the rows of `Comparison.bands`: one row of panels per arm and split, one panel per iteration.

    A violin is a band, the dot in it the median, the bar the quartiles.

    Raises:
        ValueError: the file's name has none of the endings .svg, .png and .pdf, or there is nothing to draw.
        DiskFull: there was no space; `file` is as it was.
    """
    from matplotlib.figure import Figure

    if file.suffix not in _FORMATS:
        raise ValueError(f"{file}: the picture's name has to end in one of {', '.join(_FORMATS)}")
    rows = list(dict.fromkeys((band["experiment"], band["split"]) for band in bands))
    iterations = sorted({band["iteration"] for band in bands})
    if not rows:
        raise ValueError("no iteration has episodes in a difficulty band: there is nothing to draw")
    width, height = _PANEL_INCHES
    figure = Figure((width * len(iterations), height * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(iterations), sharey=True, squeeze=False)
    for (experiment, split), line in zip(rows, panels, strict=True):
        line[0].set_ylabel("deliberation rate")
        for iteration, panel in zip(iterations, line, strict=True):
            panel.set(title=f"{experiment} {iteration}, {split}", ylim=(-0.02, 1.02))
            here = [
                band
                for band in bands
                if (band["experiment"], band["split"], band["iteration"]) == (experiment, split, iteration)
            ]
            _violins(panel, sorted(here, key=lambda band: BANDS.index(band["band"])))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, lambda temporary: figure.savefig(temporary, format=file.suffix[1:]))


def _violins(panel: Any, bands: Sequence[Mapping[str, Any]]) -> None:
    if not bands:
        panel.set_visible(False)  # the experiment has no such iteration
        return
    places = range(1, len(bands) + 1)
    # A violin needs two points; a band with one task has only its dot.
    drawn = [(place, band["deliberation_rates"]) for place, band in zip(places, bands, strict=True)]
    drawn = [(place, rates) for place, rates in drawn if len(set(rates)) > 1]
    if drawn:
        at, rates = zip(*drawn, strict=True)
        for body in panel.violinplot(rates, at, widths=0.8, showextrema=False)["bodies"]:
            body.set(facecolor="0.75", edgecolor="0.3", alpha=1)
    for place, band in zip(places, bands, strict=True):
        low, high = band["deliberation_quartiles"]
        panel.vlines(place, low, high, color="0.2", linewidth=4)
        panel.plot(place, band["deliberation_median"], "o", color="white", markeredgecolor="black")
    panel.set_xlim(0.4, len(bands) + 0.6)
    panel.set_xticks(
        list(places),
        [f"{b['band']}\nmedian {b['deliberation_median']:.2f}\n{b['tasks']} tasks" for b in bands],
    )
