"""Proteins written in few steps (`protein-fewstep`; `protein-short-fewstep` for chains of at most 128 residues).

    python -m benchmarks.judge protein-short
    python -m benchmarks.unconditional protein-short --systems mdlm ar          # or `mezzotint train`, as there
    mezzotint distill runs/protein-short-mdlm --out runs/protein-short-didi --minutes 2
    python -m benchmarks.fewstep --name protein-short --students runs/protein-short-didi --ar runs/protein-short-ar

and the same with `protein` where there is a GPU (chains of up to 512). A residue is a word, so the judge's NLL is nats
a residue and word entropy is that of a chain's composition. Here are the scores that only proteins have. Nothing is
said about folding: that takes a folding model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from mezzotint.evaluate.table import Score
from mezzotint.evaluate.words import words

GRAM = 3
SHARED = 0.3
"""Of a chain's 3-grams: with as many in common it belongs to a cluster. Of two unrelated chains of 100 residues about 1
in 80 is common, of two that are equal at 7 places of 10 about 3 in 10."""


def of_chains(texts: Sequence[str], held_out: Sequence[str]) -> Iterator[Score]:
    """What sets a sample of chains apart from held-out ones, and how many kinds it has."""
    chains, others = ([words(text) for text in sample] for sample in (texts, held_out))
    yield composition_distance(chains, others)
    yield length_distance(chains, others)
    yield clusters_share(chains)


def composition_distance(chains: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> Score:
    """Half the sum of absolute differences between the shares of residues in both samples."""
    counts = [Counter(residue for chain in sample for residue in chain) for sample in (chains, others)]
    shares = [{residue: n / max(count.total(), 1) for residue, n in count.items()} for count in counts]
    apart = sum(abs(shares[0].get(residue, 0) - shares[1].get(residue, 0)) for residue in {*shares[0], *shares[1]})
    return Score("composition_distance", apart / 2, None, len(chains))


def length_distance(chains: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> Score:
    """Residues by which lengths differ at equal ranks, on average: the Wasserstein distance of order 1."""
    ranks = (np.arange(1000) + 0.5) / 1000
    ours, theirs = (np.quantile([len(chain) for chain in sample], ranks) for sample in (chains, others))
    return Score("length_distance", float(np.abs(ours - theirs).mean()), None, len(chains))


def clusters_share(chains: Sequence[Sequence[str]]) -> Score:
    """Clusters a chain. The longest chain is the first one's centre; each next one, longest first, joins a centre with
    which it has the share SHARED of its 3-grams in common, or is a centre itself (the greedy scheme of CD-HIT: Li and
    Godzik 2006; there by identity of aligned residues)."""
    centres: list[set[tuple[str, ...]]] = []
    for chain in sorted(chains, key=len, reverse=True):
        grams = set(zip(*(chain[i:] for i in range(GRAM)), strict=False))
        if not any(len(grams & centre) >= SHARED * len(grams) for centre in centres):
            centres.append(grams)
    return Score("clusters_share", len(centres) / max(len(chains), 1), None, len(chains), f"{len(centres)} clusters")
