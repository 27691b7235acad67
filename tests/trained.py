"""Runs of a few steps on a few words, for tests of what is done with a trained run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import mezzotint
from mezzotint import Run

WORDS = ["The", "A", "old", "new", "river", "pub", "stands", "near", "by", "is", "was", "cold", "warm", ",", "."]
SETTINGS = {"dim": "32", "depth": "1", "heads": "2", "batch": "16", "lr": "0.01"}


def few(root: Path, systems: Sequence[tuple[str, str, dict[str, str]]], lines: Sequence[str] = ()) -> dict[str, Run]:
    """A run for each (name, system, settings), loaded, in folders of these names under `root`."""
    drawn = [" ".join(WORDS[(i * k + k) % 15] for k in range(1, 4 + i % 9)) for i in range(200)]
    texts = root / "texts.txt"
    texts.write_text("\n".join(lines or drawn) + "\n")
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        for name, system, settings in systems:
            layout = "windows" if "canvas" in settings else "texts"
            how = {"max_steps": 3, "valid": [texts], "layout": layout, "settings": SETTINGS | settings}
            list(mezzotint.train(system, [texts], out=root / name, **how))
            made[name] = mezzotint.load(root / name)
    return made
