"""The model that a row names, in its folder: whole, or the reason why not and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sand_dagster.artifacts.identity import short
from sand_dagster.errors import TornModel
from sand_dagster.fingerprints import remembered_digest
from sand_dagster.home import stays_inside
from sand_dagster.models.model_folder import model_id
from sand_dagster.rows.models import BaseModelRow, CheckpointRow, PolicyRow


def stored_model(
    home: Path, row: BaseModelRow | PolicyRow | CheckpointRow, experiment: str, iteration: str | None
) -> Path:
    """The folder of the model that `row` names: the base model (`iteration` None), or a checkpoint.

    Raises:
        TornModel: what lies there is not the model with the row's `model_id`, or a checkpoint's folder is
            outside `home`.
    """
    folder = home / row.folder
    if iteration is not None and not stays_inside(row.folder):
        found = "a folder outside $SAND_HOME"
    else:
        found = short(model_id(folder)) if (folder / "config.json").is_file() else "no model"
    if found == short(row.model_id):
        recorded = {file.file: file.sha256 for file in row.files} if isinstance(row, CheckpointRow) else {}
        altered = altered_file(folder, recorded)
        if altered is None:
            return folder
        found = f"another {altered}, or none"
    if iteration is None:
        recorded_by = f"{experiment}/base_model"
        remedy = (
            "Put its files back as they were; or materialise base_model again, and with it all that was made "
            "with this model."
        )
    else:
        recorded_by = f"{experiment}/checkpoints for iteration {iteration}"
        remedy = (
            f"`sand run {experiment} --until {iteration}` finetunes it again, or materialise {recorded_by}."
        )
    raise TornModel(folder, recorded_by, short(row.model_id), found, remedy)


def altered_file(folder: Path, recorded: Mapping[str, str]) -> str | None:
    """The first file of `folder` that has not its `recorded` SHA-256; None where all have."""
    for name, sha256 in recorded.items():
        path = folder / name
        if not path.is_file() or remembered_digest(path) != sha256:
            return name
    return None
