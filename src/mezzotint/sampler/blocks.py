"""Texts longer than the canvas, written from left to right: a window, then block after block.

Semi-autoregressive writing as in Sahoo et al. 2024 (MDLM), arXiv:2406.07524. Every call sees a whole window, as in
training: the last `window - block` tokens are given, the next `block` are masks. Each block has the law that its step
rule gives it after those tokens; that earlier ones are out of sight is the approximation.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mezzotint.rng import Rng
from mezzotint.sampler.drive import Step, drive
from mezzotint.types import Canvas, Denoiser, Frame, Request


def fill_canvas(
    denoise: Denoiser, step: Step, request: Request, rng: Rng, calls: Tensor, *, window: int
) -> Iterator[Frame]:
    """Frames of a request's canvas being filled by a step rule: at once, or block by block if it has `block`."""
    if request.block is None:
        return drive(denoise, step, request.canvas, request.steps, rng, calls)
    return write_blocks(denoise, step, request.canvas, request.steps, rng, calls, window=window, block=request.block)


@torch.no_grad()
def write_blocks(
    denoise: Denoiser, step: Step, canvas: Canvas, steps: int, rng: Rng, calls: Tensor, *, window: int, block: int
) -> Iterator[Frame]:
    """Frames of a canvas of any width, all of it real, whose given positions are a prefix: one a block.

    `steps` are those of each block. A canvas no wider than the window is written exactly as `drive` writes it.
    """
    assert bool(canvas.real.all()) and 1 <= block <= window
    L, prefix = canvas.ids.shape[1], int(canvas.given[0].sum())
    assert bool((canvas.given == (torch.arange(L, device=canvas.ids.device) < prefix)).all()), "given: a prefix"
    ids, known, confidence = canvas.ids.clone(), canvas.given.clone(), canvas.given.float()
    ends = _block_ends(prefix, L, window, block)
    yield _frame(0, len(ends), prefix, ids, known, confidence, calls)
    for n, end in enumerate(ends):
        window_slice = slice(max(0, end - window), end)
        start = None if canvas.start is None else canvas.start[:, window_slice]
        given = known[:, window_slice].clone()
        window_canvas = Canvas(ids[:, window_slice].clone(), given, canvas.real[:, window_slice], canvas.index, start)
        *_, last = drive(denoise, step, window_canvas, steps, rng if n == 0 else rng.at(f"block{n}"), calls)
        ids[:, window_slice], known[:, window_slice] = last.ids, last.known
        confidence[:, window_slice] = torch.where(given, confidence[:, window_slice], last.confidence)
        yield _frame(n + 1, len(ends), end, ids, known, confidence, calls)


def _block_ends(prefix: int, length: int, window: int, block: int) -> list[int]:
    """The end of the written text after each round: first as far as the window reaches, then a block at a time."""
    first = min(length, window if prefix < window else prefix + block)
    return [first, *range(first + block, length, block), *([length] if first < length else [])]


def _frame(
    n: int, blocks: int, num_written: int, ids: Tensor, known: Tensor, confidence: Tensor, calls: Tensor
) -> Frame:
    B, L = ids.shape
    t = torch.full((B,), 1 - num_written / L, dtype=torch.float64)
    return Frame(n, blocks, t, ids.clone(), known.clone(), confidence.clone(), calls.clone(), n == blocks)
