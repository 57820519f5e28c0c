"""Whether bfloat16 is fast here."""

from __future__ import annotations

import torch


def bfloat16_is_fast() -> bool:
    """Whether the device multiplies bfloat16 in hardware: a GPU, or a CPU with AVX-512 BF16 or AMX.

    Other CPUs emulate it, many times slower than float32.
    """
    return torch.cuda.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
