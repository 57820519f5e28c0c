"""The loss curve as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

from sand_dagster.training.job import Progress


def loss_curve(points: Sequence[Progress]) -> bytes:
    """A PNG of loss and learning rate over optimiser steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    steps = [point.step for point in points]
    marker = "o" if len(points) < 30 else ""
    loss = figure.add_subplot()
    loss.plot(steps, [point.loss for point in points], color="tab:blue", marker=marker, markersize=3)
    loss.set_xlabel("optimiser step")
    loss.set_ylabel("loss, nats per token", color="tab:blue")
    loss.grid(alpha=0.3)
    rate = loss.twinx()
    rate.plot(steps, [point.learning_rate for point in points], color="tab:orange", linestyle="--")
    rate.set_ylabel("learning rate", color="tab:orange")
    rate.set_ylim(bottom=0)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()
