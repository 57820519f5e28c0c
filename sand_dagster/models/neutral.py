"""The sampled distribution: the model's own at a temperature, with nothing cut off or penalised.

If a request does not set them, servers apply the model's sampling defaults (`generation_config.json`: Llama
3.1 has top_p 0.9, Qwen 2.5 top_p 0.8, top_k 20 and a repetition penalty). The paper samples at temperatures 1
and 0 and names nothing else (Section 5.1), so every request sets neutral values.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

STANDARD: Mapping[str, Any] = MappingProxyType(
    {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
)
"""Those that are part of OpenAI's chat completions."""

EXTENDED: Mapping[str, Any] = MappingProxyType({"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0})
"""Those that vLLM and servers like it add; -1 is no limit everywhere."""

NEUTRAL: Mapping[str, Any] = MappingProxyType({**STANDARD, **EXTENDED})
"""All of them: for our own engine, and for any endpoint that accepts them."""
