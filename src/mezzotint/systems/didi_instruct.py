"""DiDi-Instruct: a student of a masked diffusion model that writes in few steps.

Zheng et al. 2025, "Ultra-Fast Language Generation via Discrete Diffusion Divergence Instruct", arXiv:2509.25035.
The student writes; a critic learns to tell its texts from the reference's, both under masks; by the score-function
identity the critic's logits give a gradient of the integral KL divergence between the two (distill/divergence.py).
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
from mezzotint.distill.tokens import matching_surrogate, rollout_logits
from mezzotint.errors import CapabilityError
from mezzotint.guidance.reward import tilt_by_reward
from mezzotint.guidance.vocabulary import forbid, respect_spacing
from mezzotint.objective.length import LengthCost
from mezzotint.objective.masked import complement, text_bound
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
        has_critic = spec.objective is Objective.DIVERGENCE
        self._critic = Critic(spec.masked, self.process, spec.critic_blocks) if has_critic else None
        self.times = TimeLaw(spec.time_a, spec.time_b)
        self.shadow = Subs(spec.masked) if spec.objective is Objective.TOKENS else None
        opponent = self._critic or self.shadow
        opponents = {} if opponent is None else {"critic": opponent.net}
        self.players: Mapping[str, nn.Module] = {**opponents, "student": self.net}

    @property
    def critic(self) -> Critic:
        """The discriminator that rewards the student; only with `objective=divergence`."""
        assert self._critic is not None, "taught without a critic"
        return self._critic

    @cached_property
    def teacher(self) -> Subs:
        """Made on first use: sampling needs none."""
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
            self._critic.net.start_from(weights, torch.Generator().manual_seed(seed))
        if self.shadow is not None:
            self.shadow.net.load_state_dict(weights)

    def schedule(self, fraction: float) -> Mapping[str, float]:
        return {"critic": self.spec.critic_pace, "student": float(fraction >= self.spec.critic_alone)}

    def warnings(self, parts: Mapping[str, float]) -> Mapping[str, str]:
        return faults(parts, self.spec.floor)

    # ------------------------------------------------------------ the two players

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """The critic's, then, under the updated critic, the student's: both on the same texts."""
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
        """(R,) times: one for each member, or one for each group."""
        if self.spec.one_time:
            return self.times.draw(rng.at(use)).repeat_interleave(self.spec.group)
        return self.times.draw(rows.at(use))

    def _reference(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B, L) ids of reference texts, of the batch's lengths."""
        if self.spec.reference is Reference.DATA:
            return batch.ids
        steps, calls = self.spec.reference_steps, torch.zeros(len(batch.ids), dtype=torch.int64)
        *_, last = drive(self.teacher.denoise, Reveal(self.process), batch, steps, rng.at("reference"), calls)
        return last.ids

    def _critic_loss(self, true: Noised, fake: Noised, canvas: Canvas) -> Loss:
        reference, student = (self.critic.masked_logits(noised, canvas).logits for noised in (true, fake))
        total = critic_loss(reference, student)
        right = ((reference > 0).sum() + (student < 0).sum()).detach()
        return Loss(total, {"critic": total.detach(), "right": right}, float(len(reference) + len(student)), "critic")

    def _student_loss(self, texts: Rollout, fake: Noised) -> Loss:
        spec, R = self.spec, len(texts.ids)
        with torch.no_grad():
            masked = self.critic.masked_logits(fake, texts.canvas)
        rewards, rows = masked.logits.clamp(-spec.reward_clip, spec.reward_clip), masked.at[0]
        reward, has_reward = row_means(rewards, rows, R), torch.bincount(rows, minlength=R) > 0
        advantage = advantages(reward, has_reward, spec.group, spec.advantage_clip)
        policy = surrogate(texts.log_prob, advantage, self._weight(fake.t)).sum()
        regulariser, metrics = self._regulariser(texts)
        parts = {
            "policy": policy, **metrics, "reward": reward.sum(),
            "spread": spread(reward, has_reward, spec.group).sum(),
            "cut": row_means((rewards.abs() >= spec.reward_clip).float(), rows, R).sum(),
        }  # fmt: skip
        return Loss(policy + regulariser, {name: part.detach() for name, part in parts.items()}, float(R), "student")

    def _consistency_loss(self, texts: Rollout, rng: Rng, rows: Rng) -> Loss:
        """SDTT's in place of the critic: the teacher's predictions in two sub-steps, at both states of the rollout."""
        total = torch.zeros((), device=texts.ids.device)
        first, second = rng.at("teacher/first"), rows.at("teacher/second")
        for state, draws, weight in ((texts.first, first, self.spec.group), (texts.second, second, 1)):
            middle = (state.noised.t - self.spec.stride / 2).clamp(min=0)
            target = two_step_targets(self.teacher.denoise, self.process, state, middle, draws)
            total = total + weight * row_means(token_kl(state.logits, target), state.at[0], len(middle)).sum() / 2
        _, metrics = self._regulariser(texts)
        parts = {"consistency": total, "entropy": metrics["entropy"], "teacher_entropy": metrics["teacher_entropy"]}
        return Loss(total, {name: part.detach() for name, part in parts.items()}, float(len(texts.ids)), "student")

    def _token_losses(self, texts: Rollout, fake: Noised, shadow: Subs) -> Iterable[Loss]:
        """Di[M]O's in place of the critic: the shadow's, then, under the updated shadow, the student's."""
        rows, positions = (texts.canvas.free & (fake.z == self.process.mask)).nonzero(as_tuple=True)
        at = rows, positions
        logits = shadow.denoise(fake, texts.canvas, None, at).logits
        total = F.cross_entropy(logits, texts.ids[at], reduction="sum")
        yield Loss(total, {"shadow": total.detach()}, float(max(len(rows), 1)), "critic")
        with torch.no_grad():
            shadow_logits = shadow.denoise(fake, texts.canvas, None, at).logits
            teacher_logits = self.teacher.denoise(fake, texts.canvas, None, at).logits
        R = len(texts.ids)
        tokens = row_means(matching_surrogate(rollout_logits(texts, at), shadow_logits, teacher_logits), rows, R).sum()
        regulariser, metrics = self._regulariser(texts)
        parts = {"tokens": tokens, **metrics}
        yield Loss(tokens + regulariser, {name: part.detach() for name, part in parts.items()}, float(R), "student")

    def _weight(self, t: Tensor) -> Tensor:
        weight = omega(self.process.schedule, t) if self.spec.weighted else torch.ones_like(t)
        return weight / self.times.density(t) if self.spec.importance else weight

    def _regulariser(self, texts: Rollout) -> tuple[Tensor, Mapping[str, Tensor]]:
        """KL to the teacher less the student's entropy, both weighted, summed over texts; and its metrics."""
        spec, first, second = self.spec, self._state_metrics(texts.first), self._state_metrics(texts.second)
        kl = spec.kl_first * spec.group * first["kl"] + spec.kl_second * second["kl"]
        student, teacher = ((spec.group * first[k] + second[k]) / 2 for k in ("entropy", "teacher_entropy"))
        return kl - spec.entropy * student, {"kl": kl, "entropy": student, "teacher_entropy": teacher}

    def _state_metrics(self, state: StateLogits) -> Mapping[str, Tensor]:
        """Sums over rows of means over masked positions, at one state of the rollout."""
        with torch.no_grad():
            teacher = self.teacher.denoise(state.noised, state.canvas, None, state.at).logits
        metrics = {
            "kl": token_kl(teacher, state.logits),
            "entropy": entropy(state.logits),
            "teacher_entropy": entropy(teacher),
        }
        return {name: row_means(each, state.at[0], len(state.noised.z)).sum() for name, each in metrics.items()}

    # ------------------------------------------------------------ the student alone

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the student's own bound, as of any masked diffusion model."""
        return text_bound(self.denoise, self.process, self.length, self.spec.time_conditioning, batch, rng)

    def evidence(self, canvas: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound on what is given, the free positions masked at all times."""
        return self.nll(complement(canvas, self.process), rng)

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
        """RGAS: the first steps follow the critic's gradient, the rest choose among candidates by its logits.

        A pass of the critic counts as one of the student, which has the same blocks and an output besides; its gradient
        with respect to its input as another.
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
            return scale * spec.sharpness * mean_logit(self.critic.masked_logits(noised, cond), len(noised.z))

        guided = tilt_by_reward(denoise, self.process.mask, reward, strength)
        candidates = spec.candidates if scale else 1  # with no pull at all there is nothing to choose by
        step = Rerank(self.process, score, candidates, since + 1e-9, request.temperature, request.top_p)
        return guided, step
