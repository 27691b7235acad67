"""How a system is trained: optimiser, schedule, precision, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec


class Precision(Enum):
    """auto: bf16 where the processor multiplies bf16 matrices in hardware, else fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True, kw_only=True)
class TrainingSpec(Spec):
    """The training of one run. Progress is step / max_steps, or elapsed / minutes where max_steps is 0."""

    batch: int
    lr: float
    max_steps: int = 0
    minutes: float = 10.0
    accumulate: int = 1
    """Parts that each batch is computed in; changes memory, not results beyond rounding."""
    warmup: float = 0.03
    """Share of the run in which the learning rate rises; then it falls linearly to zero."""
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    ema: float = 0.999
    """Decay of the averaged weights, lower in the first steps: min(ema, (1 + n) / (10 + n)) as in MDLM."""
    average_best: int = 0
    """The model is the mean of the averaged weights at so many validations, those of the lowest bound; 0: it is the
    averaged weights at the end."""
    save_every: int = 0
    """Steps between checkpoints; 0: about once a minute."""
    validations: int = 20
    """How often the bound on held-out texts is estimated in the course of the run."""
    precision: Precision = Precision.AUTO
    shard: bool = False
    """Where several processes train: each keeps its share of weights, averages and optimiser state (FSDP2), not all."""
    compile: bool = False
    """torch.compile: measured slower on CPUs at every size tried (docs/log.md)."""

    def validate(self) -> None:
        checks = {
            "batch must be at least 1": self.batch >= 1,
            "accumulate must be at least 1 and divide batch": self.accumulate >= 1
            and self.batch % max(self.accumulate, 1) == 0,
            "lr must be positive": 0 < self.lr < inf,
            "minutes must be positive": 0 < self.minutes < inf,
            "beta1 must be at least 0 and below 1": 0 <= self.beta1 < 1,
            "beta2 must be at least 0 and below 1": 0 <= self.beta2 < 1,
            "weight_decay must not be negative": 0 <= self.weight_decay < inf,
            "max_steps must not be negative": self.max_steps >= 0,
            "average_best must not be negative": self.average_best >= 0,
            "save_every must not be negative": self.save_every >= 0,
            "warmup must be at least 0 and below 1": 0 <= self.warmup < 1,
            "ema must be at least 0 and below 1": 0 <= self.ema < 1,
            "clip must not be negative": self.clip >= 0,
            "validations must not be negative": self.validations >= 0,
            "compile and shard have not been tried together; set one of them": not (self.compile and self.shard),
        }
        for sentence, holds in checks.items():
            if not holds:
                raise UsageError(sentence)
