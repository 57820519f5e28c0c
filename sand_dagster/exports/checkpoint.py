"""The checkpoint of an iteration as a model folder with a card."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.assets.stored_model import stored_model
from sand_dagster.errors import TornModel
from sand_dagster.exports.card import (
    PAPER,
    base_model,
    hub_name,
    lineage_section,
    scores_of,
    scores_section,
    settings_section,
    write_card,
    write_lineage,
)
from sand_dagster.exports.lineage import sources
from sand_dagster.files import write_folder
from sand_dagster.fingerprints import file_digest
from sand_dagster.models.model_folder import WANTED
from sand_dagster.rows.evaluation import ScoreRow
from sand_dagster.rows.models import CheckpointRow


def write_checkpoint(folder: Path, store: ArtifactStore, iteration: str) -> int:
    """Write the model of a checkpoint as `folder`, completely or not at all. Returns how many bytes it has.

    Weights are safetensors only; each file is compared with its recorded SHA-256 after it was copied.

    Raises:
        MissingArtifact: the iteration has no checkpoint.
        TornModel: the stored model is not the recorded one.
        FileExistsError: there is something at `folder`.
        DiskFull: there was no space; nothing was left behind.
    """
    (row,) = rows_of(store, CheckpointRow, iteration)
    source = stored_model(store.home, row, store.experiment, iteration)
    files = [file for file in row.files if _goes_out(file.file)]

    def write(temporary: Path) -> int:
        for file in files:
            shutil.copyfile(source / file.file, temporary / file.file)
            if (found := file_digest(temporary / file.file)) != file.sha256:
                raise TornModel(
                    source,
                    f"{store.experiment}/checkpoints for iteration {iteration}",
                    file.sha256,
                    f"{found} in {file.file}",
                    "Export it again; if that does not help, `sand verify` lists what is damaged.",
                )
        _write_card(temporary, store, row, iteration)
        return sum(file.bytes for file in files)

    return write_folder(folder, write)


def _goes_out(name: str) -> bool:
    """Whether a file of a checkpoint belongs to the model; the names come from a table, and are no paths."""
    return Path(name).name == name and any(fnmatch(name, pattern) for pattern in WANTED)


def _write_card(folder: Path, store: ArtifactStore, row: CheckpointRow, iteration: str) -> None:
    found = sources(store, CheckpointRow.table, iteration)
    scores, model = scores_of(store, iteration), base_model(store)
    evaluated = store.manifest(ScoreRow.table, iteration)
    write_lineage(
        folder,
        found,
        {
            "experiment": store.experiment,
            "iteration": iteration,
            "checkpoint_id": row.checkpoint_id,
            "model_id": row.model_id,
            "base_model": model,
            "finetuning": json.loads(row.settings),
            "files": {file.file: file.sha256 for file in row.files if (folder / file.file).is_file()},
            "scores": {score.split: score.average_reward for score in scores},
            "scores_data_version": None if evaluated is None else evaluated.content_hash,
        },
    )
    on_the_hub = f"[{model}](https://huggingface.co/{model})" if hub_name(model) else f"`{model}`"
    name = f"{store.experiment}-{iteration}"
    sections = [
        f"# {name}",
        f"A language agent finetuned with {PAPER}: experiment `{store.experiment}`, iteration {iteration}, "
        f"from the base model {on_the_hub}. Checkpoint `{row.checkpoint_id}`, content `{row.model_id}`.",
        f"Finetuned on {row.examples} conversations, {row.epochs} passes, {row.trained_tokens} tokens of the "
        "agent's own over which the loss was computed. The licence of the base model applies; this card "
        "grants none.",
        scores_section(scores, "" if evaluated is None else evaluated.content_hash),
        lineage_section(found),
        settings_section(found),
    ]
    write_card(folder, _front(name, model, scores), sections)


def _front(name: str, model: str, scores: list[ScoreRow]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=score.split,
            dataset_name=f"{score.split} tasks",
            dataset_split=score.split,
            metric_type="average_reward",
            metric_name="average reward",
            metric_value=score.average_reward,
        )
        for score in scores
    ]
    data = ModelCardData(
        base_model=model if hub_name(model) else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["sand", "agent"],
        model_name=name,
        eval_results=results or None,
    )
    return data.to_yaml()
