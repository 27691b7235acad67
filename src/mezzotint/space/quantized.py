"""Learned vectors of tokens whose numbers have few values.

Source: Kang et al. 2024 (QE-CDLM), arXiv:2402.10107, by its title. Departure: the authors' code quantises the layers
around the network and leaves the table as it is; here the table itself is rounded where it is used.
"""

from __future__ import annotations

from torch import Tensor

from mezzotint.net.quantized import Quantizer
from mezzotint.space.learned import LearnedEmbedding


class QuantizedEmbedding(LearnedEmbedding):
    """A table (V, D) that is kept in full and read through a quantiser, straight-through gradients behind it.

    Two tokens can come to share a vector: there are 2^D of signs. Only their biases tell those apart.
    """

    def __init__(self, vocab: int, width: int, quantizer: Quantizer) -> None:
        super().__init__(vocab, width)
        self.quantizer = quantizer

    @property
    def vectors(self) -> Tensor:
        """(V, D) of few values, in float32 at least."""
        return self.quantizer(super().vectors)
