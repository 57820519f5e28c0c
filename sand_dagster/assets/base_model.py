"""The frozen base model."""

from collections.abc import Mapping
from pathlib import Path

from sand_dagster.assets.definition import stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.fingerprints import file_digest
from sand_dagster.ids import identify
from sand_dagster.models.model_folder import model_id
from sand_dagster.resources.generation import Generation
from sand_dagster.rows.models import BaseModelRow


def _model(experiment: Experiment, home: Path) -> Mapping[str, str]:
    """The content hash of the model, as far as it is on this machine."""
    folder = Generation().base_folder_here(experiment)
    return {"model": model_id(folder) if folder else ""}


@stage(modules=("sand_dagster.models.model_folder",), files=_model, kinds=frozenset({"huggingface"}))
def base_model(run: StageRun) -> Result:
    """The frozen base model π_base: where its files lie, and their hashes. The policy starts here too."""
    folder = run.generation.base_folder(run.experiment)
    content = model_id(folder)
    rows: list[BaseModelRow] = []
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        sha256 = file_digest(file)
        rows.append(
            BaseModelRow(
                file_id=identify("base_model", content, file.name, sha256),
                model_id=content,
                source=run.experiment.model.base,
                folder=str(folder),
                file=file.name,
                bytes=file.stat().st_size,
                sha256=sha256,
            )
        )
    return Result(rows, {"bytes": sum(row.bytes for row in rows)})
