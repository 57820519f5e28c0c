"""When tables are made again, the inputs of earlier scores are kept: they can be traced, compared, and
removed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sand_dagster.artifacts.history import all_versions, as_of, versions
from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.lineage import Lineage
from sand_dagster.artifacts.sql import Database
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.audit.asking import ask, questions
from sand_dagster.audit.cleaning import removals, remove
from sand_dagster.audit.differences import compare_iterations, compare_runs
from sand_dagster.audit.why import scores_of, why
from sand_dagster.errors import ArtifactError, TornArtifact
from sand_dagster.fingerprints import file_digest
from tests.artifacts.experiment import two_iterations, write
from tests.artifacts.rows import row
from tests.assets.pipeline import NAME, Pipeline


def test_an_earlier_version_is_whole_and_equal_files_are_one(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, "household")
    folder = store.folder("tasks", None)
    write(store, "tasks", None, [row("tasks", "a")])
    first = store.require("tasks", None)
    assert not (folder / "history").exists()
    write(store, "tasks", None, [row("tasks", "a"), row("tasks", "b")])
    write(store, "tasks", None, [row("tasks", "a"), row("tasks", "b")])
    kept = versions(folder)
    assert [v.manifest.rows for v in kept] == [1, 2, 2] and [v.current for v in kept] == [False, False, True]
    assert kept[0].manifest == first
    for version in kept:
        assert file_digest(version.data) == version.manifest.parquet_sha256
        assert version.data.stem in ("data", version.manifest.parquet_sha256)
    assert len(list((folder / "history").glob("*.parquet"))) == 2


def test_a_damaged_table_is_not_kept_when_it_is_made_again(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, "household")
    write(store, "tasks", None, [row("tasks", "a")])
    data = store.folder("tasks", None) / "data.parquet"
    data.write_bytes(data.read_bytes()[:-1])
    write(store, "tasks", None, [row("tasks", "a")])
    assert len(versions(store.folder("tasks", None))) == 1


def test_a_score_that_was_made_again_is_still_traced_to_what_it_stood_on(again: Pipeline) -> None:
    kept = all_versions(again.home, NAME)
    old, new = kept["eval_episodes", "01"][0], kept["eval_episodes", "01"][-1]
    assert old.manifest.content_hash != new.manifest.content_hash
    old_run = old.manifest.run_id
    then = as_of(again.home, NAME, old_run[:8])
    assert then["rollouts", "01"].manifest.run_id == old_run
    lineage = Lineage(again.home, NAME)
    at_that_time = Lineage(again.home, NAME, old_run)
    score = Database(again.home, NAME, old_run).query(
        "SELECT score_id FROM eval_scores WHERE iteration = '01' ORDER BY 1"
    )["score_id"][0]
    node = lineage.node(score)
    assert node.version and not at_that_time.node(score).version
    there = {each.id for each in lineage.reached(node, up=True)}
    assert there == {each.id for each in at_that_time.reached(at_that_time.node(score), up=True)}
    candidates = Database(again.home, NAME, old_run).query(
        "SELECT candidate_id FROM candidate_actions WHERE deliberates"
    )["candidate_id"]
    assert set(candidates) <= there
    # In the other direction, the candidate's scores are those made from it.
    used = scores_of(lineage, lineage.node(candidates[0]))
    assert score in {each.id for each in used} and all(each.version for each in used)


def test_a_run_that_is_not_kept_is_an_error_that_lists_those_that_are(again: Pipeline) -> None:
    with pytest.raises(ArtifactError, match="no table was written by a run with 'zz'; the runs"):
        as_of(again.home, NAME, "zz")


def test_clean_frees_only_what_no_score_needs(again: Pipeline) -> None:
    kept = all_versions(again.home, NAME)
    assert len(kept["eval_scores", "01"]) > 1
    assert removals(again.home, NAME, superseded=False, journals=False) == []
    # Sampled again, but later stages did not run: the candidates in between belong to no score.
    again.configure("seed: 8\n")
    again.materialise("candidate_actions", iteration="01")
    again.configure("seed: 9\n")
    again.materialise("candidate_actions", iteration="01")
    found = removals(again.home, NAME, superseded=False, journals=False)
    assert {each.path.suffix for each in found} == {".json", ".parquet", ".arrow"}
    assert all("candidate_actions" in str(each.path) for each in found)
    scores = all_versions(again.home, NAME)["eval_scores", "01"]
    remove(found)
    assert removals(again.home, NAME, superseded=False, journals=False) == []
    lineage = Lineage(again.home, NAME)
    for version in scores:
        score = lineage.find(version.links().keys[0])[0]
        assert {each.table for each in lineage.reached(score, up=True)} >= {"candidate_actions", "rollouts"}
    # Without the earlier scores, all their inputs can be removed, including their checkpoint's model.
    more = removals(again.home, NAME, superseded=True, journals=False)
    assert any(each.path.parent.name == "models" for each in more)
    remove(more)
    assert again.store.read("eval_scores", "01").height == 2
    assert [len(v) for v in all_versions(again.home, NAME).values() if len(v) > 1] == [] or all(
        version.current or version.data.exists()
        for there in all_versions(again.home, NAME).values()
        for version in there
    )
    journals = removals(again.home, NAME, superseded=True, journals=True)
    assert {each.path.name for each in journals} == {"journal.jsonl"}


def test_scores_of_a_search_are_scores(tmp_path: Path) -> None:
    store = two_iterations(tmp_path)
    made = {"checkpoints": store.require("checkpoints", "01")}
    searched = row("search_scores", "y1", checkpoint_id="c01", mode="vote", samples=2, split="seen")
    with store.writing("search_scores", "01", inputs=made, identity=Identity(), seed=0, run_id="r") as writer:
        writer.commit([searched], {})
    write(store, "checkpoints", "01", [row("checkpoints", "c99")])
    assert removals(tmp_path, "household", superseded=True, journals=False) == []
    lineage = Lineage(tmp_path, "household")
    trained_on = lineage.node("s10")
    assert {each.id for each in scores_of(lineage, trained_on)} == {"y1"}
    stale = ask(Database(tmp_path, "household"), questions(tmp_path)["stale_scores"], {})
    assert stale.select("scores", "iteration", "made_again").rows() == [
        ("search_scores", "01", "checkpoints")
    ]


@pytest.mark.parametrize("file", ["manifest.json", "data.parquet"])
def test_nothing_is_removed_while_it_is_not_known_what_a_score_needs(tmp_path: Path, file: str) -> None:
    store = two_iterations(tmp_path)
    write(store, "tasks", None, [row("tasks", "a")])
    assert removals(tmp_path, "household", superseded=False, journals=False)
    other = two_iterations(tmp_path, "other").folder("eval_scores", "01") / file
    other.write_bytes(other.read_bytes()[:-9])
    with pytest.raises(TornArtifact, match=str(other)):
        removals(tmp_path, "household", superseded=False, journals=False)


def test_what_changed_between_two_runs(again: Pipeline) -> None:
    kept = all_versions(again.home, NAME)["eval_episodes", "01"]
    old, new = (version.manifest.run_id for version in (kept[0], kept[-1]))
    differences, outcomes = compare_runs(again.home, (NAME, old), (NAME, new))
    by_table = {each.table: each for each in differences}
    assert "config: seed 0 → 7" in by_table["candidate_actions"].made
    assert "tasks" not in by_table
    assert [len(o.won) + len(o.lost) + o.same for o in outcomes] == [2, 2]


def test_what_changed_between_two_iterations(small: Pipeline) -> None:
    steps = compare_iterations(small.store, "deliberation_trajectories", "00", "01")
    assert not steps.equal and steps.changed
    change = steps.changed[0].columns
    before, after = change["deliberated"]
    assert (before, after) == (False, True) and "I can choose" in change["thought"][1]


def test_a_table_made_again_makes_the_scores_above_it_stale(again: Pipeline) -> None:
    again.configure("seed: 8\n")
    again.materialise("candidate_actions", iteration="01")
    stale = ask(Database(again.home, NAME), questions(again.home)["stale_scores"], {})
    assert stale.select("iteration", "made_again").rows() == [("01", "candidate_actions")]


def test_a_home_without_links_and_history_gives_the_same_answers(small: Pipeline, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(small.home, home)
    for file in (home / NAME).rglob("*.arrow"):
        file.unlink()
    new, old = Lineage(small.home, NAME), Lineage(home, NAME)
    score = small.store.read("eval_scores", "01")["score_id"][0]
    for up in (True, False):
        node = new.node(score) if up else new.node(small.store.read("expert_data", None)["step_id"][0])
        assert set(new.reached(node, up=up)) == set(old.reached(node, up=up)) != set()


def test_the_story_of_an_episode_names_its_checkpoints_and_what_they_learnt_from(small: Pipeline) -> None:
    lineage = Lineage(small.home, NAME)
    episode = small.store.read("eval_episodes", "01")["episode_id"][0]
    story = "\n".join(why(lineage, lineage.node(episode)))
    for iteration in ("00", "01"):
        checkpoint = small.store.read("checkpoints", iteration)["checkpoint_id"][0]
        assert f"checkpoint {checkpoint} of iteration {iteration}" in story
    deliberated = small.store.read("deliberation_trajectories", "01")["deliberated"].sum()
    assert f"{deliberated} of them with a deliberation" in story
    assert f"critiques that saw {small.store.read('rollouts', '01').height} rollouts" in story
