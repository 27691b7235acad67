"""How fast a run samples, as a share of this machine's matrix-product rate.

The peak is the fastest of three products of 4096 x 256 by 256 x 1024, in bf16 and in float32, whichever is faster: on
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
from mezzotint.doctor.finding import Skip, Verdict, conclude

M, K, N = 4096, 256, 1024
TEXTS, STEPS, REPEATS = 64, 16, 3
MIN_SHARE = 0.02
"""Share of the peak below which the time goes to something other than the network."""


def gflops(device: torch.device | str = "cpu", clock: Callable[[], float] = time.perf_counter) -> float:
    """Best of three runs of each type, 10^9 floating-point operations a second of a clock."""
    return max(_best_gflops(dtype, torch.device(device), clock) for dtype in (torch.bfloat16, torch.float32))


def _recurrent_flop(x: Tensor, weights: Sequence[Tensor]) -> int:
    """Operations of recurrent layers over vectors x (B, L, D) or (L, B, D): every matrix is used once a token."""
    return 2 * x.shape[0] * x.shape[1] * sum(w.numel() for w in weights if w.dim() == 2)


RECURRENT_FLOP: Mapping[Any, Callable[..., int]] = {
    torch.ops.aten.mkldnn_rnn_layer: lambda x, enter, again, *_: _recurrent_flop(x, [enter, again]),
    torch.ops.aten._cudnn_rnn: lambda x, weights, *_: _recurrent_flop(x, weights),
}
"""Operations of fused recurrent layers, on a processor and on a GPU, which torch's registry does not know."""


class FlopCounter(TorchDispatchMode):
    """Counts the floating-point operations of matrix products within its block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gflop = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in RECURRENT_FLOP:
            self.gflop += RECURRENT_FLOP[packet](*args) / 1e9
        elif (count := flop_registry.get(packet)) is not None:
            self.gflop += count(*args, **(kwargs or {}), out_val=out) / 1e9
        return out


def throughput(checked: CheckedRun) -> tuple[Verdict, str]:
    """Operations a second of matrix products while sampling, over the machine's peak."""
    if checked.is_translator:
        raise Skip(f"{checked.run.card.name} writes from a source, and how fast is for `mezzotint evaluate` to say")
    run = checked.run
    with FlopCounter() as counter:
        texts = run.generate(TEXTS, steps=STEPS)
    seconds, peak = [], gflops(run.device)
    for _ in range(REPEATS):
        began = time.perf_counter()
        run.generate(TEXTS, steps=STEPS)
        seconds.append(time.perf_counter() - began)
        peak = max(peak, gflops(run.device))
    rate = counter.gflop / median(seconds)
    share, tokens = rate / peak, sum(len(text.ids) for text in texts) / median(seconds)
    figures = f"{tokens:,.0f} tokens a second, {rate:.1f} of this machine's {peak:.0f} GFLOP/s ({share:.0%})"
    summary = f"{TEXTS} texts in {STEPS} steps: {figures}"
    slow = f"{summary}; the time goes to something other than the network's products"
    return conclude(share >= MIN_SHARE, summary, slow)


def _best_gflops(dtype: torch.dtype, device: torch.device, clock: Callable[[], float]) -> float:
    x, w = torch.randn(M, K, device=device).to(dtype), torch.randn(N, K, device=device).to(dtype)
    times = []
    for _ in range(6):
        began = clock()
        F.linear(x, w)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - began)
    return 2 * M * K * N / min(times[3:]) / 1e9
