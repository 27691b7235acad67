"""An encoder, and a decoder with cross-attention to it: Vaswani et al. 2017, arXiv:1706.03762, §3.

Norms stand behind the sums, as there, or in front of the branches (Xiong et al. 2020, arXiv:2002.04745). The decoder
looks back, or both ways. Its keys and values of the source are computed once, whatever is written from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.net.attention import Attention, Cache, Rotary, attend, visibility
from mezzotint.net.transformer import Neighbours, Norm, position_table, position_vectors
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec, NormPlace


@dataclass(frozen=True)
class Memory:
    """A source as a decoder sees it: keys and values (B, H, S, E) of each layer, and the bias that hides padding."""

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    bias: Tensor | None

    def rows(self, rows: Tensor) -> Memory:
        """The memory of some rows, in that order."""
        keys_values = tuple((k[rows], v[rows]) for k, v in self.keys_values)
        return Memory(keys_values, None if self.bias is None else self.bias[rows])


class Crossing(nn.Module):
    """Cross-attention from a text to its source, without biases."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def keys_values(self, states_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, E) of a source."""
        B, S, D = states_BSD.shape
        k, v = self.kv(states_BSD).view(B, S, 2, self.heads, D // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return k, v

    def forward(self, x_BLD: Tensor, keys_values: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
        B, L, D = x_BLD.shape
        q = self.q(x_BLD).view(B, L, self.heads, D // self.heads).transpose(1, 2)
        out: Tensor = self.out(attend(q, *keys_values, bias).transpose(1, 2).reshape(B, L, D))
        return out


class Layer(nn.Module):
    """Attention within the text, attention to its source where it has one, and a feed-forward network."""

    def __init__(self, spec: EncoderDecoderSpec, crosses: bool) -> None:
        super().__init__()
        self.is_post = spec.norms is NormPlace.POST
        self.dropout = spec.dropout
        self.norm1 = Norm(spec.dim)
        self.attention = Attention(spec.dim, spec.heads)
        self.norm2 = Norm(spec.dim) if crosses else None
        self.crossing = Crossing(spec.dim, spec.heads) if crosses else None
        self.norm3 = Norm(spec.dim)
        self.up = nn.Linear(spec.dim, spec.hidden)
        self.down = nn.Linear(spec.hidden, spec.dim)

    def forward(
        self,
        x_BLD: Tensor,
        rotary: Rotary | None,
        bias: Tensor | None,
        memory: Memory | None,
        cache: Cache | None,
        index: int,
    ) -> Tensor:
        x_BLD = self._around(self.norm1, x_BLD, lambda h: self.attention(h, rotary, bias, cache, index))
        crossing = self.crossing
        if crossing is not None and self.norm2 is not None:
            assert memory is not None, "a decoder needs something to look at"
            keys_values, source_bias = memory.keys_values[index], memory.bias
            x_BLD = self._around(self.norm2, x_BLD, lambda h: crossing(h, keys_values, source_bias))
        return self._around(self.norm3, x_BLD, lambda h: self.down(F.gelu(self.up(h))))

    def _around(self, norm: Norm, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        out: Tensor = norm(x + self._drop(branch(x))) if self.is_post else x + self._drop(branch(norm(x)))
        return out

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Stack(nn.Module):
    """Layers over vectors, with places for up to `length` positions: an encoder, or a decoder, which crosses."""

    def __init__(
        self, spec: EncoderDecoderSpec, length: int, *, crosses: bool, causal: bool = False, normed: bool = False
    ) -> None:
        """`normed` puts a norm behind the entrance. Places are added after it: what enters grows in training, and a
        place that is added before is lost in it."""
        super().__init__()
        self.spec = spec
        self.causal = causal
        self.positions = position_table(spec.positions, length, spec.dim)
        self.neighbours = Neighbours(spec.dim, spec.neighbours, causal) if spec.neighbours else None
        self.norm_in = Norm(spec.dim) if normed else None
        self.layers = nn.ModuleList(Layer(spec, crosses) for _ in range(spec.depth))
        self.norm = None if spec.norms is NormPlace.POST else Norm(spec.dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Matrices as Glorot and Bengio 2010 have them; before pre-norms, 1/sqrt(2 depth) of that into the sum."""
        scaled_names = ("out.weight", "down.weight") if self.norm is not None else ()
        with torch.no_grad():
            for name, p in self.named_parameters():
                if name.startswith("neighbours"):
                    p.normal_(0, self.spec.neighbours**-0.5, generator=generator)
                elif name == "positions":
                    p.normal_(0, 0.02, generator=generator)
                elif name.endswith("bias"):
                    p.zero_()
                elif "norm" not in name:
                    # Queries, keys and values share a matrix, and are apart in the formula.
                    rows = self.spec.dim if name.endswith("kv.weight") else p.shape[0]
                    std = (2 / (rows + p.shape[1])) ** 0.5 / (
                        (2 * self.spec.depth) ** 0.5 if name.endswith(scaled_names) else 1
                    )
                    p.normal_(0, std, generator=generator)

    def forward(
        self, x_BLD: Tensor, real: Tensor | None, memory: Memory | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Vectors (B, L, D) to vectors; real (B, L) hides padding (not with a cache)."""
        first, L = cache.length if cache is not None else 0, x_BLD.shape[1]
        if self.neighbours is not None:
            x_BLD = self.neighbours(x_BLD, real, cache)
        x_BLD = x_BLD if self.norm_in is None else self.norm_in(x_BLD)
        if self.positions is not None:
            x_BLD = x_BLD + position_vectors(self.positions, x_BLD, real, first)
        x_BLD = F.dropout(x_BLD, self.spec.dropout, self.training) if self.spec.dropout else x_BLD
        rotary = Rotary(self.spec.dim // self.spec.heads, L, x_BLD, first) if self.spec.rotary else None
        bias = visibility(real, self.causal, L, x_BLD, first)
        for index, layer in enumerate(self.layers):
            x_BLD = layer(x_BLD, rotary, bias, memory, cache, index)
        if cache is not None:
            cache.length += L
        return x_BLD if self.norm is None else self.norm(x_BLD)

    def recall(self, states_BSD: Tensor, real: Tensor | None) -> Memory:
        """The memory of a source from its encoder's `states`; real (B, S) hides padding."""
        crossings = [layer.crossing for layer in self.layers if isinstance(layer, Layer)]
        keys_values = tuple(crossing.keys_values(states_BSD) for crossing in crossings if crossing is not None)
        return Memory(keys_values, visibility(real, False, 1, states_BSD))


class EncoderDecoder(nn.Module):
    """Ids and a source's ids to logits; one table of vectors for both sides and for the output.

    `inputs` ids can be read, `outputs` predicted; `lengths` are the most positions of a source and of a text.
    """

    def __init__(
        self, spec: EncoderDecoderSpec, inputs: int, outputs: int, lengths: tuple[int, int], *, causal: bool
    ) -> None:
        super().__init__()
        self.spec = spec
        self.outputs = outputs
        self.embed = nn.Embedding(inputs, spec.dim)
        self.encoder = Stack(spec, lengths[0], crosses=False)
        self.decoder = Stack(spec, lengths[1], crosses=True, causal=causal)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights; vectors of tokens enter with variance 1, and logits have about that."""
        with torch.no_grad():
            self.embed.weight.normal_(0, self.spec.dim**-0.5, generator=generator)
        self.encoder.initialise(generator)
        self.decoder.initialise(generator)

    def encode(self, ids_BS: Tensor, real: Tensor) -> Tensor:
        """The encoder's states of a source, (B, S, D)."""
        states: Tensor = self.encoder(self._enter(ids_BS), real)
        return states

    def read(self, ids_BS: Tensor, real: Tensor) -> Memory:
        """The decoder's memory of a source."""
        return self.decoder.recall(self.encode(ids_BS, real), real)

    def forward(
        self,
        ids_BL: Tensor,
        memory: Memory,
        real: Tensor | None = None,
        at: tuple[Tensor, Tensor] | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Logits (B, L, outputs), or (K, outputs) at the K pairs `at` = (rows, positions)."""
        x_BLD = self.decoder(self._enter(ids_BL), real, memory, cache)
        return F.linear(x_BLD if at is None else x_BLD[at], self.embed.weight[: self.outputs], self.bias)

    def _enter(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.embed(ids) * self.spec.dim**0.5
        return vectors
