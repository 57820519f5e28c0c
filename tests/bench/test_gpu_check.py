"""The check's verdicts for the parts' figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.bench import gpu_check
from sand_dagster.bench.gpu_check import Part, Report, _command, _flat


def test_without_a_card_the_verdict_says_nothing_about_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "cards", tuple)
    part = gpu_check._cards_part()
    assert part.verdict.startswith("none: the rest ran on the CPU")
    assert not part.failed


def test_a_command_that_fails_is_shown_with_the_end_of_its_log(tmp_path: Path) -> None:
    part = _command("a part", tmp_path, "run", "no-such-experiment", "--until", "01")
    assert part.failed
    assert "there is no experiment 'no-such-experiment'" in part.verdict
    assert (tmp_path / "a-part.log").is_file()


def test_memory_that_is_not_given_back_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([100, 100, 40_000])
    monkeypatch.setattr(gpu_check, "_used", lambda: next(used, 40_000))
    part = _command("a part", tmp_path, "--help")
    assert part.verdict == "FAILED: 39900 MiB of a card were not freed"
    assert Report([part], {}).failed


@pytest.mark.parametrize(
    ("bare", "differing", "verdict"),
    [
        (9.5, 0, "works"),
        (5.0, 0, "SLOW: critiques below 90% of the bare engine"),
        (9.5, 3, "works; 3 prompts were completed differently"),
    ],
)
def test_the_flat_stages_are_beside_the_bare_engine(
    tmp_path: Path, bare: float, differing: int, verdict: str
) -> None:
    out = tmp_path / "generation.json"
    stage = {"stage": "critiques", "completion_tokens": 1000, "seconds": 10.0, "bare_seconds": bare}
    out.write_text(json.dumps({"report": {"stages": [stage], "differing": differing}}))
    part = _flat(Part("flat", "works"), out)
    assert part.verdict == verdict
    assert part.figures["critiques"]["ours, tokens/s"] == 100
    assert _flat(Part("flat", "works"), tmp_path / "absent").failed, "a command that wrote nothing"
    held = Part("flat", "FAILED: 39900 MiB of a card were not freed")
    assert _flat(held, out) == held, "a report does not hide it"


def test_the_memory_of_each_stage_is_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(tmp_path, "mine")
    with store.writing("rollouts", "01", inputs={}, identity=Identity(), seed=0, run_id="r") as writer:
        writer.commit([], {"gpus": 1, "gpu_mib_before": 100, "gpu_mib_after": 70_000})
    monkeypatch.setattr(gpu_check, "_command", lambda name, *_: Part(name, "works"))
    part = gpu_check._run("a part", tmp_path, "mine")
    assert part.figures == {"MiB before and after": {"01 rollouts": [100, 70_000]}}
    assert gpu_check._run("a part", tmp_path, "another").figures == {}


def test_each_check_begins_with_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts.jsonl").write_text("left by an earlier one\n")
    homes: list[Path] = []

    def parts(home: Path, *, reduced: bool) -> list[Part]:
        homes.append(home)
        return [Part("GPUs", "works")]

    monkeypatch.setattr(gpu_check, "_parts", parts)
    gpu_check.run(tmp_path, lambda *_: None, reduced=True)
    (home,) = homes
    assert home.parent == tmp_path
    assert [path.name for path in home.iterdir()] == ["parts.jsonl"]
    assert json.loads((home / "parts.jsonl").read_text())["verdict"] == "works"


def test_the_progress_ends_with_the_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def works(name: str, *_: object, **__: object) -> Part:
        return Part(name, "works")

    monkeypatch.setattr(gpu_check, "_command", works)
    for judge in ("_repeated", "_flat"):
        monkeypatch.setattr(gpu_check, judge, lambda part, *_: part)
    told: list[tuple[int, int]] = []
    report = gpu_check.run(tmp_path, lambda done, of: told.append((done, of)), reduced=True)
    assert told[-1] == (len(report.parts), len(report.parts))
