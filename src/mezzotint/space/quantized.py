"""Learned token vectors with quantised entries.

Source: Kang et al. 2024 (QE-CDLM), arXiv:2402.10107, by its title. Departure: the authors' code quantises the layers
around the network and leaves the table as it is; here the table itself is rounded where it is used.
"""

from __future__ import annotations

from torch import Tensor

from mezzotint.net.quantized import Quantizer
from mezzotint.space.learned import LearnedEmbedding


class QuantizedEmbedding(LearnedEmbedding):
    """A table (V, D) stored in full and read through a quantiser with straight-through gradients.

    Two tokens can come to share a vector: there are 2^D of signs. Only their biases differ then.
    """

    def __init__(self, vocab: int, width: int, quantizer: Quantizer) -> None:
        super().__init__(vocab, width)
        self.quantizer = quantizer

    @property
    def vectors(self) -> Tensor:
        """(V, D) of few values, in float32 at least."""
        return self.quantizer(super().vectors)
