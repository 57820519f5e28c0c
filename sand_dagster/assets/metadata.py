"""What a person wants to see of a materialisation: counts, a few rows, an example, a picture."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import polars as pl

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.schemas import TABLES, Table
from sand_dagster.artifacts.store import DATA, ArtifactStore
from sand_dagster.assets.definition import Source, Where
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.models.neutral import EXTENDED, NEUTRAL
from sand_dagster.models.stats import GenerationStats
from sand_dagster.outcomes import ReplyOutcome
from sand_dagster.prompts.turns import render_history, render_rollout, render_turn
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow
from sand_dagster.rows.evaluation import EpisodeRow
from sand_dagster.rows.explorations import ExplorationRow
from sand_dagster.rows.plain import plain, typed
from sand_dagster.rows.row import Row
from sand_dagster.rows.search import SearchEpisodeRow
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow, ExpertRow, StepRow

R = TypeVar("R", bound=Row)

_PREVIEW_ROWS = 3
_PREVIEW_COLUMNS = 7
_PREVIEW_WIDTH = 80
_IDS = ("_id", "_hash")
_TAG_WIDTH = 63
_EXAMPLE_WIDTH = 4000


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns with their descriptions."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name, str(column.dtype), description=column.description)
            for name, column in table.columns.items()
        ]
    )


def column_parents(table: Table, sources: Sequence[Source]) -> dict[str, list[tuple[str, str, str]]]:
    """Experiment, table and column that the ids in each of a table's columns come from."""
    experiments = {(source.table, source.where is Where.PREVIOUS): source.experiment for source in sources}
    parents = {
        name: [
            (experiments[parent.table, parent.previous], parent.table, TABLES[parent.table].key)
            for parent in found
            if (parent.table, parent.previous) in experiments
        ]
        for name, found in table.parents.items()
    }
    return {name: found for name, found in parents.items() if found}


def column_lineage(table: Table, sources: Sequence[Source]) -> dict[str, Any]:
    """Which columns of which tables the ids in a table's columns are, in Dagster's terms."""
    known = {
        name: [dg.TableColumnDep(dg.AssetKey([owner, parent]), column) for owner, parent, column in found]
        for name, found in column_parents(table, sources).items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(known)} if known else {}


def tags_of(experiment: Experiment) -> dict[str, str]:
    """What the UI's asset search can filter by."""
    labels = {
        "experiment": experiment.name,
        "variant": experiment.variant,
        "seed": str(experiment.seed),
        "environment": experiment.environment.kind,
        "model": Path(experiment.model.base).name,
    }
    # A tag holds no more than these characters.
    return {
        f"sand/{name}": re.sub(r"[^A-Za-z0-9_.-]", "_", value)[:_TAG_WIDTH] for name, value in labels.items()
    }


def work(reused: int, total: int) -> dict[str, str]:
    """How a stage with units came by its rows, and how to have them all done again."""
    units = {"units": f"{reused} reused, {total - reused} done now"}
    if reused:
        units["do_again"] = (
            "Units that were finished before were taken from the journal. To have all of them done again, "
            "open Materialize's menu, Open launchpad, and set `fresh: true`; on the command line, "
            "`sand run` has `--fresh`."
        )
    return units


def refused_sampling(generated: Sequence[GenerationStats]) -> dict[str, int]:
    """The count of requests that a server took only without some of the sampling's fields; empty if none."""
    requests = sum(each.standard_only for each in generated)
    return {"standard_sampling_only": requests} if requests else {}


def sampling(generated: Sequence[GenerationStats]) -> dict[str, Any]:
    """What a stage's requests set besides temperature and seed, and what a server refused of it."""
    if not generated:
        return {}
    metadata: dict[str, Any] = {"sampling": dg.MetadataValue.json(dict(NEUTRAL))}
    if refused := refused_sampling(generated):
        requests = sum(each.requests for each in generated)
        metadata["sampling_refused"] = (
            f"{refused['standard_sampling_only']} of {requests} requests were made without "
            f"{', '.join(EXTENDED)}, which the server does not accept: its own defaults hold"
        )
    return metadata


def links(
    store: ArtifactStore, manifest: Manifest, sources: Sequence[Source], inputs: Mapping[str, Manifest]
) -> dict[str, Any]:
    """Where a partition's data lie, and which partitions it was made from, to click on.

    A parent's run is linked where it was another run than that which made the partition.
    """
    metadata: dict[str, Any] = {
        "file": dg.MetadataValue.path(store.folder(manifest.table, manifest.iteration) / DATA)
    }
    for source in sources:
        partition = f" {source.partition}" if source.partition else ""
        name = f"made from {source.table}{partition}"
        if source.experiment != store.experiment:
            name += f" of {source.experiment}"
        metadata[name] = dg.MetadataValue.asset(dg.AssetKey([source.experiment, source.table]))
        run_id = inputs[source.name].run_id
        if run_id != manifest.run_id:
            metadata[f"{name}, in run"] = dg.MetadataValue.dagster_run(run_id)
    return metadata


