"""A training in as many processes as are of use: one for each core, but not more than a step has parts."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from toy_alfworld.model.recipe.batches import PARTS, Lessons
from toy_alfworld.model.recipe.network import LAYERS, configuration
from toy_alfworld.model.recipe.tokenizer import END, PAD
from toy_alfworld.model.recipe.training import Report, Settings, Training

_SHOW_EVERY = 10


def train(
    folder: Path,
    settings: Settings,
    lessons: Lessons,
    layers: int = LAYERS,
    start: Path | None = None,
    until: int | None = None,
    processes: int = 0,
) -> None:
    """Train in `folder`, which has a `tokenizer`, or continue the run in it; the result is its `model`.

    Args:
        start: the folder of a model with as many `layers`, whose weights a new run starts with.
        until: stop at this step for now.
        processes: how many share each step; 0: as many as are of use.
    """
    count = processes or (1 if torch.cuda.is_available() else min(os.cpu_count() or 1, PARTS))
    with tempfile.TemporaryDirectory() as meeting:
        given = (count, f"file://{meeting}/processes", folder, settings, lessons, layers, until, start)
        spawn(_work, given, nprocs=count)  # type: ignore[no-untyped-call]


def _export(training: Training, target: Path) -> None:
    """Write the current model to `target`, an ordinary Hugging Face folder, stored in bfloat16."""
    target.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.to(torch.bfloat16) for name, tensor in training.weights().items()}
    training.model.save_pretrained(target, state_dict=state)
    training.tokenizer.save_pretrained(target)


def _work(
    rank: int,
    processes: int,
    meeting: str,
    folder: Path,
    settings: Settings,
    lessons: Lessons,
    layers: int,
    until: int | None,
    start: Path | None,
) -> None:
    """One of the training processes; it is interrupted when the first process ends for any reason."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    if processes > 1:
        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder / "tokenizer")
    vocabulary = tokenizer.get_vocab()
    training = Training(
        folder,
        settings,
        lessons,
        configuration(len(tokenizer), vocabulary[PAD], vocabulary[END], layers),
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
        _export(training, folder / "model")
