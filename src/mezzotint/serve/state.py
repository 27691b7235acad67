"""The state of one server: its runs, each with its worker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request

import mezzotint
from mezzotint import Can
from mezzotint.serve import schema
from mezzotint.serve.refusals import Refusal
from mezzotint.serve.settings import Limits
from mezzotint.serve.worker import Worker


@dataclass
class ServerState:
    """The state of one server."""

    limits: Limits
    workers: Mapping[str, Worker]
    created: int = field(default_factory=lambda: int(time.time()))
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    def worker(self, name: str) -> Worker:
        """The worker of a run; Refusal (404) with the nearest spelling where there is none of that name."""
        if name not in self.workers:
            raise Refusal(404, str(mezzotint.unknown("model", name[:100], self.workers)), "model_not_found")
        return self.workers[name]

    def model(self, name: str) -> schema.Model:
        """A run as its card describes it."""
        worker = self.worker(name)
        run = worker.run
        return schema.Model(
            id=name, created=self.created, system=run.card.name, title=run.card.title, paper=run.card.paper,
            can=sorted(ability.value for ability in run.card.can),
            decoders=sorted(decoder.value for decoder in run.card.decoders),
            unit="word" if run.tokenizer.kind == "word" else "piece",
            canvas=run.spec.canvas, layout=str(run.config["data"].get("layout", "texts")),
            promise="tokens" if worker.is_deterministic else "random numbers",
            says={name: list(values) for name, values in worker.says.items()},
            latent=run.latent_size if Can.INTERPOLATE in run.card.can else None,
        )  # fmt: skip


def state_of(request: Request) -> ServerState:
    """The state of the server that a request came to."""
    state = request.app.state.server
    assert isinstance(state, ServerState)
    return state