def describe(table: Table, rows: pl.LazyFrame, manifest: Manifest) -> dict[str, Any]:
    """The metadata that every asset has. Of `rows` only those that are shown are read."""
    metadata: dict[str, Any] = {
        "dagster/row_count": manifest.rows,
        **{name: _number(value) for name, value in manifest.counts.items()},
    }
    if manifest.rows:
        first = rows.head(_PREVIEW_ROWS).collect().to_dicts()
        metadata["lineage"] = f"sand lineage trace {first[0][table.key]} --experiment {manifest.experiment}"
        metadata["rows"] = _preview(table, first)
        if table.name in _EXAMPLES:
            example = _EXAMPLES[table.name](rows)[:_EXAMPLE_WIDTH]
            metadata["example"] = dg.MetadataValue.md(f"```text\n{example}\n```")
    return metadata | {
        "content_hash": manifest.content_hash,
        "identity": manifest.identity.key,
        "inputs": dg.MetadataValue.json(dict(manifest.inputs)),
    }


def picture(png: bytes, title: str) -> str:
    """A PNG as Markdown with the image inside it."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def readable(row: Row) -> str:
    """A row's texts, for the log of a trial."""
    shown = {
        name: value
        for name, value in plain(row).items()
        if value not in ("", (), None) and not name.endswith("_id")
    }
    return "\n".join(f"{name}: {_cell(value)}" for name, value in shown.items())


def _number(value: int | float) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)


def _preview(table: Table, rows: list[dict[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a table that fits a page: the columns that can be read first, the row's id last."""
    shown = [
        name
        for name in table.columns
        if not isinstance(rows[0][name], list) and name != table.key and not name.endswith(_IDS)
    ]
    names = [*sorted(shown, key=lambda name: not _is_text(rows, name))[:_PREVIEW_COLUMNS], table.key]
    records = [dg.TableRecord({name: _value(row[name]) for name in names}) for row in rows]
    columns = [dg.TableColumn(name, description=table.columns[name].description) for name in names]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def _is_text(rows: list[dict[str, Any]], name: str) -> bool:
    return any(isinstance(row[name], str) and " " in row[name] for row in rows)


def _value(value: object) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, int | float | bool) else _cell(value)


def _cell(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _PREVIEW_WIDTH else text[: _PREVIEW_WIDTH - 1] + "…"


def _first(kind: type[R], rows: pl.LazyFrame) -> R | None:
    """The first of `rows`, of a `kind`; None where there is none."""
    return next(iter(_typed(kind, rows.head(1))), None)


def _with_first(kind: type[R], rows: pl.LazyFrame, column: str) -> list[R]:
    """The rows that have the first row's value in `column`."""
    value = rows.select(column).head(1).collect().item()
    return _typed(kind, rows.filter(pl.col(column) == value))


def _typed(kind: type[R], rows: pl.LazyFrame) -> list[R]:
    return [typed(kind, values) for values in rows.collect().iter_rows(named=True)]


def _first_trajectory(kind: type[StepRow], rows: pl.LazyFrame) -> str:
    steps = _with_first(kind, rows, "trajectory_id")
    history = render_history([row.step for row in steps])
    return f"{steps[0].instruction}\n\n{history}\n\nreward {steps[0].reward:g}"


def _first_deliberation(rows: pl.LazyFrame) -> str:
    first = _first(DeliberationRow, rows.filter(pl.col("outcome") == ReplyOutcome.OK))
    return render_turn(first.thought, first.action) if first else _first_trajectory(DeliberationRow, rows)


def _first_set(rows: pl.LazyFrame) -> str:
    deliberating = rows.filter("deliberates")
    some = _first(CandidateRow, deliberating) is not None
    return "\n".join(
        f"{row.votes} votes  {row.action}{'  (the expert)' if row.is_expert else ''}"
        for row in _with_first(CandidateRow, deliberating if some else rows, "step_id")
    )


def _first_played(
    kind: type[RolloutRow] | type[ExplorationRow] | type[EpisodeRow] | type[SearchEpisodeRow],
    rows: pl.LazyFrame,
) -> str:
    first = _first(kind, rows)
    return render_rollout([turn.step for turn in first.steps], first.reward) if first else ""


def _first_critique(rows: pl.LazyFrame) -> str:
    first = _first(CritiqueRow, rows.filter(pl.col("outcome") == ReplyOutcome.OK))
    return first.critique if first else ""


_EXAMPLES: dict[str, Callable[[pl.LazyFrame], str]] = {
    "expert_data": partial(_first_trajectory, ExpertRow),
    "expert_trajectories": partial(_first_trajectory, DemonstrationRow),
    "candidate_actions": _first_set,
    "rollouts": partial(_first_played, RolloutRow),
    "critiques": _first_critique,
    "deliberation_trajectories": _first_deliberation,
    "explorations": partial(_first_played, ExplorationRow),
    "eval_episodes": partial(_first_played, EpisodeRow),
    "search_episodes": partial(_first_played, SearchEpisodeRow),
}
