"""A gradient for each token: a masked model of the student's own texts, less the teacher.

Zhu et al. 2025 (Di[M]O), arXiv:2503.15457, for texts in place of images. A shadow, a masked model of the student's
texts, is trained beside it. Where such a text is masked again, the shadow predicts what the student's texts have there
and the teacher what they should have; their difference is the student's gradient, in all tokens of all masked places
at once, where a reward of whole texts has to be shared out among them. With a shadow that knows the student's law it is
that of KL(teacher || student) where places do not depend on each other, and zero where the shadow equals the teacher.
Departure: the texts are those of the rollout, written in two steps from masks alone; the paper's student has one step,
from tokens some of which are drawn at random.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.distill.rollout import Rollout


def rollout_logits(texts: Rollout, at: tuple[Tensor, Tensor]) -> Tensor:
    """(K, V) logits, with the gradient, from which a student drew its texts' tokens at the pairs (rows, positions)."""
    first, second = texts.first, texts.second
    rows, length = texts.ids.shape
    early = _pair_numbers(first.at, len(first.noised.z), length).repeat_interleave(rows // len(first.noised.z), dim=0)
    late = _pair_numbers(second.at, rows, length)
    pair = torch.where(late >= 0, late + len(first.logits), early)
    return torch.cat([first.logits, second.logits])[pair[at]]


def matching_surrogate(student: Tensor, shadow: Tensor, teacher: Tensor) -> Tensor:
    """(K,): its gradient with respect to the student's logits is the shadow's probabilities less the teacher's.

    All are logits (K, V); shadow and teacher are held fixed. The value itself means nothing.
    """
    difference = shadow.float().softmax(-1) - teacher.float().softmax(-1)
    return (student.float() * difference.detach()).sum(-1)


def _pair_numbers(at: tuple[Tensor, Tensor], rows: int, length: int) -> Tensor:
    """(rows, length): the index of the pair at each place among the pairs `at`, -1 where there is none."""
    device = at[0].device
    return torch.full((rows, length), -1, device=device).index_put(at, torch.arange(len(at[0]), device=device))
