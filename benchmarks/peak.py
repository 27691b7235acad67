"""The matrix-multiply limit that shares are taken of: the fastest of three products, in the same run.

4096 x 256 x 1024, in bf16 and in float32, whichever is faster: on processors without bf16 arithmetic the bf16 product
is several times slower than the float32 one, and a share of it would flatter.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from mezzotint.spec.transformer import TransformerSpec

M, K, N = 4096, 256, 1024


def gflops(clock: Callable[[], float] = time.perf_counter) -> float:
    """Best of three runs of each type, 10^9 floating-point operations a second of a clock."""
    return max(_best(torch.bfloat16, clock), _best(torch.float32, clock))


def _best(dtype: torch.dtype, clock: Callable[[], float]) -> float:
    x, w = torch.randn(M, K).to(dtype), torch.randn(N, K).to(dtype)
    times = []
    for _ in range(6):
        began = clock()
        F.linear(x, w)
        times.append(clock() - began)
    return 2 * M * K * N / min(times[3:]) / 1e9


def forward_gflop(spec: TransformerSpec, rows: float, length: int, logits: float, vocab: int) -> float:
    """10^9 operations of the matrix products of forward passes: `rows` canvases, `logits` rows of the output layer."""
    token = 2 * 12 * spec.dim**2 * spec.depth + 2 * 2 * length * spec.dim * spec.depth
    return (rows * length * token + logits * 2 * spec.dim * vocab) / 1e9
