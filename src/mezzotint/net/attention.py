"""Self-attention with rotary positions, padding, causality and a key/value cache.

Rotary embedding: Su et al. 2021, arXiv:2104.09864, in the halves convention (the first half of a head's dimensions is
paired with the second), base 10000, on queries and keys only. Letters as in `mezzotint.types`; E is a head's width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WRITTEN_OUT = {torch.bfloat16: 128, torch.float32: 0, torch.float64: 0}
"""On a CPU, up to how many positions two batched products and a softmax beat the fused kernel, by type of number.

In float32 the fused kernel is 1.0 to 1.6 times as fast from 32 positions on (benchmarks/attention.py, docs/log.md).
"""


class Rotary:
    """cos and sin of position times frequency, (L, E) each, for positions first .. first + L - 1."""

    def __init__(self, width: int, length: int, like: Tensor, first: int = 0) -> None:
        frequency = 10000.0 ** -(torch.arange(0, width, 2, device=like.device, dtype=torch.float64) / width)
        position = torch.arange(first, first + length, device=like.device, dtype=torch.float64)
        angle = torch.outer(position, frequency)
        self.cos = torch.cat([angle.cos(), angle.cos()], dim=-1).to(like.dtype)
        self.sin = torch.cat([-angle.sin(), angle.sin()], dim=-1).to(like.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., L, E), rotated by its positions."""
        first, second = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat([second, first], dim=-1) * self.sin


class Cache:
    """Keys and values of the positions seen so far, one pair of (B, H, L, E) buffers a block.

    `vectors` (B, L, D) holds the token vectors, for a network that mixes neighbours.
    Lowering `length` forgets the positions from there on. A network that looks both ways may use one too: what comes
    new then sees what is cached and itself, but what is cached is not computed anew.
    """

    def __init__(self, depth: int) -> None:
        self.keys: list[Tensor | None] = [None] * depth
        self.values: list[Tensor | None] = [None] * depth
        self.length = 0
        self.capacity = 0
        self.vectors: Tensor | None = None

    def reserve(self, capacity: int) -> None:
        """Make room for `capacity` positions in all, before the first use."""
        self.capacity = capacity

    @property
    def batch(self) -> int:
        """Rows held."""
        return 0 if self.keys[0] is None else self.keys[0].shape[0]

    def extend(self, block: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k and v (B, H, n, E) to a block's and return all of them."""
        keys, values = self.keys[block], self.values[block]
        if keys is None or values is None:
            shape = (*k.shape[:2], max(self.capacity, k.shape[2]), k.shape[3])
            keys, values = k.new_zeros(shape), v.new_zeros(shape)
            self.keys[block], self.values[block] = keys, values
        end = self.length + k.shape[2]
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def with_preceding(self, x_BLD: Tensor, count: int) -> Tensor:
        """x (B, n, D) with the `count` token vectors before it, zeros where there were none."""
        if self.vectors is None:
            B, n, D = x_BLD.shape
            self.vectors = x_BLD.new_zeros(B, count + max(self.capacity, n), D)
        end = self.length + count + x_BLD.shape[1]
        self.vectors[:, self.length + count : end] = x_BLD
        return self.vectors[:, self.length : end]

    def of(self, rows: Tensor) -> Cache:
        """A copy with only some rows."""
        copy = Cache(len(self.keys))
        copy.length, copy.capacity = self.length, self.capacity
        copy.keys, copy.values, copy.vectors = list(self.keys), list(self.values), self.vectors
        copy.rows(rows)
        return copy

    def rows(self, rows: Tensor) -> None:
        """Keep only some rows."""
        self.keys = [None if k is None else k[rows] for k in self.keys]
        self.values = [None if v is None else v[rows] for v in self.values]
        self.vectors = None if self.vectors is None else self.vectors[rows]


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k' / sqrt(E) + bias) v, (B, H, L, E).

    bias (B or 1, 1, L or 1, S) is 0 or -inf; None lets every position see every other.
    """
    if q.device.type != "cpu" or k.shape[2] > WRITTEN_OUT.get(q.dtype, 0):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ v


def visibility(real: Tensor | None, causal: bool, length: int, like: Tensor, first: int = 0) -> Tensor | None:
    """The bias of `attend` for `length` queries after `first` cached ones: padding hidden, the future too if causal."""
    bias = None
    if causal and length > 1:
        shape = (length, first + length)
        bias = torch.full(shape, -math.inf, dtype=like.dtype, device=like.device).triu(1 + first)[None, None]
    if real is not None and not bool(real.all()):
        # A finite number: a row without any real position must not become NaN.
        hidden = torch.zeros_like(real, dtype=like.dtype).masked_fill(~real, torch.finfo(like.dtype).min / 2)
        bias = hidden[:, None, None, :] if bias is None else bias + hidden[:, None, None, :]
    return bias


Slot = tuple[Tensor, Tensor]
"""Keys and values (B, H, n, E) that every position sees besides those of the text."""


INHIBITION = "inhibition"
"""The name of the gates on queries and keys."""
THRESHOLD = 0.3
"""The share of a position's greatest gate input that opens a gate."""


class Attention(nn.Module):
    """Multi-head self-attention; qkv rows are ordered (q k v, head, width) as in MDLM's weights and in GPT-2's.

    With `inhibited`, queries and keys are multiplied by 1 + gelu(W x - THRESHOLD max(W x)): the inhibition adaptation
    of QE-CDLM's code (Kang et al. 2024, arXiv:2402.10107), which changes nothing while W is zero. Departure: the
    maximum is that of the position, where the code's is that of the whole batch, on which no text should depend; and W
    is not quantised.
    """

    def __init__(self, dim: int, heads: int, biases: bool = False, inhibited: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=biases)
        self.out = nn.Linear(dim, dim, bias=biases)
        self.inhibition = nn.Linear(dim, 2 * dim, bias=False) if inhibited else None

    def forward(
        self,
        x_BLD: Tensor,
        rotary: Rotary | None,
        bias: Tensor | None,
        cache: Cache | None = None,
        block: int = 0,
        slot: Slot | None = None,
    ) -> Tensor:
        """`slot` stands before the text, at no position; a cache does not keep it, so it is given with every call."""
        B, L, D = x_BLD.shape
        qkv = self.qkv(x_BLD)
        if self.inhibition is not None:
            gate_logits = self.inhibition(x_BLD).view(B, L, 2, D)
            gates = 1 + F.gelu(gate_logits - THRESHOLD * gate_logits.amax(-1, keepdim=True))
            qkv = torch.cat([qkv[..., : 2 * D] * gates.flatten(2), qkv[..., 2 * D :]], dim=-1)
        qkv = qkv.view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        # Under autocast rotated ones come out wider than v, and the kernel is chosen by their type.
        q, k = (qkv[:2] if rotary is None else rotary(qkv[:2]).to(qkv.dtype)).unbind(0)
        v = qkv[2]
        if cache is not None:
            k, v = cache.extend(block, k, v)
        if slot is not None:
            k, v = torch.cat([slot[0].to(k), k], dim=2), torch.cat([slot[1].to(v), v], dim=2)
            bias = None if bias is None else F.pad(bias, (slot[0].shape[2], 0))
        out: Tensor = self.out(attend(q, k, v, bias).transpose(1, 2).reshape(B, L, D))
        return out
