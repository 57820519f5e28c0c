"""`sand data`: each subject arrives where the experiments look, or it is said which file goes where."""

from __future__ import annotations

import json
import lzma
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sand_dagster.cli import app
from sand_dagster.downloads import fetching, games, sources
from sand_dagster.downloads.checking import DownloadError
from sand_dagster.downloads.fetching import fetch
from sand_dagster.downloads.http import Report
from sand_dagster.downloads.shop import write_documents
from sand_dagster.downloads.sources import Subject
from sand_dagster.environments.scienceworld.options import INDEX_FILES
from sand_dagster.environments.webshop.catalogue import read_products
from sand_dagster.experiments.loading import load_experiment
from tests.downloads.server import FileServer, serving, sha256

SHARED = Path(os.environ.get("SAND_SHARED", Path(__file__).parents[3] / "shared")) / "data"
Sand = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(FileServer()) as started:
        yield started


@pytest.fixture
def sand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sand:
    monkeypatch.setenv("SAND_HOME", str(tmp_path / "home"))
    return lambda *arguments: CliRunner().invoke(app, [str(each) for each in arguments])


def _silent(name: str) -> Report:
    return lambda done, total: None


def _archive(folder: Path, members: dict[str, bytes]) -> bytes:
    path = folder / "made.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path.read_bytes()


def _games(*splits: str) -> dict[str, bytes]:
    return {f"json_2.1.1/{split}/look-a-None-b-1/trial_1/game.tw-pddl": b"{}" for split in splits}


