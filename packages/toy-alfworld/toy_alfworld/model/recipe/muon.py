"""Muon in the precision that is fast on this machine: `torch.optim.Muon` always uses bfloat16, even if it is
emulated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from sand_dagster.training.precision import bfloat16_is_fast

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose direction, for each matrix, is made nearly orthogonal (Jordan et al., 2024)."""

    def __init__(
        self, matrices: Iterable[torch.Tensor], lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for entry in self.param_groups:
            for matrix in entry["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                buffer = state.setdefault("momentum", torch.zeros_like(matrix))
                buffer.lerp_(matrix.grad, 1.0 - entry["momentum"])
                direction = orthogonal(matrix.grad.lerp(buffer, entry["momentum"]))
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.mul_(1.0 - entry["lr"] * entry["weight_decay"])
                matrix.add_(direction, alpha=-entry["lr"] * scale)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix with the singular vectors of `matrix` (n, m) and singular values near 1: Newton-Schulz."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(torch.bfloat16 if bfloat16_is_fast() else torch.float32)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
