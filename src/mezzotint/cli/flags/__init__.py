"""What can be typed: one frozen dataclass a command, one field a flag.

A field says its type, its default and, as an annotation, how it is typed; `parse.py` turns words into these records.
"""

from __future__ import annotations

from mezzotint.cli.flags.keeping import Evaluate, Import, Quantize, Serve, Systems
from mezzotint.cli.flags.latent import Decoding, LatentAnalogy, LatentPrior, LatentSample, LatentTransfer, LatentWalk
from mezzotint.cli.flags.making import Demo, Distill, Finetune, Resume, Train, TrainControl, TrainEmbeddings, Training
from mezzotint.cli.flags.proving import Compare, Doctor, Reproduce
from mezzotint.cli.flags.readers import BUNDLED
from mezzotint.cli.flags.writing import Control, Infill, Sample, Translate, Writing

__all__ = [
    "BUNDLED",
    "Compare",
    "Control",
    "Decoding",
    "Demo",
    "Distill",
    "Doctor",
    "Evaluate",
    "Finetune",
    "Import",
    "Infill",
    "LatentAnalogy",
    "LatentPrior",
    "LatentSample",
    "LatentTransfer",
    "LatentWalk",
    "Quantize",
    "Reproduce",
    "Resume",
    "Sample",
    "Serve",
    "Systems",
    "Train",
    "TrainControl",
    "TrainEmbeddings",
    "Training",
    "Translate",
    "Writing",
]
