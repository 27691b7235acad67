"""The matrix-multiply limit that shares are taken of, that of `mezzotint doctor`, and the work of a network."""

from __future__ import annotations

from mezzotint.doctor.speed import gflops
from mezzotint.spec.transformer import TransformerSpec

__all__ = ["forward_gflop", "gflops"]


def forward_gflop(spec: TransformerSpec, rows: float, length: int, logits: float, vocab: int) -> float:
    """10^9 operations of the matrix products of forward passes: `rows` canvases, `logits` rows of the output layer."""
    token = 2 * 12 * spec.dim**2 * spec.depth + 2 * 2 * length * spec.dim * spec.depth
    return (rows * length * token + logits * 2 * spec.dim * vocab) / 1e9
