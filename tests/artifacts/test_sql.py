"""SQL is confined, limited and described, and sees all experiments."""

from __future__ import annotations

from pathlib import Path

import pytest

from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.lineage import Lineage, LineageError
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.sql import Database
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.audit.runs import extras
from tests.artifacts.experiment import two_iterations, write
from tests.artifacts.rows import row


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    store = two_iterations(home)
    for table in ("explorations", "search_episodes", "search_scores"):  # of other experiments
        write(store, table, "01", [])
    two_iterations(home, "household-base")
    return home


def test_every_column_of_every_view_has_a_comment(home: Path) -> None:
    database = Database(home, "household", extras=extras(home))
    others = {"links", "left_out", "manifests", "inputs", "runs", "events"}
    database.query(f"SELECT 1 FROM {', '.join(sorted(others))}, everywhere.rollouts LIMIT 1")
    columns = database.query(
        "SELECT table_name, column_name, comment FROM duckdb_columns() "
        "WHERE NOT internal AND table_name NOT LIKE '% rows'"
    )
    assert {*TABLES, *others} <= set(columns["table_name"])
    assert columns.filter(columns["comment"].is_null()).rows() == []


def test_other_experiments_are_schemas_and_everywhere_is_all_of_them(home: Path) -> None:
    database = Database(home, "household")
    assert database.query('SELECT count(*) AS n FROM "household-base".rollouts')["n"][0] == 2
    found = database.query(
        "SELECT experiment, count(*) AS n FROM everywhere.rollouts GROUP BY ALL ORDER BY 1"
    )
    assert found.rows() == [("household", 2), ("household-base", 2)]


def test_a_query_ends_when_its_time_is_over(home: Path) -> None:
    with pytest.raises(LineageError, match=r"longer than 0\.2 s"):
        Database(home, "household", seconds=0.2).query("SELECT count(*) FROM range(100000000000) a")


def test_a_query_takes_no_more_memory_than_it_may(home: Path) -> None:
    with pytest.raises(LineageError, match="needs more memory"):
        Database(home, "household", memory="20MB").query("SELECT list(n) FROM range(50000000) t(n)")
    with pytest.raises(LineageError, match="limit of memory is a size such as 2GB"):
        Database(home, "household", memory="much")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT getenv('HOME')",
        "SELECT * FROM frame",
        "ATTACH '/tmp/x.db'",
    ],
)
def test_a_query_sees_the_tables_alone(home: Path, sql: str) -> None:
    with pytest.raises(LineageError):
        Database(home, "household").query(sql)


def test_what_was_left_out_says_why(home: Path) -> None:
    found = Database(home, "household").query('SELECT "table", id, reason FROM left_out ORDER BY ALL')
    assert ("expert_import", "i0", "refused_action") in found.rows()
    assert ("deliberation_trajectories", "s11", "not_needed") in found.rows()
    of_trainings = Database(home, "household").query(
        "SELECT iteration, id, what, trajectory_id, task_id FROM left_out WHERE \"table\" = 'checkpoints' "
        "ORDER BY ALL"
    )
    assert of_trainings.rows() == [
        (iteration, f"c{iteration}", *rest)
        for iteration in ("00", "01")
        for rest in [("conversation", "x7", ""), ("end of a conversation", "e", "t0")]
    ]


def test_ids_are_found_by_their_beginning_and_trajectories_by_theirs(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, "household")
    steps = [
        row("expert_data", f"aaaa{n}bbbb", trajectory_id="trajectory7", task_id="t", index=n) for n in (0, 1)
    ]
    write(store, "expert_data", None, steps)
    lineage = Lineage(tmp_path, "household")
    assert lineage.node("aaaa1").id == "aaaa1bbbb"
    assert lineage.node("trajectory7").id == "aaaa1bbbb" == lineage.node("traject").id
    with pytest.raises(LineageError, match="2 or more ids begin with 'aaaa': aaaa0bbbb, aaaa1bbbb"):
        lineage.node("aaaa")
    with pytest.raises(LineageError, match="no row with the id 'aaa'"):
        lineage.node("aaa")


def test_a_control_is_linked_to_what_it_was_measured_by(home: Path) -> None:
    store = ArtifactStore(home, "control")
    measured = ArtifactStore(home, "household").require("checkpoints", "01")

    with store.writing(
        "checkpoints",
        "01",
        inputs={"household/checkpoints": measured},
        identity=Identity(),
        seed=0,
        run_id="run",
    ) as writer:
        writer.commit([row("checkpoints", "k01")], {})
    control = Lineage(home, "control")
    (link,) = control.parents(control.node("k01"))
    assert (link.column, link.parent.experiment, link.parent.id) == ("control_for", "household", "c01")
    assert {"s10", "c00"} <= {each.id for each in control.reached(control.node("k01"), up=True)}
    experiment = Lineage(home, "household")
    below = experiment.reached(experiment.node("c01"), up=False)
    assert ("control", "k01") in {(each.experiment, each.id) for each in below}
