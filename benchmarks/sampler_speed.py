"""`sampler-speed`: the exact sampler against the naive one, against itself on equal terms, and against `ar`.

    python -m benchmarks.sampler_speed [--batch 8 32] [--steps 32 256] [--repeats 5]

One network (d 256, 6 layers, vocabulary 8,192, canvas 128, fresh weights: the time does not depend on them). Sides run
in processes of their own, one after the other in turn, so each has its own allocator settings:

    ours        what `mezzotint sample` does: precision by hardware, the command's allocator setting
    naive       claims/naive.py: float64 Gumbel noise at every position and step, network in float32, stock torch
    naive-like  the naive sampler with our precision and allocator
    ar          the autoregressive system with cached keys and values, as many tokens

The naive side's steps all cost the same: but for 32 steps at batch 8, 16 are run and their time is multiplied.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

LENGTH, VOCAB = 128, 8192
NAIVE_STEPS = 16


def network_spec() -> Any:
    from mezzotint.spec.transformer import TransformerSpec

    return TransformerSpec(dim=256, depth=6, heads=4)


def measure(side: str, batch: int, steps: int) -> dict[str, float]:
    """One side's seconds, in this process, after a warm-up."""
    if side != "naive":
        from mezzotint.cli.allocator import keep_memory

        keep_memory()
    import torch

    from benchmarks.peak import gflops
    from mezzotint.spec.training import Precision
    from mezzotint.training.device import pick_precision

    own = pick_precision(Precision.AUTO, torch.device("cpu"))
    dtype = torch.float32 if side == "naive" else own
    run = {"ours": ours, "ar": autoregressive}.get(side, naive)
    with torch.no_grad():
        run(batch, min(steps, 2), dtype)
        found = run(batch, steps, dtype)
    return {**found, "peak": gflops()}


def _mdlm(dtype: Any) -> Any:
    from mezzotint.spec.mdlm import MDLMSpec
    from mezzotint.systems.mdlm import MDLM
    from mezzotint.types import Ending

    system = MDLM(MDLMSpec(vocab=VOCAB, canvas=LENGTH, ending=Ending.LENGTH, net=network_spec()), None)
    system.initialise(0)
    system.net.to(dtype)
    return system


def _canvas(batch: int) -> Any:
    from mezzotint.data.canvas import free

    return free([LENGTH] * batch, range(batch), 1)


def ours(batch: int, steps: int, dtype: Any) -> dict[str, float]:
    from mezzotint.types import Request

    system = _mdlm(dtype)
    began = time.perf_counter()
    *_, frame = system.sample(Request(_canvas(batch), steps=steps))
    return {"seconds": time.perf_counter() - began, "nfe": float(frame.nfe.double().mean())}


def naive(batch: int, steps: int, dtype: Any) -> dict[str, float]:
    import torch

    from mezzotint.claims.naive import naive_ancestral
    from mezzotint.types import Noised

    system, canvas = _mdlm(dtype), _canvas(batch)
    share = 1.0
    if batch * steps > 256:
        share, steps = steps / NAIVE_STEPS, NAIVE_STEPS
    began = time.perf_counter()
    naive_ancestral(
        lambda z, t: system.denoise(Noised(z, t), canvas).logits,
        system.process.schedule.alpha, batch, LENGTH, VOCAB, steps, torch.Generator().manual_seed(0),
    )  # fmt: skip
    return {"seconds": share * (time.perf_counter() - began), "nfe": share * steps}


def autoregressive(batch: int, steps: int, dtype: Any) -> dict[str, float]:
    from dataclasses import replace

    from mezzotint.spec.ar import ARSpec
    from mezzotint.systems.ar import AR
    from mezzotint.types import Ending, Request

    net = replace(network_spec(), causal=True)
    system = AR(ARSpec(vocab=VOCAB, canvas=LENGTH, ending=Ending.LENGTH, net=net))
    system.initialise(0)
    system.net.to(dtype)
    began = time.perf_counter()
    *_, frame = system.sample(Request(_canvas(batch)))
    return {"seconds": time.perf_counter() - began, "nfe": float(frame.nfe.double().mean())}


def in_turn(sides: list[str], batch: int, steps: int, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Every side's measurements, taken in turn, each in a fresh process."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            call = [sys.executable, "-m", "benchmarks.sampler_speed", "--side", side, str(batch), str(steps)]
            found[side].append(json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout))
    return found


def rows_of(found: dict[str, list[dict[str, float]]], batch: int, steps: int) -> list[Any]:
    from benchmarks.peak import forward_gflop
    from benchmarks.rows import Row

    median = {side: statistics.median(m["seconds"] for m in runs) for side, runs in found.items()}
    rows = []

    def add(system: str, variant: str, metric: str, value: float, side: str) -> None:
        runs = found[side]
        times = [m["seconds"] for m in runs]
        spread = (max(times) - min(times)) / 2 / statistics.median(times)
        rows.append(
            Row(
                benchmark="sampler-speed", system=system, variant=variant, metric=metric, value=value, n=len(runs),
                stderr=abs(value) * spread, steps=None if side == "ar" else steps, nfe=runs[0]["nfe"], batch=batch,
                seconds=median[side],
            )
        )  # fmt: skip

    names = {"ours": ("mdlm", "default"), "naive": ("reference", "sampler=naive"), "ar": ("ar", "default")}
    names["naive-like"] = ("reference", "sampler=naive,terms=equal")
    for side, (system, variant) in names.items():
        if side in found:
            add(system, variant, "tokens_per_second", batch * LENGTH / median[side], side)
    for other, variant in (
        ("naive", "against=naive"),
        ("naive-like", "against=naive,terms=equal"),
        ("ar", "against=ar"),
    ):
        if other in found:
            add("mdlm", variant, "speed_up", median[other] / median["ours"], "ours")
    nfe = found["ours"][0]["nfe"]
    work = forward_gflop(network_spec(), batch * nfe, LENGTH, batch * LENGTH, VOCAB)
    shares = [work / m["seconds"] / m["peak"] for m in found["ours"]]
    add("mdlm", "default", "matmul_share", statistics.median(shares), "ours")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--steps", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--side", nargs=3, metavar=("SIDE", "BATCH", "STEPS"), help="measure one side here and print it"
    )
    given = parser.parse_args()
    if given.side:
        side, batch, steps = given.side
        print(json.dumps(measure(side, int(batch), int(steps))))
        return
    from benchmarks.rows import record

    for batch in given.batch:
        for steps in given.steps:
            sides = ["ours", "naive", "naive-like"] + (["ar"] if steps == 32 else [])
            rows = rows_of(in_turn(sides, batch, steps, given.repeats), batch, steps)
            record(rows)
            for row in rows:
                print(
                    f"B {row.batch}, {row.steps} steps: {row.system} {row.variant} {row.metric} {row.value:.4g}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
