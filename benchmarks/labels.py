"""How well labels are told from few labelled texts: on the points of an adavae run, on words, by a whole network.

What `benchmarks.transfer` records as `yelp-labels`. All are given the same texts, and nothing is chosen on others:

- on points: logistic regression on the means of the posteriors;
- on words: the same on which of the most frequent words of the labelled texts a text has;
- `encoder`: the blocks that read in the adavae run, as its backbone has them, with no causal mask, the mean of what
  they say and a linear layer on it, all of it trained on the labelled texts (as Devlin et al. 2018, arXiv:1810.04805,
  §3.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LABELS = (10, 100, 1000, 10_000)
CHOICES = 5
"""How often the labelled texts are chosen anew."""
WORDS = 2000
"""The most frequent words of the labelled texts that the words' classifier reads."""
RATE, BATCH, MIN_STEPS, EPOCHS = 5e-4, 32, 200, 3
"""Of the encoder's training: the learning rate at its beginning, which falls to zero, texts a step, and how long it
takes: so many epochs, but no fewer steps than `LEAST`. Fixed before."""

Pairs = Sequence[tuple[str, int]]


def choose_labelled(train: Pairs, k: int, choice: int) -> tuple[list[str], Tensor]:
    """k labelled texts, the same for everybody."""
    pairs = [train[i] for i in np.random.default_rng(choice).permutation(len(train))[:k]]
    return [text for text, _ in pairs], torch.tensor([label for _, label in pairs])


def logistic(features: Tensor, labels: Tensor) -> Tensor:
    """(F + 1,) weights and an intercept of logistic regression on (n, F): the likeliest under a standard normal prior
    of the weights, on features brought to mean 0 and deviation 1 beforehand."""
    x = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    w = torch.zeros(x.shape[1], dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([w], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        fit = F.binary_cross_entropy_with_logits(x @ w, labels.to(x), reduction="sum")
        loss: Tensor = fit + 0.5 * (w[:-1] ** 2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return w.detach()


def accuracy(train: Tensor, labels: Tensor, test: Tensor, wanted: Tensor) -> float:
    """The share of (m, F) test features whose label the classifier of (n, F) training features tells."""
    mean, deviation = train.mean(0), train.std(0).clamp(min=1e-6)
    w = logistic((train - mean) / deviation, labels)
    odds = (test - mean) / deviation @ w[:-1] + w[-1]
    return float(((odds > 0) == (wanted > 0)).double().mean())


def word_indicators(texts: Sequence[str], vocabulary: Sequence[str]) -> Tensor:
    """(n, V): which words of a vocabulary stand in each text."""
    from mezzotint.evaluate.words import words

    place = {word: i for i, word in enumerate(vocabulary)}
    indicators = torch.zeros(len(texts), len(vocabulary))
    for row, text in enumerate(texts):
        indicators[row, [place[word] for word in set(words(text)) if word in place]] = 1
    return indicators


def few_labels(encode: Callable[[list[str]], Tensor], train: Pairs, test: Pairs, k: int) -> tuple[list[float], ...]:
    """(accuracies on the latents, on words) for `CHOICES` choices of k labelled texts; `encode`: texts to (n, Z)."""
    from mezzotint.evaluate.words import words

    wanted, points = torch.tensor([label for _, label in test]), encode([text for text, _ in test])
    on_points, on_words = [], []
    for choice in range(CHOICES):
        texts, labels = choose_labelled(train, k, choice)
        on_points.append(accuracy(encode(texts).double(), labels, points.double(), wanted))
        common = Counter(word for text in texts for word in sorted(set(words(text)))).most_common(WORDS)
        vocabulary = [word for word, _ in common]
        both = (word_indicators(texts, vocabulary), word_indicators([text for text, _ in test], vocabulary))
        on_words.append(accuracy(both[0], labels, both[1], wanted))
    return on_points, on_words


class Encoder(nn.Module):
    """The reading blocks of a run of adavae, as its backbone has them, with a linear layer for two labels."""

    def __init__(self, run: Any) -> None:
        from mezzotint.training.checkpoint import read_frozen

        super().__init__()
        fresh = deepcopy(run.system)
        read_frozen(run.folder, fresh)  # the norms as they were before adavae trained them
        self.backbone, self.readers, self.end = fresh.backbone, fresh.spec.readers, fresh.spec.end
        self.out = nn.Linear(fresh.spec.net.dim, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.float().requires_grad_(True)  # a run may be in fewer digits than learning takes

    def forward(self, batch: Any) -> Tensor:
        """(B,) log odds of label 1."""
        from mezzotint.net.adapter import Graft

        before = torch.cat([torch.full_like(batch.ids[:, :1], self.end), batch.ids[:, :-1]], dim=1)
        grafts = [Graft()] * self.readers
        h = self.backbone.through(self.backbone.vectors(before), None, batch.real, grafts=grafts, causal=False)
        real = batch.real[..., None].to(h.dtype)
        odds: Tensor = self.out((self.backbone.head.norm(h) * real).sum(1) / real.sum(1))[:, 0]
        return odds


def train_encoder(run: Any, texts: Sequence[str], labels: Tensor, seed: int) -> Encoder:
    """An encoder, trained whole on labelled texts."""
    encoder, g = Encoder(run).to(run.device), torch.Generator().manual_seed(seed)
    k = len(texts)
    steps = max(MIN_STEPS, EPOCHS * k // BATCH)
    optimiser = torch.optim.Adam(encoder.parameters(), RATE)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    order: list[int] = []
    for _ in range(steps):
        if len(order) < min(BATCH, k):
            order = torch.randperm(k, generator=g).tolist()
        rows, order = order[:BATCH], order[BATCH:]
        loss = F.binary_cross_entropy_with_logits(encoder(_batch(run, [texts[i] for i in rows])), labels[rows].float())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        scheduler.step()
    return encoder


def by_encoder(run: Any, train: Pairs, test: Pairs, k: int) -> list[float]:
    """Accuracies of an encoder trained on k labelled texts, for `CHOICES` choices of them."""
    wanted, accuracies = torch.tensor([label for _, label in test]), []
    for choice in range(CHOICES):
        encoder = train_encoder(run, *choose_labelled(train, k, choice), seed=choice)
        with torch.no_grad():
            odds = torch.cat([encoder(batch).cpu() for batch in _batches(run, [text for text, _ in test])])
        accuracies.append(float(((odds > 0) == (wanted > 0)).double().mean()))
    return accuracies


def _batches(run: Any, texts: Sequence[str], rows: int = 256) -> Iterator[Any]:
    for begin in range(0, len(texts), rows):
        yield _batch(run, texts[begin : begin + rows])


def _batch(run: Any, texts: Sequence[str]) -> Any:
    from mezzotint.data.canvas import pack

    spec, tokenizer = run.spec, run.tokenizer
    ids = [np.asarray(each, dtype=np.int64) for each in tokenizer.encode_all(list(texts))]
    return pack(ids, range(len(ids)), spec.ending, spec.canvas, tokenizer.end, tokenizer.pad).to(run.device)
