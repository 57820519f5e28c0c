"""SAND: Self-taught Action Deliberation for language agents, on Dagster."""

import os

# They are set here because all our processes import this first, and both have to be set before torch is asked
# for a GPU. Without the first, `torch.cuda.is_available()` initialises CUDA, and a process that is forked
# later # cannot use it; vLLM forks its workers unless the second says otherwise.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
