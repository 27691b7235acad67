"""What must come back: a run from its files, a training from its checkpoint, a text from its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from mezzotint.data.tokenizer import Tokenizer
from mezzotint.doctor.checked import STEPS, CheckedRun
from mezzotint.doctor.finding import Skip, Verdict, conclude
from mezzotint.run import load
from mezzotint.training import checkpoint as checkpoints
from mezzotint.training.checkpoint import Checkpoint, named, networks

TEXTS = 1000
"""Texts that are made into tokens and back, at most."""


def save_and_load(checked: CheckedRun) -> tuple[Verdict, str]:
    """What is saved for others and loaded again has the same numbers and writes the same texts."""
    run, request = checked.float64, checked.request()
    with TemporaryDirectory(prefix="mezzotint-") as temporary:
        checked.run.save_pretrained(Path(temporary) / "copy")
        other = load(Path(temporary) / "copy", device=str(run.device))
        ours, loaded = named(checked.run.system.players), named(other.system.players)
        names = _differing(ours, loaded)
        if names:
            return (
                Verdict.BAD,
                f"{len(names)} of {len(ours)} tensors are others after saving and loading: {names[0]}",
            )
        for module in networks(other.system):
            module.double()
        copy = CheckedRun(lambda: other)
        copy.float64 = other
        return conclude(
            copy.sample(request) == checked.sample(request),
            f"saved and loaded again, all {len(ours)} tensors are equal to the bit and the texts are the same",
            "saved and loaded again, the tensors are equal but the texts are not: something is used that is not saved",
        )


def resume(checked: CheckedRun) -> tuple[Verdict, str]:
    """A training that is cut off at a checkpoint and continued ends as one that was not, to the bit."""
    uninterrupted, half = checked.trainer(), STEPS // 2
    with TemporaryDirectory(prefix="mezzotint-") as temporary:
        for tick in uninterrupted.run(checked.batch):
            if tick.step == half:
                checkpoints.save(Path(temporary), uninterrupted.checkpoint())
        saved = checkpoints.newest(Path(temporary))
        assert saved is not None, "it was just saved"
        continued = checked.trainer()
        continued.restore(saved[0], temporary)
        for _ in continued.run(checked.batch):
            pass
        names = _differing(_all_tensors(uninterrupted.checkpoint()), _all_tensors(continued.checkpoint()))
    return conclude(
        not names,
        f"{STEPS} steps of training, and {half} continued from a checkpoint for {STEPS - half}, end equal to the bit",
        f"a training that is continued from a checkpoint ends elsewhere: {names[0] if names else ''} differs",
    )


def encode_decode(checked: CheckedRun) -> tuple[Verdict, str]:
    """Texts without unknown words come back from their tokens, letter by letter."""
    texts = list(checked.texts[:TEXTS])
    if not texts:
        raise Skip("the texts that the run was trained on are not here; name some with --data")
    tokenizer = checked.run.tokenizer
    encoded = tokenizer.encode_all(texts)
    known = [(text, ids) for text, ids in zip(texts, encoded, strict=True) if tokenizer.unk not in ids]
    lost = [text for text, ids in known if tokenizer.decode(ids) != text]
    unread = f"; {len(texts) - len(known):,} more have words that it does not know" if len(known) < len(texts) else ""
    if not known:
        return Verdict.BAD, f"each of {len(texts):,} texts has words that the tokenizer does not know"
    return conclude(
        not lost,
        f"{len(known):,} texts come back from their tokens as they were{unread}",
        f"{len(lost):,} of {len(known):,} texts do not come back from their tokens as they were, such as "
        f"{_mismatch(lost[0], tokenizer) if lost else ''}",
    )


def _mismatch(text: str, tokenizer: Tokenizer) -> str:
    back = tokenizer.decode(tokenizer.encode(text))
    place = next((i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back)))
    return f"{text[max(0, place - 10) : place + 20]!r}, which comes back as {back[max(0, place - 10) : place + 20]!r}"


def _all_tensors(state: Checkpoint) -> dict[str, Tensor]:
    parts = {"weights": state.weights, "averages": state.ema, "optimiser": state.optimiser}
    return {f"{part} {name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def _differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """The names that one lacks, or under which they have other numbers."""
    shared = one.keys() & other.keys()
    return sorted(one.keys() ^ other.keys()) + sorted(n for n in shared if not torch.equal(one[n], other[n]))
