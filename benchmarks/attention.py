"""`attention-speed`: the fused attention kernel against two products and a softmax, forward and backward.

    python -m benchmarks.attention

Sets `WRITTEN_OUT` in net/attention.py: values above 1 say that the written-out form is faster.
"""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.rows import Row, record
from mezzotint.cli.allocator import keep_memory
from mezzotint.net import attention

SHAPES = ((64, 4, 32, 32), (32, 4, 128, 64), (8, 4, 256, 64), (4, 4, 512, 64), (2, 4, 1024, 64))
"""Rows, heads, positions, width of a head."""


def seconds(shape: tuple[int, int, int, int], limit: int, train: bool) -> float:
    """Of one call with the written-out form up to `limit` positions."""
    attention.WRITTEN_OUT[torch.float32] = limit
    q, k, v = (torch.randn(shape).requires_grad_(train) for _ in range(3))
    times = []
    for _ in range(8):
        began = time.perf_counter()
        out = attention.attend(q, k, v, None)
        if train:
            out.sum().backward()
        times.append(time.perf_counter() - began)
    return min(times[2:])


def main() -> None:
    keep_memory()
    rows = []
    for shape in SHAPES:
        for train in (False, True):
            ratios = [seconds(shape, 0, train) / seconds(shape, 10**6, train) for _ in range(5)]
            what = "training" if train else "writing"
            rows.append(
                Row(
                    benchmark="attention-speed", system="mdlm", variant=f"against=fused,for={what},length={shape[2]}",
                    metric="speed_up", value=statistics.median(ratios), n=5, batch=shape[0],
                    stderr=(max(ratios) - min(ratios)) / 2, precision="float32",
                )
            )  # fmt: skip
            print(f"length {shape[2]}, {what}: written out is {rows[-1].value:.2f} times as fast", flush=True)
    record(rows)


if __name__ == "__main__":
    main()
