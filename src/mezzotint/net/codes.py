"""Quantised weights as codes of few bits, without loss.

What quantisation is for in QE-CDLM (Kang et al. 2024, arXiv:2402.10107): a code of one or two bits for each weight,
and a scale for each row where rows have values of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.net.quantized import Quantizer

MOST_BITS = 8
"""Codes of more bits are not packed: their table of values would be no smaller than most weights."""


@dataclass(frozen=True)
class CodedMatrix:
    """Codes of 1, 2, 4 or 8 bits into a short list of values."""

    codes: Tensor
    """(bytes,) uint8: the codes row after row, the first in the lowest bits of a byte."""
    values: Tensor
    """(K,): what the codes stand for."""
    scales: Tensor | None
    """(R, 1): the factor of each row's values."""
    shape: tuple[int, int]

    @property
    def bits(self) -> int:
        """Bits of one code."""
        return _code_bits(len(self.values))

    @property
    def size(self) -> int:
        """Bytes of codes, values and scales together."""
        parts = [self.codes, self.values, *([] if self.scales is None else [self.scales])]
        return sum(part.numel() * part.element_size() for part in parts)

    def unpack(self) -> Tensor:
        """(R, C): the weights, bit for bit those that were packed."""
        shifts = torch.arange(0, 8, self.bits, dtype=torch.uint8, device=self.codes.device)
        codes = (self.codes[:, None] >> shifts) & (2**self.bits - 1)
        codes = codes.flatten()[: self.shape[0] * self.shape[1]].view(self.shape)
        values = self.values[codes.long()]
        return values if self.scales is None else self.scales * values


@torch.no_grad()
def pack(w_RC: Tensor, quantizer: Quantizer) -> CodedMatrix | None:
    """The quantised weights (R, C) as codes; None where they have too many values for codes of MOST_BITS."""
    quantised, scales = quantizer.values(w_RC), quantizer.scales(w_RC)
    units = quantised if scales is None else quantised.sign()
    values, codes = units.unique(return_inverse=True)
    if len(values) > 2**MOST_BITS:
        return None
    bits = _code_bits(len(values))
    per_byte = 8 // bits
    flat = torch.nn.functional.pad(codes.flatten(), (0, -codes.numel() % per_byte)).view(-1, per_byte)
    shifts = bits * torch.arange(per_byte, device=flat.device)
    rows, columns = w_RC.shape
    return CodedMatrix((flat << shifts).sum(-1).to(torch.uint8), values, scales, (rows, columns))


def _code_bits(values: int) -> int:
    """The least of 1, 2, 4 and 8 bits that can number so many values."""
    return next(bits for bits in (1, 2, 4, 8) if values <= 2**bits)
