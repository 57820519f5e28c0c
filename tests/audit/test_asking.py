"""Every shipped question is answered on a finished experiment, and so is a user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from sand_dagster.artifacts.sql import Database, LineageError
from sand_dagster.audit.asking import ask, questions
from sand_dagster.audit.runs import extras
from tests.assets.pipeline import NAME, Pipeline

SHIPPED = sorted(questions(Path("nowhere")))


@pytest.fixture(scope="module")
def database(small: Pipeline) -> Database:
    return Database(small.home, NAME, extras=extras(small.home))


def test_there_are_as_many_as_were_promised() -> None:
    assert len(SHIPPED) >= 15


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_question_is_answered(database: Database, name: str) -> None:
    question = questions(database.home)[name]
    assert question.title and question.description
    frame = ask(database, question, {})
    assert frame.width > 1


def test_scores_are_what_their_episodes_give(database: Database) -> None:
    counted = ask(database, questions(database.home)["scores_recounted"], {})
    assert counted.height == 4 and counted["same"].all()


def test_a_users_question_takes_parameters(small: Pipeline, tmp_path: Path, database: Database) -> None:
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "mine.sql").write_text(
        '-- Mine\n-- Tasks of a split.\n-- $split = "seen": which\n-- $least = 1: how many\n'
        "SELECT split, count(*) AS n FROM tasks WHERE split = $split GROUP BY split HAVING count(*) >= $least"
    )
    mine = questions(tmp_path)["mine"]
    assert (mine.own, mine.title, mine.parameters["split"].default) == (True, "Mine", "seen")
    assert ask(database, mine, {}).rows() == [("seen", 1)]
    assert ask(database, mine, {"split": "train", "least": "2"}).rows() == []
    assert ask(database, mine, {"split": "' OR true --"}).rows() == []
    with pytest.raises(LineageError, match=r"least is not JSON: 'many'"):
        ask(database, mine, {"least": "many"})
    with pytest.raises(LineageError, match="has no parameter nothing; split, least"):
        ask(database, mine, {"nothing": "1"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "start with a comment: a title"),
        ("-- Only a title\nSELECT 1", "start with a comment: a title"),
        ("-- A\n-- b\n-- $x = nothing: what\nSELECT $x", "value of x is not JSON"),
    ],
)
def test_a_question_without_a_head_is_an_error_that_names_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "bad.sql").write_text(text)
    with pytest.raises(LineageError, match=f"bad.sql.*{message}"):
        questions(tmp_path)


def test_a_question_cannot_do_more_than_ask(tmp_path: Path, database: Database) -> None:
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "bad.sql").write_text("-- A\n-- b\nCOPY tasks TO '/tmp/x.csv'")
    with pytest.raises(LineageError, match="one SELECT"):
        ask(database, questions(tmp_path)["bad"], {})
