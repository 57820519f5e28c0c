"""Traces and aggregates over many rows: a generated experiment, and a new process for each question."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from rich.table import Table as Drawing

from sand_dagster.artifacts.ancestry import Direction, Family, family, render
from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.lineage import Lineage
from sand_dagster.artifacts.links import write_links
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.sql import Database
from sand_dagster.artifacts.store import DATA, MANIFEST, ArtifactStore
from sand_dagster.audit.asking import ask, questions
from sand_dagster.fingerprints import written_digest

NAME = "many-rows"
ITERATIONS, CANDIDATES, STEPS, TESTED = 5, 3, 12, 400
"""Iterations, candidates a step, steps a trajectory, evaluated tasks."""

TRACE_S, AGGREGATE_S, MEMORY_MB = 2.0, 5.0, 2000
"""The targets."""

_ROW_GROUP = 512
_CRITIQUE = "At this point the step is valid and brings me nearer to what the task asks for. "
_AGGREGATES = ("cost_by_stage", "level_rewards", "votes_against_rewards", "retries")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """One question: seconds from opening the home to the answer, and the process's largest memory in MB."""

    question: str
    seconds: float
    processor_seconds: float
    """The processor time in that time; on a busy machine the rest is waiting."""
    target_seconds: float
    peak_mb: int
    found: int

    @property
    def met(self) -> bool:
        return self.seconds <= self.target_seconds and self.peak_mb <= MEMORY_MB


@dataclass(frozen=True, slots=True)
class Scale:
    """What `sand bench lineage` gives."""

    rows: int
    data_mb: int
    links_mb: int
    links_seconds: float
    """Seconds to sort and write the links of all partitions."""
    measured: list[Measured]

    @property
    def met(self) -> bool:
        """Whether every question was answered in its time and memory."""
        return all(each.met for each in self.measured)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "targets_met": self.met}

    def render(self) -> Drawing:
        links = f"links {self.links_mb} MB, written in {self.links_seconds:.0f} s"
        title = f"{self.rows:,} rows, {self.data_mb} MB; {links}"
        table = Drawing(title=title, title_justify="left")
        for column in ("question", "seconds", "processor seconds", "at most", "peak MB", "rows shown"):
            table.add_column(column, justify="left" if column == "question" else "right")
        for each in self.measured:
            table.add_row(
                each.question,
                f"{each.seconds:.2f}",
                f"{each.processor_seconds:.2f}",
                f"{each.target_seconds:g}",
                str(each.peak_mb),
                str(each.found),
            )
        return table


def run(rows: int, folder: Path, progress: Progress) -> Scale:
    """Generate about `rows` rows below `folder`, and measure over them."""
    written, links_seconds = generate(rows, folder, progress)
    partitions = [path.parent for path in (folder / NAME).rglob(MANIFEST)]
    asked: list[tuple[str, float, str, Any]] = [
        ("trace a score", TRACE_S, "trace", ("eval_scores", ITERATIONS - 1, "ancestors")),
        (
            "trace a deliberation",
            TRACE_S,
            "trace",
            ("deliberation_trajectories", ITERATIONS - 1, "ancestors"),
        ),
        ("trace a candidate down", TRACE_S, "trace", ("candidate_actions", 1, "descendants")),
        ("trace an expert's step down", TRACE_S, "trace", ("expert_data", None, "descendants")),
        *((f"ask {name}", AGGREGATE_S, "ask", name) for name in _AGGREGATES),
    ]
    measured = []
    for name, target, kind, about in asked:
        # In a separate process, so that its memory is that of this question alone.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            seconds, computed, peak, found = pool.submit(_measure, folder, kind, about).result()
        measured.append(Measured(name, round(seconds, 3), round(computed, 3), target, peak, found))
    return Scale(
        written,
        _megabytes(path / DATA for path in partitions),
        _megabytes(file for path in partitions for file in path.glob("*.arrow")),
        round(links_seconds, 1),
        measured,
    )


