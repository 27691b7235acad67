"""What can be set of SED: each setting does what it says, and what cannot be is refused in a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mezzotint.data.tokenizer import train_tokenizer
from mezzotint.errors import CapabilityError, UsageError
from mezzotint.process.gaussian import CosineVariance, Gaussian
from mezzotint.recipes.sed import FAITHFUL, tiny
from mezzotint.spec.recipe import Corpus
from mezzotint.spec.sed import CARD, GaussianNoise, SEDSpec, SelfCondition, Speaks, Streams
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.systems.sed import SED
from mezzotint.tasks import TaskBuilder
from mezzotint.types import Can, Ending, Layout


def system(**settings) -> SED:
    net = TransformerSpec(dim=16, depth=1, heads=2)
    return SED(SEDSpec(vocab=11, canvas=9, ending=Ending.FILL, net=net, width=4, **settings), None)


def test_the_process_is_the_one_that_is_set():
    t = torch.tensor([1 / 50, 0.4], dtype=torch.float64)
    for noise in (GaussianNoise.COSINE, GaussianNoise.COSINE_FLOORED):
        alpha, _ = system(noise=noise, beta1=0.01, chain=50).process.alpha_sigma(t)
        assert float(1 - alpha[0] ** 2) == pytest.approx(0.01, rel=1e-6)
    floored, plain = (system(noise=n).process.signal_to_noise(t) for n in (noise, GaussianNoise.COSINE))
    assert not torch.allclose(floored, plain)
    assert torch.allclose(plain, Gaussian(CosineVariance()).signal_to_noise(t))
    assert torch.allclose(plain / 9, system(noise_factor=3.0).process.signal_to_noise(t))
    first = torch.tensor([1 / 2000], dtype=torch.float64)
    _, sigma = system(noise=GaussianNoise.SQRT).process.alpha_sigma(first)
    assert float(sigma) == pytest.approx(0.121, abs=1e-5)


def recipe(**settings: str):
    return tiny(Corpus(vocab=11, canvas=32, layout=Layout.TEXTS)).with_settings(settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"noise_factor": "nan"}, "noise_factor must be from 0.01 to 100"),
        ({"noise_factor": "inf"}, "noise_factor must be from 0.01 to 100"),
        ({"noise_factor": "1e200"}, "noise_factor must be from 0.01 to 100"),
        ({"spans": "1" + "0" * 30}, "spans must be a number of ordinary size"),
        ({"clip": "inf"}, "clip must be a number of ordinary size"),
        ({"width": "4503599627370496"}, "width must be from 1 to 65536"),
        ({"chain": "1000000000000"}, "chain from 2 to 1000000"),
        ({"chain": "10"}, "a cosine chain of 10 steps needs a beta1 of at least 0.024"),
        ({"beta1": "1e-9"}, "needs a beta1 of at least 2.5e-06"),
    ],
)
def test_what_cannot_be_set_is_refused_in_a_sentence(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        recipe(**settings)


@pytest.mark.parametrize("chain", [10, 30, 36, 1000])
def test_every_cosine_that_is_not_refused_only_adds_noise(chain):
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)
    try:
        system(chain=chain)
    except UsageError:
        assert not bool((CosineVariance(2e-3, chain).share(t).diff() <= 0).all())
    else:
        assert bool((CosineVariance(2e-3, chain).share(t).diff() <= 0).all())


def test_beta1_is_that_of_the_noise_and_leaves_adam_s_alone():
    plain, set_apart = recipe(), recipe(beta1="0.01")
    assert (set_apart.spec.beta1, set_apart.training.beta1) == (0.01, plain.training.beta1) == (0.01, 0.9)


def test_which_estimate_is_carried_is_asked_for_in_words_and_only_where_there_is_guidance():
    tokenizer = train_tokenizer("word", ["a b c d e"] * 2, [])
    made = SED(replace(system().spec, vocab=tokenizer.size), None)
    task_builder = TaskBuilder({"data": {}}, made, tokenizer, None, torch.device("cpu"), lambda: None)
    for carried in (True, False):
        (task,) = task_builder.tasks(1, "a [2] c", None, 1, {"guidance": 2.0, "carry_guided": carried})
        assert task.request.carry_guided is carried
    with pytest.raises(UsageError, match="carry_guided must be True or False, not 'plain'"):
        list(task_builder.tasks(1, None, None, 1, {"carry_guided": "plain"}))
    with pytest.raises(UsageError, match="guidance must be from 0 to 100, not 1e\\+30"):
        list(task_builder.tasks(1, "a [2] c", None, 1, {"guidance": 1e30}))
    made.card = replace(CARD, can=CARD.can - {Can.GUIDE})
    with pytest.raises(CapabilityError, match="cannot guide"):
        list(task_builder.tasks(1, None, None, 1, {"carry_guided": False}))


def test_the_faithful_settings_are_the_paper_s():
    spec = recipe(**FAITHFUL).spec
    assert (spec.speaks, spec.self_condition) == (Speaks.VECTOR, SelfCondition.BOTH)
    assert (spec.evidence, spec.noise_factor, spec.singly) == (False, 1.0, 0.0)
    assert (spec.width, spec.spans, spec.sigma0, spec.beta1, spec.chain) == (32, 5, 1e-2, 2e-3, 1000)
    assert (spec.noise, spec.streams, spec.drop) == (GaussianNoise.COSINE, Streams.IN_PLACE, 0.1)
