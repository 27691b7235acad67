"""The transformer under every system: pre-norm, bias-free norms, optionally modulated by the time.

With `condition`, tanh-GELU, an untied head and one more output for the mask it is the DiT of MDLM (Sahoo et al. 2024,
arXiv:2406.07524, App. C; parameter names map one to one). Logits are computed only where requested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.net.adapter import Graft
from mezzotint.net.attention import INHIBITION, Attention, Cache, Rotary, visibility
from mezzotint.net.conditioning import Modulation, TimeEmbedding
from mezzotint.spec.transformer import Gelu, Positions, TransformerSpec


class Norm(nn.Module):
    """Layer norm with a weight and, where asked for, a bias, computed in float32."""

    def __init__(self, dim: int, biased: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if biased else None

    def forward(self, x_BLD: Tensor) -> Tensor:
        if x_BLD.dtype == torch.float64:
            return F.layer_norm(x_BLD, x_BLD.shape[-1:], self.weight, self.bias)
        bias = None if self.bias is None else self.bias.float()
        return F.layer_norm(x_BLD.float(), x_BLD.shape[-1:], self.weight.float(), bias).to(x_BLD.dtype)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); with a condition each branch is shifted, scaled and gated.

    A graft adds to a block without a condition: keys and values, and an adapter beside its branches.
    """

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.norm1 = Norm(spec.dim, spec.biases)
        self.attention = Attention(spec.dim, spec.heads, spec.biases, spec.inhibition)
        self.norm2 = Norm(spec.dim, spec.biases)
        self.up = nn.Linear(spec.dim, 4 * spec.dim)
        self.down = nn.Linear(4 * spec.dim, spec.dim)
        self.modulation = Modulation(spec.condition, spec.dim, 6) if spec.condition else None
        self.gelu = "tanh" if spec.gelu is Gelu.TANH else "none"
        self.dropout = spec.dropout

    def mlp(self, x_BLD: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(x_BLD), approximate=self.gelu))
        return out

    def forward(
        self,
        x_BLD: Tensor,
        condition: Tensor | None,
        rotary: Rotary | None,
        bias: Tensor | None,
        cache: Cache | None,
        block: int,
        graft: Graft | None = None,
    ) -> Tensor:
        if graft is not None:
            assert self.modulation is None, "a graft on a block with a condition has not been tried"
            a_BLD = self._drop(self.attention(self.norm1(x_BLD), rotary, bias, cache, block, graft.slot))
            x_BLD = graft.beside_attention(x_BLD) + a_BLD
            return graft.beside_mlp(x_BLD) + self._drop(self.mlp(self.norm2(x_BLD)))
        if self.modulation is None or condition is None:
            x_BLD = x_BLD + self._drop(self.attention(self.norm1(x_BLD), rotary, bias, cache, block))
            return x_BLD + self._drop(self.mlp(self.norm2(x_BLD)))
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation.vectors(condition)
        h_BLD = self.norm1(x_BLD) * (1 + scale1) + shift1
        x_BLD = x_BLD + gate1 * self._drop(self.attention(h_BLD, rotary, bias, cache, block))
        h_BLD = self.norm2(x_BLD) * (1 + scale2) + shift2
        return x_BLD + gate2 * self._drop(self.mlp(h_BLD))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Head(nn.Module):
    """Hidden vectors to logits: norm, modulation if there is a condition, linear."""

    def __init__(self, spec: TransformerSpec, outputs: int) -> None:
        super().__init__()
        self.norm = Norm(spec.dim, spec.biases)
        self.modulation = Modulation(spec.condition, spec.dim, 2) if spec.condition else None
        self.weight = None if spec.tied else nn.Parameter(torch.zeros(outputs, spec.dim))
        self.bias = None if spec.biases else nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, condition: Tensor | None, tied: Tensor) -> Tensor:
        """x (K, D) with its rows' conditions (K, C), or (B, L, D) with (B, 1, C); `tied` (V, D) serves if tied."""
        h = self.norm(x)
        if self.modulation is not None and condition is not None:
            shift, scale = self.modulation(condition).chunk(2, dim=-1)
            h = h * (1 + scale) + shift
        return F.linear(h, tied if self.weight is None else self.weight, self.bias)


class Neighbours(nn.Module):
    """Token vectors plus a depthwise convolution of them, before any attention.

    So et al. 2021 (Primer), arXiv:2109.08668, §4, has such convolutions behind every projection. One at the entrance is
    enough to leave the plateau of word frequencies in a fraction of the steps (docs/log.md): attention has to learn
    where to look before it can learn what follows from it, and under masks it long sees too little to do either.
    """

    def __init__(self, dim: int, width: int, causal: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim, 1, width))
        self.before = width - 1 if causal else width // 2
        self.after = width - 1 - self.before

    def forward(self, x_BLD: Tensor, real: Tensor | None, cache: Cache | None) -> Tensor:
        """Padding counts as zeros; with a cache, its last tokens stand before the new ones."""
        padded = x_BLD if real is None else x_BLD * real[..., None].to(x_BLD.dtype)
        padded = F.pad(padded, (0, 0, self.before, 0)) if cache is None else cache.with_preceding(padded, self.before)
        padded = F.pad(padded, (0, 0, 0, self.after))
        return x_BLD + F.conv1d(padded.mT, self.weight.to(padded.dtype), groups=self.weight.shape[0]).mT


def position_table(kind: Positions, length: int, dim: int) -> nn.Parameter | None:
    """Vectors of positions counted from the start and, for EDGES, from the end: (1 or 2, length, dim)."""
    tables = {Positions.NONE: 0, Positions.START: 1, Positions.EDGES: 2}[kind]
    return nn.Parameter(torch.zeros(tables, length, dim)) if tables else None