def _megabytes(files: Any) -> int:
    return int(sum(file.stat().st_size for file in files) // 1_000_000)


def _measure(folder: Path, kind: str, about: Any) -> tuple[float, float, int, int]:
    """Seconds, those of the processor, peak memory in MB, and how many rows were shown."""
    clock = time.process_time
    if kind == "trace":
        table, iteration, direction = about
        place = None if iteration is None else f"{iteration:02}"
        file = ArtifactStore(folder, NAME).folder(table, place) / DATA
        id = pl.scan_parquet(file).select(TABLES[table].key).head(1).collect().item()
        started, computing = time.perf_counter(), clock()
        found = _trace(folder, id, direction)
    else:
        started, computing = time.perf_counter(), clock()
        found = ask(Database(folder, NAME), questions(folder)[about], {}).height
    seconds, computed = time.perf_counter() - started, clock() - computing
    return seconds, computed, _peak_mb(), found


def _peak_mb() -> int:
    # Linux's `ru_maxrss` includes the parent's memory at the fork; this figure does not.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1000


def _trace(folder: Path, id: str, direction: Direction) -> int:
    lineage = Lineage(folder, NAME)
    # A prefix, as a person types it.
    tree = family(lineage, lineage.node(id[:12]), direction)
    render(lineage, tree, direction)
    return _drawn(tree)


def _drawn(tree: Family) -> int:
    return 1 + sum(_drawn(below) for branch in tree.branches for below in branch.nodes)


def generate(rows: int, folder: Path, progress: Progress) -> tuple[int, float]:
    """Write an experiment of about `rows` rows; returns their number, and the seconds that the links took."""
    a_step = 1 + ITERATIONS * 2 + (ITERATIONS - 1) * 3 * CANDIDATES
    steps = max(rows // a_step // STEPS, 1) * STEPS
    connection = duckdb.connect(":memory:")
    connection.execute("SET enable_progress_bar = false")
    store = ArtifactStore(folder, NAME)
    total, links_seconds = 0, 0.0
    selects = list(_selects(steps))
    for done, (table, iteration, sql) in enumerate(selects, start=1):
        schema = TABLES[table].schema
        frame = connection.sql(sql).pl()
        blank = [_blank(name, dtype) for name, dtype in schema.items() if name not in frame.columns]
        frame = frame.with_columns(blank).select([pl.col(name).cast(dtype) for name, dtype in schema.items()])
        total += frame.height
        links_seconds += _write(store, table, iteration, frame)
        progress(done, len(selects))
    return total, links_seconds


def _blank(name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.lit(pl.Series([[]], dtype=dtype)).first().alias(name)
    value = {pl.String: "", pl.Int64: 0, pl.Float64: 0.0, pl.Boolean: False}[type(dtype)]
    return pl.lit(value, dtype).alias(name)


def _write(store: ArtifactStore, table: str, iteration: str | None, frame: pl.DataFrame) -> float:
    from pyarrow.parquet import write_table

    folder = store.folder(table, iteration)
    folder.mkdir(parents=True, exist_ok=True)
    arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    write_table(arrow, folder / DATA, row_group_size=_ROW_GROUP, compression="zstd", compression_level=3)
    sha256 = written_digest(folder / DATA)
    started = time.perf_counter()
    links = write_links(folder, TABLES[table], folder / DATA)
    seconds = time.perf_counter() - started
    Manifest(
        table=table,
        experiment=NAME,
        iteration=iteration,
        rows=frame.height,
        content_hash=sha256,
        parquet_sha256=sha256,
        links=links,
        inputs={},
        identity=Identity(),
        versions={},
        run_id="bench",
        seed=0,
        counts={},
        created_at=datetime.now(UTC),
    ).save(folder / MANIFEST)
    return seconds


def _id(letter: str, number: str, iteration: int | str = "") -> str:
    return f"left(md5('{letter}{iteration} ' || {number}), 16)"


def _selects(steps: int) -> Any:
    """Table, iteration and the SQL that makes its rows, in the pipeline's order; `n` counts steps."""
    trajectory = f"(n // {STEPS})"
    common = (
        f"{_id('j', trajectory)} AS trajectory_id, 'train/' || {trajectory} AS task_id, "
        f"n % {STEPS} AS \"index\", 'put a mug on the desk' AS instruction, "
        "'I look for a mug, then for the desk, step ' || n AS thought, "
        "'go to desk ' || n % 9 AS action, 'On the desk you see a mug.' AS observation, 1.0 AS reward, "
        "'expert' AS origin"
    )
    every = f"FROM range({steps}) AS t(n)"
    trained = f"FROM range({steps // STEPS}) AS t(n)"
    tasks = f"SELECT 'train/' || n AS task_id, 'train' AS split, 'put' AS kind {trained}"
    tested = f"SELECT 'seen/' || n, 'seen', 'put' FROM range({TESTED}) AS t(n)"
    yield "tasks", None, f"{tasks} UNION ALL {tested}"
    yield "base_model", None, "SELECT 'f0' AS file_id, 'base' AS model_id, 'config.json' AS file"
    yield "expert_data", None, f"SELECT {_id('e', 'n')} AS step_id, {common} {every}"
    for k in range(ITERATIONS):
        key = f"{k:02}"
        before = _id("e", "n") if k == 0 else _id("d", "n", k - 1)
        yield (
            "expert_trajectories",
            key,
            f"SELECT {_id('x', 'n', k)} AS step_id, {common}, {before} AS parent_step_id {every}",
        )
        checkpoint = "''" if k == 0 else _id("k", "0", k - 1)
        yield (
            "policy",
            key,
            f"SELECT {_id('p', '0', k)} AS policy_id, {checkpoint} AS checkpoint_id, "
            f"{repr('base') if k == 0 else checkpoint} AS model_id",
        )
        if k:
            yield from _weighed(key, k, steps)
        yield "deliberation_trajectories", key, _deliberations(k, common, every)
        yield (
            "checkpoints",
            key,
            f"SELECT {_id('k', '0', k)} AS checkpoint_id, {_id('p', '0', k)} AS policy_id, "
            f"(SELECT list({_id('d', 'n', k)} ORDER BY n) {every}) AS step_ids, "
            f"{_id('k', '0', k)} AS model_id",
        )
        episode = _id("v", "n", k)
        yield (
            "eval_episodes",
            key,
            f"SELECT {episode} AS episode_id, {_id('k', '0', k)} AS checkpoint_id, 'seen/' || n AS task_id, "
            f"'seen' AS split, 'put' AS kind, 1.0 AS reward, 'done' AS ended, 50 AS completion_tokens "
            f"FROM range({TESTED}) AS t(n)",
        )
        yield (
            "eval_scores",
            key,
            f"SELECT {_id('s', '0', k)} AS score_id, {_id('k', '0', k)} AS checkpoint_id, 'seen' AS split, "
            f"(SELECT list({episode} ORDER BY n) FROM range({TESTED}) AS t(n)) AS episode_ids, "
            f"{TESTED} AS tasks",
        )


def _weighed(key: str, k: int, steps: int) -> Any:
    """Candidates, rollouts and critiques; `n` counts candidates."""
    step = f"(n // {CANDIDATES})"
    every = f"FROM range({steps * CANDIDATES}) AS t(n)"
    of_step = f"{_id('x', step, k)} AS step_id, 'train/' || ({step} // {STEPS}) AS task_id"
    policy = f"{_id('p', '0', k)} AS policy_id"
    yield (
        "candidate_actions",
        key,
        f"SELECT {_id('c', 'n', k)} AS candidate_id, {of_step}, {policy}, "
        f'{_id("j", f"({step} // {STEPS})")} AS trajectory_id, {step} % {STEPS} AS "index", '
        f"'go to desk ' || n % 9 AS action, n % {CANDIDATES} = 0 AS is_expert, n % 4 AS votes, "
        f"['Action: go to desk ' || n % 9] AS texts, true AS deliberates, 'ok' AS outcome {every}",
    )
    played = "{'thought': 'I look.', 'action': 'look', 'observation': 'You see a mug.', 'valid': true}"
    yield (
        "rollouts",
        key,
        f"SELECT {_id('r', 'n', k)} AS rollout_id, {_id('c', 'n', k)} AS candidate_id, {of_step}, {policy}, "
        f"[{played}, {played}] AS steps, (hash(n) % 2)::DOUBLE AS reward, 'done' AS ended, "
        f"300 AS prompt_tokens, 40 AS completion_tokens {every}",
    )
    yield (
        "critiques",
        key,
        f"SELECT {_id('q', 'n', k)} AS critique_id, {_id('c', 'n', k)} AS candidate_id, "
        f"{_id('r', 'n', k)} AS rollout_id, {_id('x', step, k)} AS step_id, 'base' AS model_id, "
        f"'{_CRITIQUE}' || n AS critique, 'ok' AS outcome, 'ok' AS first_outcome, 1 AS attempts, "
        f"md5('' || n) AS prompt_hash, 500 AS prompt_tokens, 60 AS completion_tokens {every}",
    )


def _deliberations(k: int, common: str, every: str) -> str:
    places = [f"n * {CANDIDATES} + {place}" for place in range(CANDIDATES)]
    candidates, critiques = (
        f"[{', '.join(_id(letter, f'({place})', k) for place in places)}]" if k else "[]::VARCHAR[]"
        for letter in "cq"
    )
    outcome = "ok" if k else "kept"
    return (
        f"SELECT {_id('d', 'n', k)} AS step_id, {common}, {_id('x', 'n', k)} AS parent_step_id, "
        f"{candidates} AS candidate_ids, {critiques} AS critique_ids, {k > 0} AS deliberated, "
        f"'base' AS model_id, '{outcome}' AS outcome, '{outcome}' AS first_outcome, "
        f"{min(k, 1)} AS attempts {every}"
    )
