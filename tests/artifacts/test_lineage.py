"""Lineage across two iterations: what a row was made from, what was made from it, and ids without a row."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from sand_dagster.artifacts.ancestry import Family, family, render
from sand_dagster.artifacts.history import Version, versions
from sand_dagster.artifacts.lineage import Lineage, LineageError, Node
from sand_dagster.artifacts.orphans import orphans
from sand_dagster.artifacts.sql import Database
from sand_dagster.artifacts.store import ArtifactStore
from tests.artifacts.experiment import two_iterations, write
from tests.artifacts.rows import row


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("it's [a] home?*")
    two_iterations(home)
    return home


@pytest.fixture(scope="module")
def lineage(home: Path) -> Lineage:
    return Lineage(home, "household")


def test_views_show_all_iterations_and_take_parameters(lineage: Lineage) -> None:
    scores = lineage.query(
        "SELECT iteration, average_reward FROM eval_scores WHERE split = $1 ORDER BY iteration", ["seen"]
    )
    assert scores.rows() == [("00", 0.25), ("01", 1.25)]
    tasks = lineage.query("SELECT task_id, iteration FROM tasks ORDER BY ALL")
    assert tasks.rows() == [("t0", None), ("t1", None)]
    links = lineage.query("SELECT parent_id FROM links WHERE child_id = 's10' AND parent_table = 'critiques'")
    assert sorted(links["parent_id"]) == ["q1", "q2"]


def test_tables_and_columns_say_in_sql_what_they_hold(lineage: Lineage) -> None:
    of_columns = "SELECT comment FROM duckdb_columns() WHERE table_name = $1 AND column_name = $2"
    assert lineage.query(of_columns, ["rollouts", "reward"]).item() == "r_t: final reward in [0, 1]"
    assert lineage.query(of_columns, ["rollouts", "steps"]).item() == "ê_t: the candidate's step, then π_k's"
    of_tables = "SELECT comment FROM duckdb_views() WHERE view_name = 'critiques'"
    assert lineage.query(of_tables).item() == "a candidate's critique c_t"
    silent = "SELECT column_name FROM duckdb_columns() WHERE comment IS NULL AND table_name = ANY($1)"
    assert lineage.query(silent, [list(lineage.tables)]).is_empty()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("COPY tasks TO '/tmp/tasks.csv'", "one SELECT"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("SET threads = 1", "one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "Permission"),
        ("SELECT * FROM nothing", r"nothing does not exist[\s\S]*Tables of experiment household: tasks, "),
        ("SELEC", "syntax error"),
    ],
)
def test_only_one_select_over_the_tables_is_answered(lineage: Lineage, sql: str, message: str) -> None:
    with pytest.raises(LineageError, match=message):
        lineage.query(sql)


def test_parents_are_looked_for_where_the_schema_says(lineage: Lineage) -> None:
    def parents(id: str) -> set[tuple[str, Node]]:
        return {(link.column, link.parent) for link in lineage.parents(lineage.node(id))}

    assert parents("s10") == {
        ("task_id", Node("tasks", None, "t0")),
        ("parent_step_id", Node("expert_trajectories", "01", "d10")),
        ("candidate_ids", Node("candidate_actions", "01", "a1")),
        ("candidate_ids", Node("candidate_actions", "01", "a2")),
        ("critique_ids", Node("critiques", "01", "q1")),
        ("critique_ids", Node("critiques", "01", "q2")),
        ("model_id", Node("base_model", None, "base")),
    }
    assert parents("p1") == {("checkpoint_id", Node("checkpoints", "00", "c00"))}
    assert parents("p0") == {("model_id", Node("base_model", None, "base"))}
    assert ("parent_step_id", Node("expert_data", None, "e0")) in parents("d10")


def test_a_score_comes_from_everything_that_had_a_part_in_it(lineage: Lineage) -> None:
    ancestors = {Node(*found) for found in lineage.ancestors(lineage.node("x01")).iter_rows()}
    everything = {
        *(Node("tasks", None, id) for id in ("t0", "t1")),
        *(Node("expert_data", None, id) for id in ("e0", "e1")),
        Node("base_model", None, "base"),
        *(Node("expert_trajectories", "00", id) for id in ("d00", "d01")),
        *(Node("expert_trajectories", "01", id) for id in ("d10", "d11")),
        Node("policy", "00", "p0"),
        Node("policy", "01", "p1"),
        *(Node("candidate_actions", "01", id) for id in ("a1", "a2")),
        *(Node("rollouts", "01", id) for id in ("r1", "r2")),
        *(Node("critiques", "01", id) for id in ("q1", "q2")),
        *(Node("deliberation_trajectories", "01", id) for id in ("s10", "s11")),
        Node("checkpoints", "00", "c00"),
        Node("checkpoints", "01", "c01"),
        *(Node("eval_episodes", "01", f"v01{n}") for n in range(5)),
    }
    assert ancestors == everything
    first = {Node(*found) for found in lineage.ancestors(lineage.node("x00")).iter_rows()}
    assert not any(node.iteration == "01" for node in first)


def test_descendants_cross_into_the_next_iteration(lineage: Lineage) -> None:
    of_rollout = lineage.descendants(lineage.node("r2"))
    assert set(of_rollout["table"]) == {
        "critiques",
        "deliberation_trajectories",
        "checkpoints",
        "eval_episodes",
        "eval_scores",
    }
    of_first_step = lineage.descendants(lineage.node("d00"))
    assert {("policy", "01", "p1"), ("eval_scores", "01", "x01")} <= set(of_first_step.iter_rows())
    assert lineage.descendants(lineage.node("x01")).is_empty()


def walk(tree: Family) -> list[Family]:
    return [tree] + [below for branch in tree.branches for node in branch.nodes for below in walk(node)]


def test_the_tree_opens_every_row_once_and_no_more_than_its_width(lineage: Lineage) -> None:
    tree = family(lineage, lineage.node("x01"), width=2)
    episodes = next(branch for branch in tree.branches if branch.table == "eval_episodes")
    assert (episodes.total, [n.node.id for n in episodes.nodes]) == (5, ["v010", "v011"])
    opened = [member.node for member in walk(tree) if member.branches]
    assert len(opened) == len(set(opened))
    assert {"e0", "base", "c00", "r2"} <= {node.id for node in (member.node for member in walk(tree))}
    assert next(m for m in walk(tree) if m.node.id == "r2").labels == {"reward": 1.0, "ended": "done"}
    assert tree.as_json()["branches"][-1]["total"] in (1, 5)


def test_the_rendered_tree_counts_what_it_leaves_out(lineage: Lineage) -> None:
    console = Console(file=StringIO(), width=200)
    console.print(render(lineage, family(lineage, lineage.node("x01"), width=2)))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "eval_scores[01] x01" in text
    assert "5 eval_episodes" in text and "… and 3 more" in text
    assert "2 tasks, 2 expert_data, 1 base_model, 4 expert_trajectories" in text
    assert "action go to [stove 1]" in text
    assert len(text.splitlines()) < 60


def test_an_unknown_id_is_an_error_that_says_where_it_looked(lineage: Lineage) -> None:
    with pytest.raises(LineageError, match=r"no row with the id 'nope'; complete tables: tasks, "):
        lineage.node("nope")
    with pytest.raises(LineageError, match="in iteration 00"):
        lineage.node("a1", iteration="00")


def test_orphans_are_ids_without_a_row_in_any_of_the_tables(tmp_path: Path, lineage: Lineage) -> None:
    assert orphans(lineage.database).is_empty()
    store = two_iterations(tmp_path)
    write(store, "rollouts", "01", [row("rollouts", "r1", candidate_id="a1", policy_id="p9")])
    write(store, "policy", "01", [row("policy", "p1", checkpoint_id="c01", model_id="m00")])
    found = orphans(Database(tmp_path, "household"))
    assert set(found.iter_rows()) == {
        ("policy", "01", "p1", "checkpoint_id", "c01"),
        ("rollouts", "01", "r1", "policy_id", "p9"),
        ("critiques", "01", "q2", "rollout_id", "r2"),
    }
    narrowed = orphans(Database(tmp_path, "household"), "critiques", "01")
    assert narrowed.rows() == [("critiques", "01", "q2", "rollout_id", "r2")]
    assert orphans(Database(tmp_path, "household"), "critiques", "00").is_empty()


def test_what_is_not_complete_is_not_shown(tmp_path: Path) -> None:
    store = two_iterations(tmp_path)
    (store.folder("eval_scores", "01") / "manifest.json").unlink()
    (store.folder("base_model", None) / "manifest.json").unlink()
    lineage = Lineage(tmp_path, "household")
    assert lineage.query("SELECT iteration FROM eval_scores").rows() == [("00",)]
    with pytest.raises(LineageError, match="base_model does not exist"):
        lineage.query("SELECT * FROM base_model")
    (store.folder("policy", "01") / "manifest.json").unlink()
    assert set(orphans(Database(tmp_path, "household"))["missing"]) == {"p1"}


@pytest.mark.parametrize("name", ["keys.arrow", "links.arrow"])
@pytest.mark.parametrize("of_earlier", [False, True], ids=["now", "earlier"])
def test_damaged_links_are_not_read(tmp_path: Path, name: str, of_earlier: bool) -> None:
    store = two_iterations(tmp_path)
    if of_earlier:
        write(store, "rollouts", "01", [row("rollouts", "r9", candidate_id="a9")])
    version = versions(store.folder("rollouts", "01"))[0]
    answer = Lineage(tmp_path, "household").descendants(Node("rollouts", "01", "r2", "", _short(version)))
    file = version.file.with_name(f"{version.manifest.links[name]}.arrow" if of_earlier else name)
    whole = file.read_bytes()
    for place in range(0, len(whole), 97):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        lineage = Lineage(tmp_path, "household")
        node = Node("rollouts", "01", "r2", "", _short(version))
        assert lineage.descendants(node).equals(answer)
        assert lineage.complete("r2") == "r2"


def _short(version: Version) -> str:
    return "" if version.current else version.manifest.content_hash[:8]


def test_what_was_just_written_is_read_without_hashing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_iterations(tmp_path)

    def hashed(path: Path) -> str:
        raise AssertionError(f"{path} was hashed again")

    monkeypatch.setattr("sand_dagster.fingerprints.file_digest", hashed)
    lineage = Lineage(tmp_path, "household")
    assert len(lineage.ancestors(lineage.node("x01"))) > 20
    version = versions(tmp_path / "household/rollouts/iteration=01")[0]
    assert version.links().row("r2") == 1


def test_an_experiment_without_data_has_no_tables(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path, "household")
    assert lineage.tables == ()
    assert lineage.find("a1") == [] and orphans(lineage.database).is_empty()
    assert ArtifactStore(tmp_path, "household").iterations("rollouts") == []
