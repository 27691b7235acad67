"""A transformer over vectors: concatenated streams of each position to its outputs.

Source: Strudel et al. 2022 (SED), arXiv:2211.04236, §3: the streams are concatenated by feature and projected, the time
is added, and a linear layer reads the result.
Departure: the blocks are ours. Attention is rotary and as wide as the network, where the paper's has relative positions
and is wider, so that its sizes of 135M and 420M parameters cannot be built; tokens are mixed with their neighbours at
the entrance (`neighbours=0` leaves that out).
"""

from __future__ import annotations

from torch import Tensor, nn

from mezzotint.net.conditioning import sinusoids
from mezzotint.net.transformer import Norm, Trunk
from mezzotint.spec.transformer import TransformerSpec

CLOCK = 1000.0
"""Times are fed as the papers count them, 0 to 1000."""


class StreamTransformer(Trunk):
    """Streams (B, L, S) and times (B,) to outputs (B, L, O); positions up to `length`."""

    def __init__(self, spec: TransformerSpec, streams: int, outputs: int, length: int) -> None:
        super().__init__(spec, length)
        self.enter = nn.Linear(streams, spec.dim)
        self.time = nn.Linear(spec.dim, spec.dim)
        self.norm = Norm(spec.dim)
        self.leave = nn.Linear(spec.dim, outputs)

    def forward(self, streams_BLS: Tensor, t: Tensor, real: Tensor | None = None) -> Tensor:
        """Real (B, L) hides padding."""
        clock = self.time(sinusoids(t * CLOCK, self.spec.dim).to(streams_BLS.dtype))
        out: Tensor = self.leave(self.norm(self.through(self.enter(streams_BLS) + clock[:, None], None, real)))
        return out
