"""Runs of a few steps on a few words, for tests of what is done with a trained run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import mezzotint
from mezzotint import Run

WORDS = ["The", "A", "old", "new", "river", "pub", "stands", "near", "by", "is", "was", "cold", "warm", ",", "."]
SETTINGS = {"dim": "32", "depth": "1", "heads": "2", "batch": "16", "lr": "0.01", "validations": "1"}


def latent(root: Path, backbone: Run) -> Run:
    """A run with a latent space, in the folder vae under `root`, on a run of ar that `few` made there."""
    settings = {"batch": "8", "validations": "1", "latent": "4"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        how: Any = {"max_steps": 3, "backbone": backbone.folder, "settings": settings}
        list(mezzotint.train("adavae", [root / "texts.txt"], out=root / "vae", **how))
    return mezzotint.load(root / "vae")


def translator(root: Path) -> Run:
    """A run that writes words in capitals, backwards, or so it was told; in the folder de-en under `root`."""
    lines = [[WORDS[(i * k + k) % 13] for k in range(1, 3 + i % 5)] for i in range(120)]
    pairs = ({"de": " ".join(line), "en": " ".join(line[::-1]).upper()} for line in lines)
    (root / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        settings = SETTINGS | {"hidden": "32", "width": "16"}
        how: Any = {"max_steps": 3, "source": "de", "target": "en", "settings": settings}
        list(mezzotint.train("difformer", [root / "pairs.jsonl"], out=root / "de-en", **how))
    return mezzotint.load(root / "de-en")


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
