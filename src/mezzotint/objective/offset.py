"""How long a text is, as a class: the difference from the length of its source.

Source: Gao et al. 2022 (Difformer), arXiv:2212.09412, as its code has it from Gu et al. 2019 (Levenshtein Transformer),
arXiv:1905.11006: a linear layer on the mean of the encoder's states, cross-entropy over differences.
Departure: as many classes as there are differences, and those that give no possible length count nothing, so that the
probabilities of the lengths sum to one; the code has 256, and clamps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mezzotint.data.sketch import candidates
from mezzotint.spec.encoder_decoder import LengthBeam
from mezzotint.types import Canvas, Sketch


class LengthHead(nn.Module):
    """log p(length | source) for texts of 1 to `longest` tokens and sources of up to `longest_source`."""

    def __init__(self, dim: int, longest_source: int, longest: int) -> None:
        super().__init__()
        self.longest_source = longest_source
        self.longest = longest
        self.classes = nn.Linear(dim, longest_source + longest, bias=False)

    def forward(self, states_BSD: Tensor, real: Tensor) -> Tensor:
        """(B, longest) float32 at least: log p of 1, 2, … longest tokens, from the states of the source's real
        positions (B, S)."""
        weight = real.to(states_BSD.dtype)[..., None]
        mean = (states_BSD * weight).sum(1) / weight.sum(1)
        logits = self.classes(mean)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # Class c is the difference c - longest_source.
        length = torch.arange(1, self.longest + 1, device=real.device)
        index = length - real.sum(1, keepdim=True) + self.longest_source
        log_p: Tensor = logits.gather(1, index).log_softmax(-1)
        return log_p


def candidate_lengths(log_p: Tensor, count: int, window: bool) -> list[list[int]]:
    """`count` lengths for each row of log_p (B, longest), best first: around the likeliest, or the likeliest ones.

    Lengths outside 1 to longest are moved to the nearest that is possible.
    """
    longest = log_p.shape[1]
    if not window:
        best = log_p.topk(min(count, longest)).indices + 1
        return [(row + row[-1:] * count)[:count] for row in best.tolist()]
    first = -(count // 2)
    steps = sorted(range(first, first + count), key=abs)
    return [[min(max(best + step, 1), longest) for step in steps] for best in (log_p.argmax(1) + 1).tolist()]


def length_sketch(
    source: Canvas, log_p: Tensor, lengths: int, each: int, beam: LengthBeam, pad: int, states: object
) -> Sketch:
    """Canvases for candidates of each source: `each` of every one of the best `lengths` lengths under log_p
    (B, longest). `states` are the encoder's, kept for `Request.read`."""
    best = candidate_lengths(log_p, lengths, beam is LengthBeam.WINDOW)
    rows = [[n for n in row for _ in range(each)] for row in best]
    log_p_rows = log_p.gather(1, torch.tensor(rows, device=log_p.device) - 1)
    return Sketch(candidates(source, rows, pad), log_p_rows.flatten(), states)


def length_nll(log_p: Tensor, real: Tensor) -> Tensor:
    """(B,) nats: -log p of the lengths of rows real (B, L)."""
    return -log_p.gather(1, real.sum(1, keepdim=True) - 1)[:, 0]