def _serve(server: FileServer, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """The archive of games is on `server`, and has one game a split."""
    server.files["/games.zip"] = content
    served = replace(
        sources.ALFWORLD_ARCHIVE, url=f"{server.url}/games.zip", size=len(content), sha256=sha256(content)
    )
    monkeypatch.setattr(sources, "ALFWORLD_ARCHIVE", served)
    monkeypatch.setattr(games, "ALFWORLD_GAMES", dict.fromkeys(sources.ALFWORLD_GAMES, 1))


def test_the_games_are_unpacked_and_nothing_else_of_the_archive(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = {"../evil/x/trial_1/game.tw-pddl": b"", "/etc/a/b/c/game.tw-pddl": b"", "readme.txt": b""}
    odd = {"json_2.1.1/train/../../../game.tw-pddl": b"", "json_2.1.1/train/a/b/traj_data.json": b""}
    _serve(server, monkeypatch, _archive(tmp_path, {**_games(*sources.ALFWORLD_GAMES), **outside, **odd}))
    to = tmp_path / "to"
    (done,) = fetch(Subject.ALFWORLD, to, _silent)
    assert done.path == to / "json_2.1.1" and "train 1, valid_seen 1, valid_unseen 1" in done.checked
    assert sorted(str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()) == sorted(
        _games(*sources.ALFWORLD_GAMES)
    )
    (again,) = fetch(Subject.ALFWORLD, to, _silent)
    assert again.checked.startswith("was there") and len(server.asked) == 1


def test_an_archive_without_all_games_is_refused_and_leaves_no_games(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _serve(server, monkeypatch, _archive(tmp_path, _games("train", "valid_seen")))
    with pytest.raises(
        DownloadError, match=r"expected at least .* valid_unseen 1 games, found .* valid_unseen 0"
    ):
        list(fetch(Subject.ALFWORLD, tmp_path / "to", _silent))
    assert not (tmp_path / "to/json_2.1.1").exists()
    (tmp_path / "to/json_2.1.1").mkdir()
    with pytest.raises(DownloadError, match=r"has not all published games.*Move it away"):
        list(fetch(Subject.ALFWORLD, tmp_path / "to", _silent))


def test_a_damaged_archive_is_refused(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(_archive(tmp_path, _games(*sources.ALFWORLD_GAMES)))
    content[content.index(b"{}")] ^= 1
    _serve(server, monkeypatch, bytes(content))
    with pytest.raises(DownloadError, match="is damaged"):
        list(fetch(Subject.ALFWORLD, tmp_path / "to", _silent))


def test_the_index_files_are_read_where_they_are_put(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sand: Sand
) -> None:
    files = []
    for name in INDEX_FILES.values():
        content = json.dumps([["boil", 0]]).encode()
        server.files[f"/{name}"] = content
        files.append(
            sources.RemoteFile(
                f"{server.url}/{name}", f"scienceworld/{name}", "json", len(content), sha256(content)
            )
        )
    monkeypatch.setitem(fetching._SOURCES, Subject.SCIENCEWORLD, tuple(files))
    answer = sand("data", "download", "scienceworld", "--to", tmp_path)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.count("SHA-256 is that of the file that this project was tested with") == 3
    assert f"environment.indices: {tmp_path / 'scienceworld'}" in answer.stdout
    assert {path.name for path in (tmp_path / "scienceworld").iterdir()} == set(INDEX_FILES.values())


def test_offline_it_says_which_file_goes_where(
    sand: Sand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sources.RemoteFile("http://127.0.0.1:9/one.json", "one.json", "json")
    other = sources.RemoteFile("http://127.0.0.1:9/other.json", "other.json", "json")
    monkeypatch.setitem(fetching._SOURCES, Subject.SCIENCEWORLD, (one, other))
    monkeypatch.setattr("sand_dagster.downloads.http.time.sleep", lambda seconds: None)
    answer = sand("data", "download", "scienceworld", "--to", tmp_path / "größe")
    assert answer.exit_code == 1 and "Traceback" not in answer.output, answer.output
    for name in ("one.json", "other.json"):
        assert f"http://127.0.0.1:9/{name}\n    → {tmp_path / 'größe' / name}" in answer.stderr
    (tmp_path / "größe" / "one.json").write_text("{}")
    (tmp_path / "größe" / "other.json").write_text("{}")
    assert sand("data", "download", "scienceworld", "--to", tmp_path / "größe").exit_code == 0


def test_the_list_names_every_address_and_the_places_of_the_shipped_experiments(
    sand: Sand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    rows: list[dict[str, Any]] = json.loads(sand("data", "list", "--json").stdout)
    assert {row["subject"] for row in rows} == {subject.value for subject in Subject}
    places = {row["to"] for row in rows}
    home = tmp_path / "home"
    for name, option in (
        ("alfworld-llama31-8b", "experts"),
        ("scienceworld-llama31-8b", "experts"),
        ("webshop-llama31-8b", "experts"),
        ("webshop-small-llama31-8b", "instructions"),
    ):
        options: Any = load_experiment(name, home).environment.options
        assert str(getattr(options, option)) in places
    webshop: Any = load_experiment("webshop-small-llama31-8b", home).environment.options
    assert webshop.products == sources.default_folder(Subject.WEBSHOP) / sources.WEBSHOP_DOCUMENTS
    games_of: Any = load_experiment("alfworld-llama31-8b", home).environment.options
    assert games_of.games == sources.default_folder(Subject.ALFWORLD) / games.FOLDER
    science: Any = load_experiment("scienceworld-llama31-8b", home).environment.options
    assert {str(science.indices / name) for name in INDEX_FILES.values()} <= places
    shipped = {load_experiment(f"alfworld-{name}", home).model.base for name in ("llama31-8b", "qwen25-7b")}
    assert shipped == {model.repository for model in sources.MODELS}
    text = sand("data", "list").stdout
    assert all(row["from"] in text and row["to"] in text for row in rows)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("download", "nothing"), 2, "'nothing' is not one of"),
        (
            ("download", "eto", "--only", "zzz"),
            1,
            "eto has nothing with 'zzz' in its name; it has alfworld_sft",
        ),
        (("download", "scienceworld", "--to", "FILE"), 1, "is not a folder. Give another --to"),
    ],
)
def test_a_wrong_request_is_one_message(
    sand: Sand, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "file").write_text("")
    answer = sand("data", *(str(tmp_path / "file") if each == "FILE" else each for each in arguments))
    assert (answer.exit_code, said in answer.stderr) == (code, True), answer.output
    assert "Traceback" not in answer.output


def test_what_to_write_in_an_experiment_is_what_was_asked_for(tmp_path: Path) -> None:
    (qwen,) = fetching.settings(Subject.MODELS, None, "qwen")
    assert qwen == "model.revision: a09a35458c702b33eeacc393d103063234e8bc28  # Qwen/Qwen2.5-7B-Instruct"
    assert fetching.settings(Subject.MODELS, tmp_path, "QWEN") == [
        f"model.base: {tmp_path / 'Qwen2.5-7B-Instruct'}"
    ]
    assert fetching.settings(Subject.ETO, tmp_path, "webshop") == [
        f"environment.experts: {tmp_path / 'webshop_sft.json'}"
    ]
    assert fetching.settings(Subject.ALFWORLD, tmp_path) == [f"environment.games: {tmp_path / 'json_2.1.1'}"]
    assert fetching.settings(Subject.ETO, None) == fetching.settings(Subject.WEBSHOP, None) == []


PRODUCTS = SHARED / "webshop" / "products.jsonl.xz"


@pytest.mark.skipif(not PRODUCTS.is_file(), reason=f"no {PRODUCTS}: set SAND_SHARED")
def test_the_shop_made_of_the_published_files_is_the_published_engines(tmp_path: Path) -> None:
    """The published items are made again of what the engine stored of them."""
    with lzma.open(PRODUCTS, "rt", encoding="utf-8") as lines:
        stored = [json.loads(line)["product"] for line in lines]
    raw = [{**product, "pricing": product["Price"]} for product in stored]
    raw += [raw[0], {**raw[0], "asin": "nan"}, {**raw[0], "asin": "B0123456789"}]
    (tmp_path / "items.json").write_text(json.dumps(raw), encoding="utf-8")
    made = tmp_path / "documents.jsonl"
    instructions = SHARED / "webshop" / "items_ins_v2_1000.json"
    assert write_documents(made, tmp_path / "items.json", instructions) == 1000
    assert read_products(made) == read_products(PRODUCTS)


@pytest.mark.parametrize("content", ["{}", '[{"asin": "B1"}]', "[1]", "no JSON"])
def test_other_files_make_no_shop(tmp_path: Path, content: str) -> None:
    (tmp_path / "items.json").write_text(content)
    (tmp_path / "instructions.json").write_text("{}")
    with pytest.raises(DownloadError, match="not the published products"):
        write_documents(tmp_path / "d.jsonl", tmp_path / "items.json", tmp_path / "instructions.json")
    assert not (tmp_path / "d.jsonl").exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED}: set SAND_SHARED")
def test_what_is_known_of_a_file_is_true_of_the_real_one(tmp_path: Path) -> None:
    file = sources.WEBSHOP_INSTRUCTIONS
    real = (SHARED / "webshop" / "items_ins_v2_1000.json").read_bytes()
    assert (file.size, file.sha256) == (len(real), sha256(real))
