"""A batch on any number of devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from sand_dagster.experiments.loading import load_experiments
from sand_dagster.training import sft
from sand_dagster.training.devices import spread
from sand_dagster.training.job import DpoJob, Job
from sand_dagster.training.memory import for_pairs
from sand_dagster.training.settings import FinetuningSettings

SHIPPED, _ = load_experiments(Path("/nonexistent"))


@pytest.mark.parametrize("devices", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_experiment_trains_on_any_number_of_devices(name: str, devices: int) -> None:
    asked = SHIPPED[name].finetuning
    found = spread(asked.batch_size, asked.per_device_batch_size, devices)
    assert found.devices == min(devices, asked.batch_size), "every card that can get a trajectory is used"
    assert 1 <= found.per_device <= asked.per_device_batch_size
    if asked.batch_size % found.devices == 0:
        assert found.batch_size == asked.batch_size
        assert "instead" not in found.describe(asked.batch_size)
    else:
        # No other batch of these devices is nearer.
        assert abs(found.batch_size - asked.batch_size) <= found.devices / 2
        assert f"instead of {asked.batch_size}" in found.describe(asked.batch_size)


@pytest.mark.parametrize("devices", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("name", [name for name, each in SHIPPED.items() if each.variant == "eto"])
def test_so_does_the_training_on_pairs(
    name: str, devices: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spread(Exception): ...

    def asked(*arguments: int) -> None:
        raise Spread(*arguments)

    settings = SHIPPED[name].preference_tuning
    job = Job(
        **dict.fromkeys(("parent", "conversations", "output", "state"), tmp_path),
        settings=FinetuningSettings.model_validate(
            settings.model_dump(include=set(FinetuningSettings.model_fields))
        ),
        epochs=1,
        seed=0,
        placement="sharded",
        save_every_s=600,
        dpo=DpoJob(rejected=tmp_path, beta=0.1),
    )
    monkeypatch.setattr(sft, "spread", asked)
    monkeypatch.setenv("WORLD_SIZE", str(devices))
    with pytest.raises(Spread) as raised:
        sft._arguments(job, bfloat16=False)
    batch, pairs, world = raised.value.args
    assert (batch, world) == (SHIPPED[name].eto.batch_size, devices)
    assert 2 * pairs <= for_pairs(settings).per_device_batch_size, "no more trajectories than were planned"
    found = spread(batch, pairs, world)
    assert found.devices == min(devices, batch)
    assert abs(found.batch_size - batch) <= (found.devices / 2 if batch % found.devices else 0)


@pytest.mark.parametrize(
    ("batch", "per_device", "devices", "expected"),
    [
        (8, 8, 1, (1, 8, 1)),
        (8, 8, 2, (2, 4, 1)),
        (8, 8, 3, (3, 3, 1)),
        (64, 1, 8, (8, 1, 8)),
        (64, 1, 3, (3, 1, 21)),
        (64, 6, 1, (1, 4, 16)),
        (2, 1, 8, (2, 1, 1)),
    ],
)
def test_the_batch_is_kept_where_it_can_be(
    batch: int, per_device: int, devices: int, expected: tuple[int, int, int]
) -> None:
    assert spread(batch, per_device, devices) == expected
