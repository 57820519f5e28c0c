"""Train the household model from random weights: `python -m toy_alfworld.model.train`.

A killed run continues when the same command is given again.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from toy_alfworld.model import weights
from toy_alfworld.model.recipe.batches import Lessons
from toy_alfworld.model.recipe.running import train
from toy_alfworld.model.recipe.tokenizer import build
from toy_alfworld.model.recipe.training import STEPS, Settings
from toy_alfworld.model.teachers.documents import LESSONS, document

_TOKENIZER_DOCUMENTS = 2500
_LESSONS = Lessons(document, batches=24)
_GENTLE = partial(Settings, seed=2, matrix_rate=0.006, other_rate=0.001, skip=LESSONS)
"""Settings to continue from trained weights: other documents, no lessons, and lower learning rates, because
with the full rates the model would first forget what it has learnt."""


def make_tokenizer(folder: Path, start: Path | None = None) -> PreTrainedTokenizerBase:
    """The run's tokenizer, kept in `folder`: the one of the model in `start`, or a new one."""
    if start is not None:
        AutoTokenizer.from_pretrained(start).save_pretrained(folder)
    if not (folder / "tokenizer.json").exists():
        drawn = (document("tokenizer", LESSONS + index) for index in range(_TOKENIZER_DOCUMENTS))
        tokenizer = build("\n".join(message["content"] for message in d.messages) for d in drawn)
        tokenizer.save_pretrained(folder)
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return loaded


def main(
    folder: Annotated[Path, typer.Option(help="The run's folder; give the same one to continue.")] = Path(
        ".sand/household-model"
    ),
    steps: Annotated[int, typer.Option(help="Length of the run, in steps of about 9,000 tokens.")] = STEPS,
    until: Annotated[int | None, typer.Option(help="Stop at this step for now.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that share each step.")] = 0,
    start: Annotated[
        Path | None, typer.Option(help="Start a new run with this model's weights and tokenizer.")
    ] = None,
    install: Annotated[bool, typer.Option(help="Copy the result into the package.")] = False,
) -> None:
    """Train the household model, and continue the run in `folder` if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(folder / "tokenizer", start)
    settings = Settings(steps=steps) if start is None else _GENTLE(steps=steps)
    train(folder, settings, _LESSONS, start=start, until=until, processes=processes)
    if install:
        for path in (folder / "model").iterdir():
            shutil.copy2(path, weights() / path.name)
    print(f"the model is in {folder / 'model'}")


if __name__ == "__main__":
    typer.run(main)
