"""What a didi-instruct run is made of: its teacher's own settings, and how it is taught."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.mdlm import CARD as TEACHER
from mezzotint.spec.mdlm import Bound, MaskNoise, MDLMSpec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.types import Can, Card, Ending

CARD = Card(
    name="didi-instruct",
    title="Student of a masked diffusion model, for few steps",
    paper="Zheng et al. 2025, arXiv:2509.25035",
    can=(TEACHER.can - {Can.CONTROL}) | {Can.REWARD},
    bound=TEACHER.bound,
    decoders=TEACHER.decoders,
    teachers=frozenset({TEACHER.name}),
)


class Reference(Enum):
    """Whose texts the student is to be like."""

    DATA = "data"
    """The texts of the corpus: the public code."""
    TEACHER = "teacher"
    """Texts that the teacher writes: the paper."""


class Objective(Enum):
    """What the student is to minimise."""

    DIVERGENCE = "divergence"
    """The integral KL from its law to the reference's, by a critic: DiDi-Instruct."""
    CONSISTENCY = "consistency"
    """The KL from what it says to what the teacher comes to in two steps, at the student's own states: after SDTT.
    There is no critic, and no reward to be guided by."""
    TOKENS = "tokens"
    """What the student's texts would have a masked model say, less what the teacher says, token by token: after Di[M]O.
    In place of the critic stands such a model, and there is no reward to be guided by."""


@dataclass(frozen=True, kw_only=True)
class DiDiSpec(Spec):
    """A student of the teacher's shape. The first block of fields is the teacher's and cannot be set."""

    vocab: int
    canvas: int
    ending: Ending
    net: TransformerSpec
    noise: MaskNoise = MaskNoise.LOG_LINEAR
    time_conditioning: bool = False
    mask_output: bool = False
    frame: int = -1

    objective: Objective = Objective.DIVERGENCE
    stride: float = 0.125
    """With consistency: how long the student's step is, of which each of the teacher's is half."""
    reference: Reference = Reference.DATA
    reference_steps: int = 64
    """Steps in which the teacher writes, where its texts are the reference."""
    group: int = 4
    """Texts of the student for each row of a batch; their rewards are compared with each other."""
    time_a: int = 1
    time_b: int = 1
    """The law of the time that is split at: Beta(a, b)."""
    one_time: bool = False
    """A group has one time, so that its rewards are all of one level; the public code has one for each member."""
    two_steps: bool = True
    """Score decomposition; otherwise texts are written, and their probability taken, in one step."""
    coupled: bool = True
    """The critic reads texts masked to the level at which they were split; otherwise to one of its own."""
    weighted: bool = True
    """omega = -alpha' / (1 - alpha); otherwise 1."""
    importance: bool = False
    """Divide by the density of the times; of no effect where a = b = 1."""
    reward_clip: float = 8.0
    advantage_clip: float = 3.0
    kl_first: float = 0.01
    kl_second: float = 0.01
    """Weights of KL(teacher || student) at the state that is all masks, and at the split."""
    entropy: float = 0.02
    """Weight of the student's entropy at both states."""
    critic_blocks: int = 4
    """The last blocks of the critic, which learn; those before are the teacher's."""
    critic_pace: float = 10.0
    """The critic's learning rate, in that of the run, which is the student's."""
    critic_alone: float = 0.02
    """Share of the run in which only the critic learns."""
    floor: float = 0.2
    """The run stops where the student's entropy falls below this share of the teacher's at the same states."""
    tilt_first: float = 5.0
    tilt_last: float = 5.0
    """How far early steps follow the gradient of the reward, from the first of them to the last. The public code has 30
    and 40, for texts of 1,024 tokens; on short texts that is a low temperature by another name."""
    candidates: int = 4
    """How many continuations a late step chooses among."""
    sharpness: float = 4.0
    """How strongly the reward decides among them."""
    reranked: float = 0.5
    """Share of the steps that are late."""

    def validate(self) -> None:
        _ = self.masked
        least = {"group": self.group, "time_a": self.time_a, "time_b": self.time_b, "candidates": self.candidates}
        least |= {"critic_blocks": self.critic_blocks, "reference_steps": self.reference_steps}
        for name, value in least.items():
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if self.group < 2:
            raise UsageError("group must be at least 2: rewards are compared with those of the group")
        if min(self.kl_first, self.kl_second, self.entropy, self.tilt_first, self.tilt_last, self.sharpness) < 0:
            raise UsageError("kl_first, kl_second, entropy, tilt_first, tilt_last and sharpness must not be negative")
        if min(self.reward_clip, self.advantage_clip, self.critic_pace) <= 0:
            raise UsageError("reward_clip, advantage_clip and critic_pace must be positive")
        for name, share in (("critic_alone", self.critic_alone), ("floor", self.floor)):
            if not 0 <= share < 1:
                raise UsageError(f"{name} must be at least 0 and below 1, not {share}")
        if not 0 < self.stride <= 1:
            raise UsageError(f"stride must be above 0 and at most 1, not {self.stride}")
        if not 0 <= self.reranked <= 1:
            raise UsageError(f"reranked must be from 0 to 1, not {self.reranked}")

    @property
    def masked(self) -> MDLMSpec:
        """The teacher's spec, and so the student's, but for dropout: what is drawn and what is scored is one pass."""
        return MDLMSpec(
            vocab=self.vocab, canvas=self.canvas, ending=self.ending, net=replace(self.net, dropout=0.0),
            noise=self.noise, bound=Bound.TIMES if self.time_conditioning else Bound.COUNTS,
            time_conditioning=self.time_conditioning, mask_output=self.mask_output, frame=self.frame,
        )  # fmt: skip
