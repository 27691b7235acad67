"""DiDi-Instruct: a student of a masked diffusion model that writes in few steps.

Zheng et al. 2025, "Ultra-Fast Language Generation via Discrete Diffusion Divergence Instruct", arXiv:2509.25035.
The student writes; a critic learns to tell its texts from the reference's, both under masks; by the score-function
identity what the critic says is a gradient of the integral KL divergence between the two (distill/divergence.py).
Departures stand in the parts. Student and critic start from the teacher; the teacher stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.data.lengths import Lengths
from mezzotint.distill.alarm import faults
from mezzotint.distill.consistency import two_step_targets
from mezzotint.distill.critic import Critic, critic_loss, mean_logit
from mezzotint.distill.divergence import (
    TimeLaw,
    advantages,
    entropy,
    omega,
    row_means,
    spread,
    surrogate,
    token_kl,
)
from mezzotint.distill.rollout import Rollout, StateLogits, roll_out, streams
from mezzotint.distill.tokens import matching, said_of
from mezzotint.errors import CapabilityError
from mezzotint.guidance.reward import tilt_by_reward
from mezzotint.guidance.vocabulary import forbid, respect_spacing
from mezzotint.objective.length import LengthCost
from mezzotint.objective.masked import text_bound, turned
from mezzotint.rng import Rng
from mezzotint.sampler.blocks import fill_canvas
from mezzotint.sampler.decoders import rule
from mezzotint.sampler.drive import Counted, Step, drive
from mezzotint.sampler.rerank import Rerank
from mezzotint.sampler.reveal import Reveal
from mezzotint.sampler.subs import Subs
from mezzotint.spec.didi_instruct import CARD, DiDiSpec, Objective, Reference
from mezzotint.types import Canvas, Denoiser, Ending, Frame, Loss, Noised, Request, Towards


class DiDiInstruct:
    """The student, as a masked diffusion model, with its critic; the teacher only where it is trained."""

    card = CARD

    def __init__(self, spec: DiDiSpec, lengths: Lengths | None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        self.subs = Subs(spec.masked)
        self.process, self.net = self.subs.process, self.subs.net
        self.denoise = self.subs.denoise
        told = spec.objective is Objective.DIVERGENCE
        self._critic = Critic(spec.masked, self.process, spec.critic_blocks) if told else None
        self.times = TimeLaw(spec.time_a, spec.time_b)
        self.shadow = Subs(spec.masked) if spec.objective is Objective.TOKENS else None
        other = self._critic or self.shadow
        beside = {} if other is None else {"critic": other.net}
        self.players: Mapping[str, nn.Module] = {**beside, "student": self.net}

    @property
    def critic(self) -> Critic:
        """Who tells the student's texts from others, and rewards it; of runs that were taught by one."""
        assert self._critic is not None, "taught without a critic"
        return self._critic

    @cached_property
    def teacher(self) -> Subs:
        """Made when first asked for: who only writes needs none."""
        teacher = Subs(self.spec.masked)
        teacher.net.requires_grad_(False).eval()
        return teacher

    @cached_property
    def frozen(self) -> Mapping[str, nn.Module]:
        return {"model": self.teacher.net}

    def initialise(self, seed: int) -> None:
        """Student and critic from the teacher, whose weights have to be there."""
        weights = self.teacher.net.state_dict()
        self.net.load_state_dict(weights)
        if self._critic is not None:
            self._critic.net.start(weights, torch.Generator().manual_seed(seed))
        if self.shadow is not None:
            self.shadow.net.load_state_dict(weights)

    def schedule(self, fraction: float) -> Mapping[str, float]:
        return {"critic": self.spec.critic_pace, "student": float(fraction >= self.spec.critic_alone)}

    def warnings(self, parts: Mapping[str, float]) -> Mapping[str, str]:
        return faults(parts, self.spec.floor)

    # ------------------------------------------------------------ the two players

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """The critic's, then, with what it has learned from it, the student's: both on the same texts."""
        group, rows = self.spec.group, streams(rng, self.spec.group)
        tau = self._times(rng, rows, "split").to(batch.ids.device)
        texts = roll_out(self.denoise, self.process, batch, tau if self.spec.two_steps else torch.ones_like(tau), rows)
        if self.spec.objective is Objective.CONSISTENCY:
            yield self._consistency_loss(texts, rng, rows)
            return
        level = tau if self.spec.coupled else self._times(rng, rows, "level").to(tau.device)
        fake = self.process.corrupt(texts.ids, level, texts.canvas.free, rows.at("fake"))
        if self.shadow is not None:
            yield from self._token_losses(texts, fake, self.shadow)
            return
        real = self._reference(batch, rng).repeat_interleave(group, dim=0)
        true = self.process.corrupt(real, level, texts.canvas.free, rows.at("true"))
        yield self._critic_loss(true, fake, texts.canvas)
        yield self._student_loss(texts, fake)

    def _times(self, rng: Rng, rows: Rng, use: str) -> Tensor:
        """(R,): one for each member, or one for each group."""
        if self.spec.one_time:
            return self.times.draw(rng.at(use)).repeat_interleave(self.spec.group)
        return self.times.draw(rows.at(use))

    def _reference(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B, L) ids of the texts to be like, of the batch's lengths."""
        if self.spec.reference is Reference.DATA:
            return batch.ids
        steps, calls = self.spec.reference_steps, torch.zeros(len(batch.ids), dtype=torch.int64)
        *_, last = drive(self.teacher.denoise, Reveal(self.process), batch, steps, rng.at("reference"), calls)
        return last.ids

    def _critic_loss(self, true: Noised, fake: Noised, canvas: Canvas) -> Loss:
        told, taken = self.critic.read(true, canvas).logits, self.critic.read(fake, canvas).logits
        total = critic_loss(told, taken)
        right = ((told > 0).sum() + (taken < 0).sum()).detach()
        return Loss(total, {"critic": total.detach(), "right": right}, float(len(told) + len(taken)), "critic")

    def _student_loss(self, texts: Rollout, fake: Noised) -> Loss:
        spec, R = self.spec, len(texts.ids)
        with torch.no_grad():
            read = self.critic.read(fake, texts.canvas)
        told = read.logits.clamp(-spec.reward_clip, spec.reward_clip)
        reward, seen = row_means(told, read.at[0], R), torch.bincount(read.at[0], minlength=R) > 0
        policy = surrogate(texts.log_prob, self._advantages(reward, seen), self._weight(fake.t)).sum()
        near, facts = self._beside(texts)
        parts = {
            "policy": policy, **facts, "reward": reward.sum(),
            "spread": spread(reward, seen, spec.group).sum(),
            "cut": row_means((told.abs() >= spec.reward_clip).float(), read.at[0], R).sum(),
        }  # fmt: skip
        return Loss(policy + near, {name: part.detach() for name, part in parts.items()}, float(R), "student")

    def _consistency_loss(self, texts: Rollout, rng: Rng, rows: Rng) -> Loss:
        """SDTT's in place of the critic: what the teacher says in two sub-steps, at both states of the rollout."""
        apart = torch.zeros((), device=texts.ids.device)
        whole, member = rng.at("teacher/first"), rows.at("teacher/second")
        for asked, numbers, times in ((texts.first, whole, self.spec.group), (texts.second, member, 1)):
            middle = (asked.noised.t - self.spec.stride / 2).clamp(min=0)
            target = two_step_targets(self.teacher.denoise, self.process, asked, middle, numbers)
            apart = apart + times * row_means(token_kl(asked.logits, target), asked.at[0], len(middle)).sum() / 2
        _, facts = self._beside(texts)
        parts = {"consistency": apart, "entropy": facts["entropy"], "teacher_entropy": facts["teacher_entropy"]}
        return Loss(apart, {name: part.detach() for name, part in parts.items()}, float(len(texts.ids)), "student")

    def _token_losses(self, texts: Rollout, fake: Noised, shadow: Subs) -> Iterable[Loss]:
        """Di[M]O's in place of the critic: the shadow's, then, with what it has learned from it, the student's."""
        rows, positions = (texts.canvas.free & (fake.z == self.process.mask)).nonzero(as_tuple=True)
        at = rows, positions
        masked = shadow.denoise(fake, texts.canvas, None, at).logits
        total = F.cross_entropy(masked, texts.ids[at], reduction="sum")
        yield Loss(total, {"shadow": total.detach()}, float(max(len(rows), 1)), "critic")
        with torch.no_grad():
            now, theirs = (who.denoise(fake, texts.canvas, None, at).logits for who in (shadow, self.teacher))
        R = len(texts.ids)
        tokens = row_means(matching(said_of(texts, at), now, theirs), rows, R).sum()
        near, facts = self._beside(texts)
        parts = {"tokens": tokens, **facts}
        yield Loss(tokens + near, {name: part.detach() for name, part in parts.items()}, float(R), "student")

    def _advantages(self, reward: Tensor, seen: Tensor) -> Tensor:
        return advantages(reward, seen, self.spec.group, self.spec.advantage_clip)

    def _weight(self, t: Tensor) -> Tensor:
        weight = omega(self.process.schedule, t) if self.spec.weighted else torch.ones_like(t)
        return weight / self.times.density(t) if self.spec.importance else weight

    def _beside(self, texts: Rollout) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What keeps the student near the teacher and varied, summed over texts; and what is told of it."""
        spec, first, second = self.spec, self._near(texts.first), self._near(texts.second)
        kl = spec.kl_first * spec.group * first["kl"] + spec.kl_second * second["kl"]
        varied, theirs = ((spec.group * first[k] + second[k]) / 2 for k in ("entropy", "teacher_entropy"))
        return kl - spec.entropy * varied, {"kl": kl, "entropy": varied, "teacher_entropy": theirs}

    def _near(self, asked: StateLogits) -> Mapping[str, Tensor]:
        """Sums over rows of means over masked positions, at one state of the rollout."""
        with torch.no_grad():
            teacher = self.teacher.denoise(asked.noised, asked.canvas, None, asked.at).logits
        of = {
            "kl": token_kl(teacher, asked.logits),
            "entropy": entropy(asked.logits),
            "teacher_entropy": entropy(teacher),
        }
        return {name: row_means(each, asked.at[0], len(asked.noised.z)).sum() for name, each in of.items()}

    # ------------------------------------------------------------ the student at work

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the student's own bound, as of any masked diffusion model."""
        timed = self.spec.time_conditioning
        return text_bound(self.denoise, self.process, self.length, timed, batch, rng)

    def evidence(self, canvas: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound on what is given, the free positions masked at all times."""
        return self.nll(turned(canvas, self.process), rng)

    def sample(self, request: Request) -> Iterator[Frame]:
        canvas, rng = request.canvas, Rng(request.seed, request.canvas.index.tolist())
        counted = Counted(self.subs.with_prefix_cache() if request.reuse else self.denoise, canvas)
        guided = respect_spacing(forbid(counted, request.forbidden), request.spaced)
        step = rule(self.process, request)
        if request.guide is Towards.REWARD:
            if self.spec.objective is not Objective.DIVERGENCE:
                raise CapabilityError("this run was taught without a critic, and has no reward; leave guide out")
            guided, step = self._rewarded(guided, counted, request)
        return fill_canvas(guided, step, request, rng, counted.calls, window=self.spec.canvas)

    def _rewarded(self, denoise: Denoiser, counted: Counted, request: Request) -> tuple[Denoiser, Step]:
        """RGAS: the first steps follow the critic's gradient, the rest choose among candidates by what it says.

        A pass of the critic counts as one of the student, which has the same blocks and an output besides; its gradient
        with respect to what it reads as another.
        Departure: a candidate's score is the mean over masked positions, for which alone the critic was trained, times
        `sharpness`, where the code sums over all positions.
        """
        spec, scale = self.spec, request.guidance
        early = int(request.steps * (1 - spec.reranked))
        since = 1 - early / request.steps

        def strength(t: Tensor) -> Tensor:
            done = ((1 - t) * request.steps / max(early - 1, 1)).clamp(max=1)
            h = spec.tilt_first + (spec.tilt_last - spec.tilt_first) * done
            return torch.where(t > since + 1e-9, scale * h, 0.0)

        def reward(noised: Noised, cond: Canvas, at: tuple[Tensor, Tensor], logits: Tensor) -> Tensor:
            counted.charge(cond, 2)
            return self.critic.logits(noised, cond, (at, logits))[at]

        def score(noised: Noised, cond: Canvas) -> Tensor:
            counted.charge(cond, 1)
            read = self.critic.read(noised, cond)
            return scale * spec.sharpness * mean_logit(read, len(noised.z))

        leaning = tilt_by_reward(denoise, self.process.mask, reward, strength)
        candidates = spec.candidates if scale else 1  # with no pull at all there is nothing to choose by
        step = Rerank(self.process, score, candidates, since + 1e-9, request.temperature, request.top_p)
        return leaning, step
