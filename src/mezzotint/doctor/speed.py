"""How fast a run writes, as a share of what this machine can multiply.

The limit is the fastest of three products of 4096 x 256 by 256 x 1024, in bf16 and in float32, whichever is faster: on
processors without bf16 arithmetic the bf16 product is several times slower, and a share of it would flatter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mezzotint.doctor.checked import CheckedRun
from mezzotint.doctor.finding import Skip, Verdict, found

M, K, N = 4096, 256, 1024
TEXTS, STEPS, REPEATS = 64, 16, 3
LEAST = 0.02
"""Share of the limit below which the time goes to something other than the network."""


def gflops(device: torch.device | str = "cpu", clock: Callable[[], float] = time.perf_counter) -> float:
    """Best of three runs of each type, 10^9 floating-point operations a second of a clock."""
    return max(_best(dtype, torch.device(device), clock) for dtype in (torch.bfloat16, torch.float32))


def _layers(x: Tensor, weights: Sequence[Tensor]) -> int:
    """Operations of recurrent layers over vectors x (B, L, D) or (L, B, D): every matrix is used once a token."""
    return 2 * x.shape[0] * x.shape[1] * sum(w.numel() for w in weights if w.dim() == 2)


RECURRENT: Mapping[Any, Callable[..., int]] = {
    torch.ops.aten.mkldnn_rnn_layer: lambda x, enter, again, *_: _layers(x, [enter, again]),
    torch.ops.aten._cudnn_rnn: lambda x, weights, *_: _layers(x, weights),
}
"""Layers that are one call, on a processor and on a GPU, which torch's registry does not know."""


class Work(TorchDispatchMode):
    """Counts the operations of the products of matrices that are made within it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gflop = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in RECURRENT:
            self.gflop += RECURRENT[packet](*args) / 1e9
        elif (count := flop_registry.get(packet)) is not None:
            self.gflop += count(*args, **(kwargs or {}), out_val=out) / 1e9
        return out


def throughput(checked: CheckedRun) -> tuple[Verdict, str]:
    """Products of matrices a second while texts are written, over those that the machine can make."""
    if checked.translates:
        raise Skip(f"{checked.run.card.name} writes from a source, and how fast is for `mezzotint evaluate` to say")
    run = checked.run
    with Work() as work:
        texts = run.generate(TEXTS, steps=STEPS)
    seconds, limit = [], gflops(run.device)
    for _ in range(REPEATS):
        began = time.perf_counter()
        run.generate(TEXTS, steps=STEPS)
        seconds.append(time.perf_counter() - began)
        limit = max(limit, gflops(run.device))
    rate = work.gflop / median(seconds)
    share, tokens = rate / limit, sum(len(text.ids) for text in texts) / median(seconds)
    said = f"{TEXTS} texts in {STEPS} steps: {tokens:,.0f} tokens a second, {rate:.1f} of this machine's {limit:.0f} "
    said += f"GFLOP/s ({share:.0%})"
    return found(share >= LEAST, said, f"{said}; the time goes to something other than the network's products")


def _best(dtype: torch.dtype, device: torch.device, clock: Callable[[], float]) -> float:
    x, w = torch.randn(M, K, device=device).to(dtype), torch.randn(N, K, device=device).to(dtype)
    times = []
    for _ in range(6):
        began = clock()
        F.linear(x, w)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - began)
    return 2 * M * K * N / min(times[3:]) / 1e9
