"""QE-CDLM: diffusion over learned word vectors with weights of few values (Kang et al. 2024, arXiv:2402.10107).

Process, objective and sampler are those of Diffusion-LM (Li et al. 2022, arXiv:2205.14217); with `quantize=none` so is
everything. `quantize=projections` is the authors' code: the layers into the network, of the time and out of it are
quantised. `quantize=table` is the title's reading, the vectors of words themselves; `both` is both.

Departure: the transformer is ours and starts from nothing; the authors start from BERT's encoder.
Departure: a text's length is drawn from the training lengths by default (`ending=length`) and costs -log p(length);
the paper's padding, an ordinary token, is `ending=fill`.
"""

from __future__ import annotations

import torch
from torch import nn

from mezzotint.data.lengths import Lengths
from mezzotint.net.projected import ProjectedTransformer
from mezzotint.net.quantized import QuantizedLinear, projections, quantizer_of
from mezzotint.space.learned import LearnedEmbedding
from mezzotint.space.quantized import QuantizedEmbedding
from mezzotint.spec.qe_cdlm import CARD, QECDLMSpec
from mezzotint.systems import diffusion_lm


class Net(diffusion_lm.Net):
    """Diffusion-LM's, with projections or vectors of few values."""

    def initialise(self, generator: torch.Generator) -> None:
        super().initialise(generator)
        for layer in self.body.modules():
            if isinstance(layer, QuantizedLinear):
                layer.initialise(generator)


def network(spec: QECDLMSpec) -> Net:
    """What `spec.few` names is quantised, the rest is as in Diffusion-LM."""
    quantizer = quantizer_of(spec.few)

    def linear(inputs: int, outputs: int) -> nn.Linear:
        return QuantizedLinear(inputs, outputs, quantizer) if spec.few.of_projections else nn.Linear(inputs, outputs)

    table = QuantizedEmbedding(spec.vocab, spec.width, quantizer) if spec.few.of_table else None
    ends = projections(linear, spec.depth_of_projections)
    return Net(
        table or LearnedEmbedding(spec.vocab, spec.width), ProjectedTransformer(spec.net, spec.width, spec.canvas, ends)
    )


class QECDLM(diffusion_lm.DiffusionLM):
    """QE-CDLM; `lengths` is the distribution of text lengths for runs whose texts vary in length."""

    card = CARD

    def __init__(self, spec: QECDLMSpec, lengths: Lengths | None) -> None:
        super().__init__(spec, lengths, network)