def position_vectors(vectors: Tensor, x_BLD: Tensor, real: Tensor | None, first: int = 0) -> Tensor:
    """The vectors (1 or 2, length, D) of the positions of x, (L, D) or (B, L, D), the first of them being `first`."""
    B, L, _ = x_BLD.shape
    from_start = vectors[0, first : first + L]
    if len(vectors) == 1:
        return from_start
    lengths = real.sum(1, keepdim=True) if real is not None else torch.full((B, 1), L, device=x_BLD.device)
    from_end = (lengths - 1 - torch.arange(L, device=x_BLD.device)).clamp(min=0)
    return from_start + vectors[1][from_end]


class Trunk(nn.Module):
    """What the networks share between their entrance and their exit: positions, neighbours and blocks."""

    def __init__(self, spec: TransformerSpec, length: int) -> None:
        super().__init__()
        self.spec = spec
        self.positions = position_table(spec.positions, length, spec.dim)
        width = spec.neighbours
        self.neighbours = Neighbours(spec.dim, width, spec.causal) if width else None
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.depth))

    def initialise(self, generator: torch.Generator) -> Self:
        """Fresh weights as in GPT-2: normal of width 0.02, 1/sqrt(2 depth) of that into the residual stream."""
        for name, p in self.named_parameters():
            branch = name.endswith(("attention.out.weight", "down.weight")) and name.startswith("blocks")
            std = 0.02 / (2 * self.spec.depth) ** 0.5 if branch else 0.02
            if name.startswith("neighbours"):
                std = self.spec.neighbours**-0.5
            if name.startswith("widen"):  # so that what enters has the size of an undivided lookup
                std = self.spec.factor**-0.5
            with torch.no_grad():
                if name.endswith("bias") or "modulation" in name or INHIBITION in name:
                    p.zero_()
                elif "norm" not in name:
                    p.normal_(0, std, generator=generator)
        return self

    def through(
        self,
        x_BLD: Tensor,
        condition: Tensor | None,
        real: Tensor | None,
        cache: Cache | None = None,
        grafts: Sequence[Graft] | None = None,
        causal: bool | None = None,
    ) -> Tensor:
        """Token vectors (B, L, D) to hidden vectors (B, L, D); real (B, L) hides padding (not with a cache).

        With grafts, one for each block from the first, only so many blocks are gone through. `causal` overrules the
        spec in what attention sees; neighbours are mixed as the spec says.
        """
        first, L = cache.length if cache is not None else 0, x_BLD.shape[1]
        if self.neighbours is not None:
            x_BLD = self.neighbours(x_BLD, real, cache)
        if self.positions is not None:
            x_BLD = x_BLD + position_vectors(self.positions, x_BLD, real, first)
        rotary = Rotary(self.spec.dim // self.spec.heads, L, x_BLD, first) if self.spec.rotary else None
        bias = visibility(real, self.spec.causal if causal is None else causal, L, x_BLD, first)
        all_grafts: Sequence[Graft | None] = [None] * self.spec.depth if grafts is None else grafts
        for i, (block, graft) in enumerate(zip(self.blocks, all_grafts, strict=False)):
            x_BLD = block(x_BLD, condition, rotary, bias, cache, i, graft)
        if cache is not None:
            cache.length += L
        return x_BLD


class Transformer(Trunk):
    """Token ids to logits.

    `inputs` ids can be read (the vocabulary, and the mask where there is one), `outputs` can be predicted; positions
    up to `length` have learned vectors where the spec asks for them. With `factor` the lookup is V x factor, and a
    linear layer brings it to D, at a tied exit too: Lan et al. 2019 (ALBERT), arXiv:1909.11942, §3.1.
    """

    def __init__(self, spec: TransformerSpec, inputs: int, outputs: int, length: int) -> None:
        super().__init__(spec, length)
        self.outputs = outputs
        self.embed = nn.Embedding(inputs, spec.factor or spec.dim)
        self.widen = nn.Linear(spec.factor, spec.dim, bias=False) if spec.factor else None
        self.time = TimeEmbedding(spec.condition) if spec.condition else None
        self.head = Head(spec, outputs)

    def forward(
        self,
        ids_BL: Tensor,
        sigma: Tensor | None = None,
        real: Tensor | None = None,
        at: tuple[Tensor, Tensor] | None = None,
        cache: Cache | None = None,
        grafts: Sequence[Graft] | None = None,
    ) -> Tensor:
        """Logits (B, L, outputs), or (K, outputs) at the K pairs `at` = (rows, positions).

        sigma (B,) is the noise level for a network with a condition; real (B, L) hides padding (not with a cache).
        With a cache, ids are the positions that follow those in it, up to the canvas's end. Grafts, one for each
        block, add to the blocks (net/adapter.py).
        """
        assert grafts is None or len(grafts) == self.spec.depth
        x_BLD = self.vectors(ids_BL)
        condition = None
        if self.time is not None:
            condition = self.time(sigma if sigma is not None else x_BLD.new_zeros(ids_BL.shape[0]))
        x_BLD = self.through(x_BLD, condition, real, cache, grafts)
        tied = self._widened(self.embed.weight[: self.outputs])
        if at is None:
            out: Tensor = self.head(x_BLD, None if condition is None else condition[:, None], tied)
            return out
        out = self.head(x_BLD[at], None if condition is None else condition[at[0]], tied)
        return out

    def vectors(self, ids_BL: Tensor) -> Tensor:
        """The vectors (B, L, D) of tokens, as the blocks take them."""
        return self._widened(self.embed(ids_BL))

    def _widened(self, x: Tensor) -> Tensor:
        return x if self.widen is None else self.widen(x)
