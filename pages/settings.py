"""The settings that systems share: of their networks, of training."""

from __future__ import annotations

from mezzotint.spec.adavae import PriorSpec
from mezzotint.spec.base import Size, Spec
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec
from mezzotint.spec.quantize import QuantizeSpec
from mezzotint.spec.recipe import training
from mezzotint.spec.rnn_vae import RecurrentSpec
from mezzotint.spec.transformer import SHAPES, TransformerSpec
from pages.blocks import table
from pages.systems import rows_of

HEAD = """# Settings

`--set KEY=VALUE`, as often as you like, for whatever a system has: its own settings stand on its page, those that
systems share here. A misspelt name is refused with the nearest one. `--size` sets many of them at once:

"""


def settings_page() -> str:
    """The whole of docs/settings.md."""
    sizes = [[f"`{size.value}`", *(str(value) for value in vars(SHAPES[size]).values())] for size in Size]
    parts = [HEAD + table(["size", *vars(SHAPES[Size.TINY])], sizes)]
    specs: dict[str, tuple[Spec, str]] = {
        "Training": (training(Size.TINY), "How long, how fast, how carefully; the values are those of size `tiny`."),
        "TransformerSpec": (TransformerSpec(), "The network of the systems that write by themselves."),
        "EncoderDecoderSpec": (EncoderDecoderSpec(), "The network of the systems that write from a source."),
        "RecurrentSpec": (RecurrentSpec(), "The two networks of `rnn-vae`."),
        "QuantizeSpec": (QuantizeSpec(), "Weights of few values, in `qe-cdlm`."),
        "PriorSpec": (PriorSpec(latent=32), "The prior of `mezzotint latent prior`."),
    }
    for title, (spec, about) in specs.items():
        parts.append(f"## {title}\n\n{about}\n\n" + table(["setting", "value", "meaning"], rows_of(spec)))
    return "\n\n".join(parts) + "\n"
