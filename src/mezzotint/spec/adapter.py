"""What of a trained network learns when it is tuned to other texts."""

from __future__ import annotations

from enum import Enum


class Adapt(Enum):
    """Which weights are trained."""

    LORA = "lora"
    """Matrices of low rank beside those of attention, which they are added to in the end."""
    INA = "ina"
    """Gates on queries and keys, which stay beside the rest."""
    NONE = "none"
    """All weights there are."""
