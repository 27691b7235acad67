"""Files of networks whose quantised weights are stored as codes: small, and exactly what the network computes with.

A weight NAME that is quantised is stored as NAME.codes, NAME.values and, where rows have them, NAME.scales; its shape
stands in the file's metadata. Everything else is stored as it is. What was rounded away is gone: such a file is for
use, not for training on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mezzotint.errors import RunError
from mezzotint.net.codes import CodedMatrix, pack
from mezzotint.net.quantized import AlreadyQuantized, QuantizedLinear, Quantizer
from mezzotint.space.quantized import QuantizedEmbedding
from mezzotint.training.checkpoint import fill, named
from mezzotint.training.folder import put

SHAPES = "shapes"
FEWEST = 8
"""Rows and columns that a matrix has to have at least to be stored as codes."""


def write_packed(path: Path, modules: Mapping[str, nn.Module]) -> int:
    """Write the modules' tensors with quantised weights as codes; returns the size of the file in bytes."""
    tensors, shapes = dict(named(modules)), dict[str, tuple[int, int]]()
    for name, layer in quantised(modules).items():
        _pack_into(tensors, shapes, name, layer.quantizer)
    _put(path, tensors, shapes)
    return path.stat().st_size


def write_few(
    path: Path, tensors: Mapping[str, Tensor], modules: Mapping[str, nn.Module], quantizer: Quantizer
) -> None:
    """Write the modules' tensors with every matrix of FEWEST rows and columns as codes; layers that have a quantiser
    keep their own. What is read back is what the quantiser makes of each weight, to the bit."""
    found, own, shapes = dict(tensors), quantised(modules), dict[str, tuple[int, int]]()
    for name, tensor in tensors.items():
        if name in own:
            _pack_into(found, shapes, name, own[name].quantizer)
        elif tensor.ndim == 2 and min(tensor.shape) >= FEWEST and tensor.is_floating_point():
            _pack_into(found, shapes, name, quantizer)
    _put(path, found, shapes)


def _pack_into(tensors: dict[str, Tensor], shapes: dict[str, tuple[int, int]], name: str, quantizer: Quantizer) -> None:
    """Puts codes in a tensor's place, or, where its values are too many, the values themselves."""
    packed = pack(tensors[name].detach().float(), quantizer)
    if packed is None:
        tensors[name] = quantizer.values(tensors[name].detach())
        return
    del tensors[name]
    shapes[name] = packed.shape
    tensors[f"{name}.codes"], tensors[f"{name}.values"] = packed.codes, packed.values
    if packed.scales is not None:
        tensors[f"{name}.scales"] = packed.scales


def _put(path: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, int]]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    put(path, save(whole, metadata={SHAPES: json.dumps(shapes)}))


def read_packed(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Fill the modules with a file's tensors, strictly; quantised weights are from then on taken as they are."""
    tensors, shapes = _read(path)
    for name, (rows, columns) in shapes.items():
        try:
            codes, values = tensors.pop(f"{name}.codes"), tensors.pop(f"{name}.values")
            scales = tensors.pop(f"{name}.scales", None)
            tensors[name] = CodedMatrix(codes, values, scales, (rows, columns)).unpack()
        except (KeyError, RuntimeError, IndexError):
            raise RunError(f"{path} is damaged: its codes of {name} are not whole") from None
    fill(modules, tensors, str(path))
    for layer in quantised(modules).values():
        layer.quantizer = AlreadyQuantized()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, tuple[int, int]]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            shapes = json.loads((file.metadata() or {})[SHAPES])
    except FileNotFoundError:
        raise RunError(f"{path} is missing; a packed network has one") from None
    except (SafetensorError, OSError, ValueError) as e:
        raise RunError(f"{path} is damaged ({e}); expected a safetensors file") from None
    except KeyError:
        raise RunError(f"{path} holds no packed network: it does not say what its codes are of") from None
    if not isinstance(shapes, dict) or not all(_is_shape(shape) for shape in shapes.values()):
        raise RunError(f"{path} is damaged: it does not say what its codes are of")
    return tensors, shapes


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(n) is int and n > 0 for n in value)


def quantised(modules: Mapping[str, nn.Module]) -> dict[str, QuantizedLinear | QuantizedEmbedding]:
    """The layers that have a quantiser, under the names of the weights that it rounds."""
    found: dict[str, QuantizedLinear | QuantizedEmbedding] = {}
    for outer, module in modules.items():
        for inner, layer in module.named_modules():
            prefix = f"{outer}.{inner}." if inner else f"{outer}."
            if isinstance(layer, QuantizedLinear):
                found[f"{prefix}weight"] = layer
            elif isinstance(layer, QuantizedEmbedding):
                found[f"{prefix}table"] = layer
    return found
