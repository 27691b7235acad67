"""What every system of the catalogue must keep, whatever it is; a new one is tested here by being listed there."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from mezzotint.cli.main import main
from mezzotint.data.canvas import free, pack, pack_sources
from mezzotint.data.lengths import Lengths
from mezzotint.plans import check_settings
from mezzotint.rng import Rng
from mezzotint.spec.base import Size, Spec
from mezzotint.spec.recipe import Corpus
from mezzotint.systems import CATALOGUE, entry
from mezzotint.training.build import Start, build_trainer
from mezzotint.types import Can, Canvas, Card, Decoder, Ending, Frame, Layout, Request, System, Translator

VOCAB, CANVAS, END, PAD = 23, 8, 0, 1
SMALL = {"dim": "16", "depth": "2", "heads": "2", "width": "8", "latent": "4", "hidden": "32", "chain": "50"}
LENGTHS = [3, 6, 4]
TEXTS = [row[:n] for row, n in zip(np.random.default_rng(0).integers(3, VOCAB, (3, CANVAS)), LENGTHS, strict=True)]


def card(name: str) -> Card:
    found: Card = entry(name).load(entry(name).card)
    return found


def having(can: Can) -> list[str]:
    return [name for name in CATALOGUE if can in card(name).can]


@cache
def fresh(name: str) -> System:
    """A system in float64 with weights that are not those it starts with: every input reaches the output."""
    made = entry(name).load(entry(name).recipe)(Size.TINY, Corpus(VOCAB, CANVAS, Layout.TEXTS))
    known = made.spec.settings()
    recipe = replace(made, spec=made.spec.with_settings({k: v for k, v in SMALL.items() if k in known}))
    stands = card(name).teachers or card(name).backbone
    start = Start(frozen=(lambda networks: None) if stands else None)
    system = build_trainer(name, recipe, Lengths((1,) * CANVAS), 0, "cpu", start=start).system
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for network in [*system.players.values(), *getattr(system, "frozen", {}).values()]:
            network.double().eval()
            for p in network.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return system


def ending(name: str) -> Ending:
    spec: Spec = fresh(name).spec
    found: Ending = getattr(spec, "ending", Ending.LENGTH)
    return found


def texts(name: str) -> Canvas:
    """Three whole texts, with sources where they are written from some."""
    batch = pack(TEXTS, range(3), ending(name), CANVAS, END, PAD)
    if Can.TRANSLATE not in card(name).can:
        return batch
    return replace(batch, source=pack_sources([row[::-1] for row in TEXTS], range(3), CANVAS, END, PAD))


def empty(name: str) -> Canvas:
    """Three canvases to be written on."""
    system = fresh(name)
    if Can.TRANSLATE not in card(name).can:
        return free([CANVAS] * 3 if ending(name) is not Ending.LENGTH else LENGTHS, range(3), PAD)
    assert isinstance(system, Translator)
    source = texts(name).source
    assert source is not None
    sketch = system.sketch(source, 1, 1)
    return replace(sketch.canvas, index=torch.arange(len(sketch.canvas.ids)))


def written(name: str, canvas: Canvas, **how: object) -> list[Frame]:
    request: Request = replace(Request(canvas, steps=4, seed=5), **how)  # type: ignore[arg-type]
    return list(fresh(name).sample(request))


@pytest.mark.parametrize("name", CATALOGUE)
def test_its_card_and_its_recipes_agree_with_the_catalogue(name: str) -> None:
    assert card(name).name == name and Decoder.EXACT in card(name).decoders
    assert getattr(entry(name).load(entry(name).system), "card", None) == card(name)
    for size in Size:
        spec = entry(name).load(entry(name).recipe)(size, Corpus(VOCAB, CANVAS, Layout.TEXTS)).spec
        assert type(spec).from_json(spec.to_json()) == spec


@pytest.mark.parametrize("name", CATALOGUE)
def test_its_losses_are_sums_with_a_count_and_reach_its_weights(name: str) -> None:
    system, batch = fresh(name), texts(name)
    players = set()
    for loss in system.losses(batch, Rng(0, range(3), "train/0", 3)):
        assert loss.count > 0 and bool(loss.total.isfinite()) and loss.parts
        assert not any(part.requires_grad for part in loss.parts.values())
        loss.total.backward()
        network = system.players[loss.player]
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())
        players.add(loss.player)
        for each in system.players.values():
            each.zero_grad()
    assert players <= set(system.players)


@pytest.mark.parametrize("name", CATALOGUE)
def test_it_learns_and_writes_in_bf16(name: str) -> None:
    system, batch = deepcopy(fresh(name)), texts(name)
    networks = [*system.players.values(), *getattr(system, "frozen", {}).values()]
    exact = fresh(name).nll(batch, Rng(3, range(3)))
    for network in networks:
        network.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = list(system.losses(batch, Rng(0, range(3), "train/0", 3)))
    assert losses and all(bool(loss.total.isfinite()) for loss in losses)
    for network in networks:
        network.bfloat16()
    with torch.no_grad():
        torch.testing.assert_close(system.nll(batch, Rng(3, range(3))), exact, rtol=0.2, atol=0.5)
        *_, last = system.sample(Request(empty(name), steps=4, seed=5))
    assert bool(last.known.any(1).all()) and bool(last.confidence.isfinite().all())


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_likelihood_hangs_on_neither_padding_nor_neighbours(name: str) -> None:
    system, batch = fresh(name), texts(name)
    if not system.spec.pads_inside:
        batch.ids[~batch.real] = 7
    with torch.no_grad():
        together = system.nll(batch, Rng(3, range(3)))
        alone = torch.cat([system.nll(one, Rng(3, [i])) for i, one in enumerate(singles(batch))])
    assert together.dtype == torch.float64 and together.shape == (3,)
    # Not closer: times are told to networks in float32.
    assert torch.allclose(together, alone, rtol=1e-6)


def singles(batch: Canvas) -> Iterator[Canvas]:
    """Each row by itself, no wider than it has to be."""
    for i in range(len(batch.ids)):
        row = batch.rows(slice(i, i + 1))
        width = int(row.real.sum())
        yield replace(row, ids=row.ids[:, :width], given=row.given[:, :width], real=row.real[:, :width])


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_it_writes_hangs_on_seed_and_stream_alone(name: str) -> None:
    canvas = empty(name)
    last = written(name, canvas)[-1]
    assert torch.equal(written(name, canvas)[-1].ids, last.ids)
    backwards = written(name, canvas.rows(torch.tensor([2, 1, 0])))[-1]
    assert torch.equal(backwards.ids.flip(0)[canvas.real], last.ids[canvas.real])
    second = next(row for i, row in enumerate(singles(canvas)) if i == 1)
    alone, width = written(name, second)[-1].ids, second.ids.shape[1]
    assert torch.equal(alone[0, :width], last.ids[1, :width])


@pytest.mark.parametrize("name", CATALOGUE)
def test_its_frames_count_up_to_a_text_that_is_known(name: str) -> None:
    canvas = empty(name)
    frames = written(name, canvas)
    assert [frame.step for frame in frames] == sorted(frame.step for frame in frames)
    assert [frame.done for frame in frames] == [False] * (len(frames) - 1) + [True]
    last = frames[-1]
    if ending(name) is Ending.LENGTH:
        assert bool(last.known[canvas.real].all()) and bool((last.ids[canvas.real] < VOCAB).all())
    assert bool((last.nfe >= 1).all()) and bool(((last.confidence >= 0) & (last.confidence <= 1 + 1e-6)).all())
    assert all(bool((b.nfe >= a.nfe).all()) for a, b in pairwise(frames))


@pytest.mark.parametrize("name", CATALOGUE)
def test_forbidden_tokens_are_not_in_its_texts(name: str) -> None:
    canvas, forbidden = empty(name), tuple(range(3, 17))
    last = written(name, canvas, forbidden=forbidden)[-1]
    assert not set(last.ids[canvas.real & last.known].tolist()) & set(forbidden)


@pytest.mark.parametrize("name", [*having(Can.CONTINUE)])
def test_a_prompt_stays(name: str) -> None:
    canvas = empty(name)
    canvas.ids[:, :2], canvas.given[:, :2] = 9, True
    for frame in written(name, canvas):
        assert bool((frame.ids[:, :2] == 9).all()) and bool(frame.known[:, :2].all())


@pytest.mark.parametrize("name", [*having(Can.INFILL)])
def test_what_is_given_stays_and_is_heeded(name: str) -> None:
    canvas = empty(name)
    canvas.ids[:, 2], canvas.given[:, 2] = 9, True
    assert all(bool((frame.ids[:, 2] == 9).all()) for frame in written(name, canvas))
    system, batch = fresh(name), texts(name)
    nats = []
    for token in (9, 10):
        told = replace(batch, ids=batch.ids.clone(), given=batch.given.clone())
        told.ids[:, 2], told.given[:, 2] = token, True
        with torch.no_grad():
            nats.append(system.nll(told, Rng(3, range(3))))
    assert bool((nats[0] != nats[1]).all()), "the rest is no likelier beside one token than beside another"


def test_the_command_that_lists_them_suggests_one_that_learns_from_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["systems"]) == 0
    words = capsys.readouterr().err.split()
    check_settings(words[words.index("train") + 1])
