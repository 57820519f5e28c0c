"""A finetuning that learns nothing: `python -m sand_dagster.bench.faults.trainer JOB.json`.

It replaces `sand_dagster.training.sft`: the same job, the same lines of progress, the same files, and it also
ends when the parent's pipe closes. The weights are a hash of everything that decides them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sand_dagster.fingerprints import file_digest
from sand_dagster.ids import digest
from sand_dagster.training.job import PROGRESS_MARK, REPORT, Job, Progress, Report
from sand_dagster.training.launching import Processes
from sand_dagster.training.lease import end_with_the_run

_STEPS = 8
_STEP_S = 0.03


def command(processes: Processes, python: str, *rendezvous: str) -> list[str]:
    """What `Processes.command` gives with this trainer in place of TRL's."""
    return [python, "-m", __name__]


def main() -> None:
    """Read the job named on the command line, and write its model."""
    path = Path(sys.argv[1])
    end_with_the_run(path)
    job = Job.model_validate_json(path.read_text())
    job.output.mkdir(parents=True)
    weights = digest(
        file_digest(job.conversations), file_digest(job.parent / "model.safetensors"), job.epochs, job.seed
    )
    curve = []
    with (job.output / "model.safetensors").open("w") as file:
        for step in range(1, _STEPS + 1):
            time.sleep(_STEP_S)
            file.write(digest(weights, step))
            file.flush()
            point = Progress(
                step=step, steps=_STEPS, epoch=1.0, loss=1 / step, learning_rate=1e-5, tokens_per_second=9.0
            )
            curve.append(point)
            print(f"{PROGRESS_MARK}{point.model_dump_json()}", flush=True)
    (job.output / "config.json").write_text("{}")
    report = Report(
        examples=1,
        dropped=[],
        truncated=[],
        tokens=9,
        trained_tokens=5 * max(job.epochs, 1),
        epochs=job.epochs,
        seed=job.seed,
        seconds=_STEPS * _STEP_S,
        device="cpu",
        dtype="float32",
        loss_curve=curve,
        versions={},
    )
    (job.output / REPORT).write_text(report.model_dump_json(indent=1))


if __name__ == "__main__":
    main()
