"""What can go wrong between a student and its critic, detected from the metrics that a run logs anyway.

Zheng et al. 2025 (DiDi-Instruct), arXiv:2509.25035, name collapse and a saturated critic; the bounds here are ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from mezzotint.errors import RunError

LOW = 0.5
"""Of the teacher's entropy: below it there is a warning that the student is narrow."""
HIGH = 1.1
"""Of the teacher's entropy: above it the student has learned noise. On e2e, 1.02 was the most that was seen of students
that gained something, and 1.17 of one that was taught for so long that it wrote worse than its teacher."""
CERTAIN = 0.98
"""A critic that is right so often gives no signal any more."""
CUT = 0.5
"""Rewards that are cut off so often are no rewards any more."""
FLAT = 1e-3
"""Rewards of a group that differ less carry no signal; normalised, they are noise."""


def faults(parts: Mapping[str, float], floor: float) -> dict[str, str]:
    """Warnings about the metrics of a stretch of training, by kind; RunError where the student has collapsed.

    parts: entropy and teacher_entropy (nats a masked position, at the same states), right (share of positions that the
    critic gets right), cut (share of rewards at the clip), spread (standard deviation of rewards in their groups).
    """
    warnings = {}
    ratio = parts["entropy"] / max(parts["teacher_entropy"], 1e-9)
    if ratio < floor:
        raise RunError(
            f"the student has collapsed: its entropy is {ratio:.0%} of the teacher's; the checkpoints are whole, "
            "but distil with a lower lr, or with a larger entropy or kl_first"
        )
    if ratio < LOW:
        warnings["entropy"] = f"the student's entropy is {ratio:.0%} of the teacher's; its texts may be of few kinds"
    if ratio > HIGH:
        warnings["noise"] = (
            f"the student's entropy is {ratio:.0%} of the teacher's: it unlearns what its teacher knew; "
            "distil for fewer minutes, or with a lower lr"
        )
    if "right" not in parts:  # there is no critic
        return warnings
    if parts["right"] > CERTAIN:
        warnings["critic"] = (
            f"the critic is right {parts['right']:.1%} of the time and tells the student little; slow it"
        )
    if parts["cut"] > CUT:
        warnings["cut"] = f"{parts['cut']:.0%} of the rewards are cut off at reward_clip"
    if parts["spread"] < FLAT:
        warnings["flat"] = "the rewards of a group are all but equal, and the student follows noise"
    return warnings
