import pytest

from sand_dagster.bench import scienceworld
from sand_dagster.bench.scienceworld_start import starts
from sand_dagster.environments.scienceworld.environment import ScienceWorldEnvironment
from sand_dagster.types import StepResult


def test_the_bare_environment_is_the_package_and_a_difference_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = ScienceWorldEnvironment.step

    def tampered(self: ScienceWorldEnvironment, action: str) -> StepResult:
        result = step(self, action)
        if self._task is not None and "shortest" in self._task.id and action.startswith("focus on"):
            return StepResult(result.observation + "!", result.reward, result.done, result.valid)
        return result

    monkeypatch.setattr(ScienceWorldEnvironment, "step", tampered)
    report = scienceworld.run(["lifespan-longest-lived", "lifespan-shortest-lived"], 2, walk=2, forks=4)
    assert (report.task_types, report.tasks, report.completed) == (2, 4, 4)
    assert (report.forks, report.exact_forks) == (4, 4)
    assert report.differences >= 1
    assert report.first_difference is not None
    assert report.first_difference.task.startswith("scienceworld/lifespan-shortest-lived/")
    assert report.first_difference.actions[-1].startswith("focus on")
    assert report.first_difference.bare == report.first_difference.public + "!"
    assert report.step.ratio == pytest.approx(report.step.public_ms / report.step.bare_ms)
    assert report.to_json()["targets"]["no difference"] is False


def test_at_the_start_all_containers_are_open_and_with_the_preset_some_are_closed() -> None:
    seen: list[tuple[int, int]] = []
    report = starts(["boil", "power-component"], lambda *place: seen.append(place))
    assert seen == [(1, 2), (2, 2)] and report.to_json()["variation"] == 0
    (boil, power) = report.rows
    assert (boil.task_type, power.task_type) == ("boil", "power-component")
    for start in (boil, power):
        assert start.closed == 0 < start.preset_closed
        assert start.open == start.preset_open + start.preset_closed > 30
