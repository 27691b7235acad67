"""The mean of the weights at a run's best validations.

Vaswani et al. 2017, arXiv:1706.03762, §6.1, average the last ones; Gao et al. 2022 (Difformer), arXiv:2212.09412, the
five best by BLEU (code). Departure: best is what has the lowest bound on held-out texts, which every run has at hand;
and what is averaged are moving averages already, unless ema=0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from mezzotint.training.folder import BEST, put


class Best:
    """The weights of a run's `count` best validations, each in a file of its folder; nothing at all where count is 0.

    More of them are kept until the next checkpoint: a run that goes on from the last one still has all that were the
    best up to there.
    """

    def __init__(self, run: Path, count: int) -> None:
        self.folder = run / BEST
        self.count = count

    def add(self, step: int, valid: float, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights that scored `valid` (nats per symbol) after a step."""
        if self.count:
            self.folder.mkdir(exist_ok=True)
            whole = {k: v.detach().contiguous() for k, v in weights.items()}
            put(self._file(step), save(whole, metadata={"valid": repr(valid)}))

    def mean(self) -> dict[str, Tensor] | None:
        """The mean of the best, None where there are none; what is no number with a point is the best one's."""
        steps = self.steps()[: self.count]
        if not steps:
            return None
        found = load_file(self._file(steps[0]))
        sums = {k: v.double() for k, v in found.items() if v.is_floating_point()}
        for step in steps[1:]:
            for k, v in load_file(self._file(step)).items():
                if k in sums:
                    sums[k] += v
        return found | {k: (v / len(steps)).to(found[k].dtype) for k, v in sums.items()}

    def prune(self) -> None:
        """Keep no more than are asked for."""
        for step in self.steps()[self.count :]:
            self._file(step).unlink()

    def forget_after(self, step: int) -> None:
        """Drop what was kept after the checkpoint that the run goes on from, and what was written in half."""
        for path in self.folder.glob("*"):
            if not (path.stem.isdigit() and int(path.stem) <= step and math.isfinite(_valid(path))):
                path.unlink()

    def steps(self) -> list[int]:
        """The steps at which weights are kept, best first; of equals the later one."""
        scored = [(_valid(path), -int(path.stem)) for path in self.folder.glob("*.safetensors") if path.stem.isdigit()]
        return [-step for _, step in sorted(scored)]

    def _file(self, step: int) -> Path:
        return self.folder / f"{step}.safetensors"


def _valid(path: Path) -> float:
    """What the weights in a file scored; infinite where that was no number, or the file is damaged."""
    try:
        with safe_open(path, "pt") as file:
            found = float((file.metadata() or {})["valid"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return math.inf
    return found if math.isfinite(found) else math.inf
