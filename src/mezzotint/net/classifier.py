"""One transformer that classifies noisy texts: their fields, parts of speech, phrases and ends.

The classifiers of Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5 and App. D, read noisy vectors and the time, and
tell phrases from pairs of words. Departure: one network for all tasks, not one each, and not of BERT's size; a field is
told from a weighted mean of all words, where the paper's code has a language model go on with the field's name, and
from a sum over words of what each has to say, whatever stands beside it. Without that sum nothing is learned of fields
in 400 steps: what a single word says is lost in a mean of vectors that all look alike (docs/log.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.net.projected import ProjectedTransformer
from mezzotint.spec.classifier import ClassifierSpec, Labels

WORD_STD = 0.1
"""Initial deviation of the vectors of single words, of which a text sums many."""


class ClassifierNet(nn.Module):
    """States (B, L, W) and times (B,) to hidden vectors (B, L, D), and these to log-probabilities."""

    def __init__(self, spec: ClassifierSpec, labels: Labels) -> None:
        super().__init__()
        dim = spec.net.dim
        self.sizes = [len(values) for values in labels.fields.values()]
        self.embed = nn.Embedding(spec.vocab, spec.width) if spec.vocab else None
        self.body = ProjectedTransformer(spec.net, spec.width, spec.canvas, out=dim)
        self.asks = nn.Linear(dim, len(self.sizes)) if self.sizes else None
        self.says = nn.ModuleList(nn.Linear(dim, size) for size in self.sizes)
        self.words = nn.Embedding(spec.words, spec.say) if spec.words and self.sizes else None
        self.sums = nn.ModuleList(nn.Linear(spec.say, size) for size in self.sizes if self.words is not None)
        self.tag = nn.Linear(dim, len(labels.tags)) if labels.tags else None
        phrases = len(labels.phrases)
        self.first, self.last = (nn.Linear(dim, spec.pair) if phrases else None for _ in range(2))
        self.phrase = nn.Linear(spec.pair, phrases) if phrases else None
        self.end = nn.Linear(dim, 2) if spec.prefixes else None

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights."""
        self.body.initialise(generator)
        with torch.no_grad():
            heads = (self.asks, self.tag, self.first, self.last, self.phrase, *self.says, *self.sums, self.end)
            for layer in (head for head in heads if isinstance(head, nn.Linear)):
                layer.weight.normal_(0, layer.weight.shape[1] ** -0.5, generator=generator)
                layer.bias.zero_()
            if self.embed is not None:
                self.embed.weight.normal_(generator=generator)
            if self.words is not None:
                self.words.weight.normal_(0, WORD_STD, generator=generator)

    def forward(self, states: Tensor, t: Tensor, real: Tensor) -> Tensor:
        """Hidden vectors (B, L, D), from states (B, L, W) or, with a table, from ids (B, L), none where below zero."""
        if self.embed is not None and states.dim() == 2:
            states = rows_of(self.embed.weight, states)
        return F.gelu(self.body(states.to(self.body.norm.weight.dtype), t, real))

    def word_sum(self, words_BLS: Tensor, real: Tensor) -> Tensor:
        """(B, S): the sum of a text's vectors of single words."""
        return (words_BLS * real[..., None]).sum(1)

    def field(self, h_BLD: Tensor, real: Tensor, number: int, sum_BS: Tensor | None = None) -> Tensor:
        """(B, values): log p of each value of the field of this number."""
        assert self.asks is not None, "no fields were learned"
        weight = self.asks(h_BLD)[..., number].masked_fill(~real, -torch.inf).softmax(-1)
        logits: Tensor = self.says[number]((weight[..., None] * h_BLD).sum(1))
        if sum_BS is not None:
            logits = logits + self.sums[number](sum_BS)
        return logits.log_softmax(-1)

    def tags(self, h_BLD: Tensor) -> Tensor:
        """(B, L, tags): log p of each part of speech."""
        assert self.tag is not None, "no parts of speech were learned"
        logits: Tensor = self.tag(h_BLD)
        return logits.log_softmax(-1)

    def phrases(self, h_BLD: Tensor) -> Tensor:
        """(B, L, L, phrases): log p of each label of the words from one up to and with another."""
        assert self.first is not None and self.last is not None and self.phrase is not None, "no phrases were learned"
        pairs = self.first(h_BLD)[:, :, None] + self.last(h_BLD)[:, None]
        logits: Tensor = self.phrase(F.gelu(pairs))
        return logits.log_softmax(-1)

    def ends(self, h_BLD: Tensor) -> Tensor:
        """(B, L, 2): log p that a text goes on, and that it ends, at each place that it reaches."""
        assert self.end is not None, "ends were not learned"
        logits: Tensor = self.end(h_BLD)
        return logits.log_softmax(-1)


def rows_of(table: Tensor, ids: Tensor) -> Tensor:
    """(B, L, W): the rows of a table (V, W) by ids (B, L), zeros for ids below zero."""
    rows: Tensor = F.embedding(ids.clamp(min=0), table) * (ids >= 0)[..., None]
    return rows
