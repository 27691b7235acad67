"""One transformer that tells of a noisy text what it says, its parts of speech and its phrases.

The classifiers of Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5 and App. D, read noisy vectors and the time, and
tell phrases from pairs of words. Departure: one network for all tasks, not one each, and not of BERT's size; a field is
told from a weighted mean of all words, where the paper's code has a language model go on with the field's name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.net.projected import ProjectedTransformer
from mezzotint.spec.controller import ControllerSpec, Labels


class Annotator(nn.Module):
    """States (B, L, W) and times (B,) to hidden vectors (B, L, D), and these to log-probabilities."""

    def __init__(self, spec: ControllerSpec, labels: Labels) -> None:
        super().__init__()
        dim = spec.net.dim
        self.sizes = [len(values) for values in labels.fields.values()]
        self.embed = nn.Embedding(spec.vocab, spec.width) if spec.vocab else None
        self.body = ProjectedTransformer(spec.net, spec.width, spec.canvas, out=dim)
        self.asks = nn.Linear(dim, len(self.sizes)) if self.sizes else None
        self.says = nn.ModuleList(nn.Linear(dim, size) for size in self.sizes)
        self.tag = nn.Linear(dim, len(labels.tags)) if labels.tags else None
        told = len(labels.phrases)
        self.first, self.last = (nn.Linear(dim, spec.pair) if told else None for _ in range(2))
        self.phrase = nn.Linear(spec.pair, told) if told else None

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights."""
        self.body.initialise(generator)
        with torch.no_grad():
            heads = (self.asks, self.tag, self.first, self.last, self.phrase, *self.says)
            for layer in (head for head in heads if isinstance(head, nn.Linear)):
                layer.weight.normal_(0, layer.weight.shape[1] ** -0.5, generator=generator)
                layer.bias.zero_()
            if self.embed is not None:
                self.embed.weight.normal_(generator=generator)

    def forward(self, states: Tensor, t: Tensor, real: Tensor) -> Tensor:
        """Hidden vectors (B, L, D), from states (B, L, W), or from odds (B, L, V) where there is a table for them."""
        if self.embed is not None:
            states = states.to(self.embed.weight.dtype) @ self.embed.weight
        return F.gelu(self.body(states.to(self.body.norm.weight.dtype), t, real))

    def field(self, h_BLD: Tensor, real: Tensor, number: int) -> Tensor:
        """(B, values): log p of each value of a field."""
        assert self.asks is not None, "no fields were learned"
        weight = self.asks(h_BLD)[..., number].masked_fill(~real, -torch.inf).softmax(-1)
        said: Tensor = self.says[number]((weight[..., None] * h_BLD).sum(1))
        return said.log_softmax(-1)

    def tags(self, h_BLD: Tensor) -> Tensor:
        """(B, L, tags): log p of each part of speech."""
        assert self.tag is not None, "no parts of speech were learned"
        said: Tensor = self.tag(h_BLD)
        return said.log_softmax(-1)

    def phrases(self, h_BLD: Tensor) -> Tensor:
        """(B, L, L, phrases): log p of what stands from a word up to and with another."""
        assert self.first is not None and self.last is not None and self.phrase is not None, "no phrases were learned"
        pairs = self.first(h_BLD)[:, :, None] + self.last(h_BLD)[:, None]
        said: Tensor = self.phrase(F.gelu(pairs))
        return said.log_softmax(-1)
