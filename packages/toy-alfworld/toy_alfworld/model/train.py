"""Train the household model from random weights: `python -m toy_alfworld.model.train`.

A killed run continues when the same command is given again. Several processes share the work: one for each
core, but not more than a step has parts.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import distributed
from torch.multiprocessing.spawn import spawn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from toy_alfworld.model import weights
from toy_alfworld.model.recipe.batches import PARTS
from toy_alfworld.model.recipe.network import configuration
from toy_alfworld.model.recipe.tokenizer import END, PAD, build
from toy_alfworld.model.recipe.training import STEPS, Report, Settings, Training
from toy_alfworld.model.teachers.documents import LESSONS, document

_TOKENIZER_DOCUMENTS = 2500
_SHOW_EVERY = 10
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


def export(training: Training, target: Path) -> None:
    """Write the current model to `target`, an ordinary Hugging Face folder, stored in bfloat16."""
    target.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.to(torch.bfloat16) for name, tensor in training.weights().items()}
    training.model.save_pretrained(target, state_dict=state)
    training.tokenizer.save_pretrained(target)


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
    count = processes or (1 if torch.cuda.is_available() else min(os.cpu_count() or 1, PARTS))
    settings = Settings(steps=steps) if start is None else _GENTLE(steps=steps)
    with tempfile.TemporaryDirectory() as meeting:
        given = (count, f"file://{meeting}/processes", folder, settings, until, start)
        spawn(_work, given, nprocs=count)  # type: ignore[no-untyped-call]
    if install:
        for path in (folder / "model").iterdir():
            shutil.copy2(path, weights() / path.name)
    print(f"the model is in {folder / 'model'}")


def _work(
    rank: int,
    processes: int,
    meeting: str,
    folder: Path,
    settings: Settings,
    until: int | None,
    start: Path | None,
) -> None:
    """One of the training processes; it is interrupted when the first process ends for any reason."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    if processes > 1:
        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    tokenizer = make_tokenizer(folder / "tokenizer")
    vocabulary = tokenizer.get_vocab()
    training = Training(
        folder,
        settings,
        configuration(len(tokenizer), vocabulary[PAD], vocabulary[END]),
        tokenizer,
        rank,
        processes,
        start,
    )
    begun, first, seen = time.monotonic(), training.step, training.tokens

    def watch(report: Report) -> None:
        if report.step % _SHOW_EVERY == 0:
            spent = time.monotonic() - begun
            left = (settings.steps - report.step) * spent / (report.step - first)
            print(
                f"step {report.step} of {settings.steps}  loss {report.loss:.3f}  "
                f"{report.tokens / 1e6:.2f} M tokens  {(report.tokens - seen) / spent:.0f} tokens/s  "
                f"{left / 60:.0f} min left",
                flush=True,
            )

    training.run(watch, until)
    if rank == 0:
        export(training, folder / "model")


if __name__ == "__main__":
    typer.run(main)
