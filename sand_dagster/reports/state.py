"""The experiments of a report: what they are, and how far each stage is."""

from __future__ import annotations

from collections.abc import Sequence

from sand_dagster.artifacts.partitions import partitions
from sand_dagster.evaluation.played_with import stored_played_with
from sand_dagster.reports.subjects import Subject
from sand_dagster.reports.table import Cell, Column, Table, Unit


def experiments(subjects: Sequence[Subject]) -> Table:
    """What each experiment is, and what its tasks are played with if they name that."""
    played = [stored_played_with(each.store) for each in subjects]
    return Table(
        "experiments",
        "Experiments",
        "What is compared. The experiment's file has every setting.",
        (
            *(Column(name) for name in ("experiment", "environment", "base model", "variant")),
            Column("seed", Unit.COUNT),
            Column("evaluated iterations"),
            *([Column("played with")] if any(played) else []),
            Column("description"),
        ),
        [
            [
                each.name,
                each.experiment.environment.kind,
                # Of a folder only its name: a report is passed on, and says nothing of the machine.
                each.experiment.model.base.rpartition("/")[2]
                if each.experiment.model.base.startswith(("/", "~", "."))
                else each.experiment.model.base,
                each.experiment.variant,
                each.experiment.seed,
                ", ".join(each.episodes) or "none",
                *([said] if any(played) else []),
                each.experiment.description.replace("`", ""),
            ]
            for each, said in zip(subjects, played, strict=True)
        ],
    )


def stages(subjects: Sequence[Subject]) -> Table:
    """Every partition that was begun, with its state."""
    rows: list[list[Cell]] = []
    for subject in subjects:
        for each in partitions(subject.store):
            writing = each.state != "complete" and subject.store.being_written(each.table, each.iteration)
            rows.append(
                [
                    subject.name,
                    each.iteration,
                    each.table,
                    "being written" if writing else each.state,
                    each.rows,
                    each.journalled,
                    each.content_hash[:12] if each.content_hash else None,
                    f"{each.created_at:%Y-%m-%d %H:%M}" if each.created_at else None,
                ]
            )
    return Table(
        "stages",
        "Stages",
        "Every partition that was begun. Journal: finished units (a step's samples, a rollout, a critique, "
        "an episode) that are kept. Written: in UTC.",
        (
            *(Column(name) for name in ("experiment", "iteration", "table", "state")),
            Column("rows", Unit.COUNT),
            Column("journal", Unit.COUNT),
            Column("content"),
            Column("written"),
        ),
        rows,
    )
