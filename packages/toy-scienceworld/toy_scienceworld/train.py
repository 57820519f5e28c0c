"""Teach a smaller copy of the household model ScienceWorld's short tasks: `python -m toy_scienceworld.train`.

The copy has `LAYERS` of the household model's layers, so that both together stay small, and learns further
from there. A killed run continues when the same command is given again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import AutoTokenizer, LlamaForCausalLM

from toy_alfworld.model import weights as household
from toy_alfworld.model.recipe.batches import Lessons
from toy_alfworld.model.recipe.running import train
from toy_alfworld.model.recipe.training import Settings
from toy_scienceworld import weights
from toy_scienceworld.documents import Teacher
from toy_scienceworld.lab import record

LAYERS = (0, 1, 3, 5)
"""The layers that are kept: among them are those whose heads look things up."""


def shorten(source: Path, target: Path) -> None:
    """Write the model in `source` to `target`, with only `LAYERS` of its layers."""
    model = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32)
    kept = [model.model.layers[layer] for layer in LAYERS]
    for index, layer in enumerate(kept):
        layer.self_attn.layer_idx = index
    model.model.layers = torch.nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    model.config.layer_types = None
    model.save_pretrained(target)


def main(
    folder: Annotated[Path, typer.Option(help="The run's folder; give the same one to continue.")] = Path(
        ".sand/scienceworld-model"
    ),
    steps: Annotated[int, typer.Option(help="Length of the run, in steps of about 9,000 tokens.")] = 600,
    until: Annotated[int | None, typer.Option(help="Stop at this step for now.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that share each step.")] = 0,
    install: Annotated[bool, typer.Option(help="Copy the result into the package.")] = False,
) -> None:
    """Train the model, and continue the run in `folder` if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    AutoTokenizer.from_pretrained(household()).save_pretrained(folder / "tokenizer")
    start = folder / "start"
    if not start.exists():
        shorten(household(), start)
    lessons = Lessons(Teacher(record(folder / "worlds.json")), batches=40)
    settings = Settings(seed=3, steps=steps, matrix_rate=0.015, other_rate=0.0025)
    train(folder, settings, lessons, len(LAYERS), start, until, processes)
    if install:
        weights().mkdir(exist_ok=True)
        for path in (folder / "model").iterdir():
            shutil.copy2(path, weights() / path.name)
    print(f"the model is in {folder / 'model'}")


if __name__ == "__main__":
    typer.run(main)
