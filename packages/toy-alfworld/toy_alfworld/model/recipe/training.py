"""Training from random weights: a loop that survives a kill, with Muon for the matrices and AdamW for the
rest.

Several processes share a step, with one thread each. On a busy machine this is many times faster than one
process with several threads, which all wait for the slowest one at every operation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from sand_dagster.training.precision import bfloat16_is_fast
from toy_alfworld.model.recipe.batches import PARTS, Batch, Lessons, Stream
from toy_alfworld.model.recipe.initialisation import initialise
from toy_alfworld.model.recipe.muon import Muon
from toy_alfworld.model.recipe.name_embeddings import NameEmbeddings
from toy_alfworld.model.recipe.network import network

_TABLE = "model.embed_tokens.weight"
_STATE = "state.pt"
_LOG = "log.jsonl"
_AHEAD = 48

STEPS = 2600
"""Length of a whole run, in steps of about 8,000 tokens."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a training of `steps` steps, each with about 8,000 new tokens.

    The rates rise over the first `warmup` steps, stay, and fall to 0 over the last share `decay`. The
    first `skip` documents of the stream are left out.
    """

    seed: int = 1
    steps: int = STEPS
    matrix_rate: float = 0.02
    other_rate: float = 0.003
    warmup: int = 30
    decay: float = 0.9
    save_every: int = 50
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """One step, for the log: loss (nats per token), tokens seen, seconds of the step."""

    step: int
    tokens: int
    loss: float
    seconds: float


class Training:
    """A run in `folder`. It continues from the folder's last saved state, with the same next loss.

    Args:
        rank, processes: which of how many processes this is; they have joined a `torch.distributed` group.
        start: the folder of a model whose weights a new run starts with; default: random weights.

    Raises:
        ValueError: the folder has a run with other settings (a different length is allowed).
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        lessons: Lessons,
        config: LlamaConfig,
        tokenizer: PreTrainedTokenizerBase,
        rank: int = 0,
        processes: int = 1,
        start: Path | None = None,
    ) -> None:
        self.folder, self.settings, self.lessons, self.tokenizer = folder, settings, lessons, tokenizer
        self.rank, self.processes = rank, processes
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(settings.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = network(config, self.device, torch.float32)
        self.fast = network(config, self.device, torch.bfloat16 if bfloat16_is_fast() else torch.float32)
        self._names, self._table = NameEmbeddings(tokenizer), self.model.model.embed_tokens.weight
        with torch.no_grad():
            if start is None:
                initialise(self.model, settings.seed)
                self._table[self._names.names] = 0.0
            else:
                self.model.load_state_dict(LlamaForCausalLM.from_pretrained(start).state_dict())
                self._table.copy_(self._names.parts(self._table))
        self.optimizers = _optimizers(self.model, settings)
        self.step, self.tokens = 0, 0
        self._resume()

    def run(self, watch: Callable[[Report], None], until: int | None = None) -> None:
        """Train to the end of the run, or to step `until`."""
        last = min(until or self.settings.steps, self.settings.steps)
        for batches in self._batches(last):
            begun = time.monotonic()
            loss, count = self.update(batches)
            self.step += 1
            self.tokens += count
            if self.rank == 0:
                report = Report(self.step, self.tokens, loss, time.monotonic() - begun)
                with (self.folder / _LOG).open("a") as log:
                    log.write(json.dumps(asdict(report)) + "\n")
                watch(report)
                if self.step % self.settings.save_every == 0 or self.step == last:
                    self.save()

    def update(self, batches: Sequence[Batch]) -> tuple[float, int]:
        """One optimizer step on this process's part of the batches; (mean loss, tokens) of the whole step."""
        masters, copies = list(self.model.parameters()), list(self.fast.parameters())
        with torch.no_grad():
            for copy, weights in zip(copies, self.weights().values(), strict=True):
                copy.copy_(weights)
        figures = torch.zeros(2, device=self.device)
        for batch in batches:
            loss = self.loss(batch)
            (loss / PARTS).backward()  # type: ignore[no-untyped-call]
            figures += torch.tensor([loss.item() / PARTS, float((batch.weights > 0).sum())])
        gradient = torch.cat([copy.grad.flatten().float() for copy in copies if copy.grad is not None])
        if self.processes > 1:
            distributed.all_reduce(gradient)
            distributed.all_reduce(figures)
        gradient *= torch.clamp(1.0 / (gradient.norm() + 1e-6), max=1.0)
        for master, copy, flat in zip(
            masters, copies, torch.split(gradient, [m.numel() for m in masters]), strict=True
        ):
            master.grad, copy.grad = flat.view_as(master), None
        self._table.grad = self._names.gradient(self._table.grad)
        for optimizer in self.optimizers:
            for entry in optimizer.param_groups:
                entry["lr"] = entry["initial_lr"] * self._rate()
            optimizer.step()
        return float(figures[0]), int(figures[1])

    def loss(self, batch: Batch) -> torch.Tensor:
        """The weighted mean loss of one batch, in nats per token."""
        ids, weights = batch.ids.to(self.device), batch.weights.to(self.device)[:, 1:]
        logits = self.fast(ids[:, :-1], use_cache=False).logits.float()
        losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        return (losses * weights.flatten()).sum() / weights.sum()

    def weights(self) -> dict[str, torch.Tensor]:
        """The model's current parameters, with the parts added into the embeddings of names."""
        found = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        return found | {_TABLE: self._names.whole(found[_TABLE])}

    def save(self) -> None:
        """Save everything that the next process needs to continue; a kill leaves the old state or the new
        one."""
        state = {
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "tokens": self.tokens,
        }
        torch.save(state, self.folder / f"{_STATE}.new")
        (self.folder / f"{_STATE}.new").replace(self.folder / _STATE)

    def _resume(self) -> None:
        path = self.folder / _STATE
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        free = ("steps", "decay", "save_every")
        found = {key: value for key, value in state["settings"].items() if key not in free}
        mine = {key: value for key, value in asdict(self.settings).items() if key not in free}
        if found != mine:
            raise ValueError(
                f"{path} was trained with other settings: expected {mine}, found {found}; "
                "use another folder, or delete this one to start again"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.tokens = state["step"], state["tokens"]

    def _batches(self, last: int) -> Iterator[tuple[Batch, ...]]:
        streams = (
            Stream(
                self.lessons, self.tokenizer, self.settings.seed, part, self.step, last, self.settings.skip
            )
            for part in range(PARTS)
            if part % self.processes == self.rank
        )
        loaders = [DataLoader(s, batch_size=None, num_workers=1, prefetch_factor=_AHEAD) for s in streams]
        return zip(*loaders, strict=True)

    def _rate(self) -> float:
        left = 1.0 - self.step / self.settings.steps
        return min((self.step + 1) / self.settings.warmup, 1.0, max(left / self.settings.decay, 0.01))


def _optimizers(model: LlamaForCausalLM, settings: Settings) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    muon = Muon(matrices, lr=settings.matrix_rate, weight_decay=0.01)
    adam = torch.optim.AdamW(others, lr=settings.other_rate, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer in (muon, adam):
        for entry in optimizer.param_groups:
            entry["initial_lr"] = entry["lr"]
    return [muon, adam]
