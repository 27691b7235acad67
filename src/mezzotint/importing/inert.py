"""What a pickled checkpoint may name, and what stands in for it.

Lightning files carry hyper-parameters beside the weights: OmegaConf containers, and the tokenizer as a transformers
object. This is the one list of globals that are admitted. Those of torch are what tensors are made of. All others
become stand-ins of ours that keep the state they are given and do nothing, so that no class of another library is ever
looked up, imported or called. A file that names anything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TENSOR_GLOBALS = frozenset(
    [
        "collections OrderedDict",
        "_codecs encode",  # how protocol 2 writes bytes
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        *(
            f"torch {kind}Storage"
            for kind in ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
        ),
    ]
)
"""Globals that torch's own reader builds, as `module name`."""

STAND_IN_GLOBALS = frozenset(
    [
        *(f"__builtin__ {kind}" for kind in ("bool", "dict", "float", "int", "list", "long", "tuple", "unicode")),
        *(f"builtins {kind}" for kind in ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple")),
        "omegaconf.base ContainerMetadata",
        "omegaconf.base Metadata",
        "omegaconf.base UnionNode",
        "omegaconf.dictconfig DictConfig",
        "omegaconf.listconfig ListConfig",
        *(
            f"omegaconf.nodes {kind}Node"
            for kind in ("Any", "Boolean", "Bytes", "Float", "Integer", "InterpolationResult", "Path", "String")
        ),
        "tokenizers AddedToken",
        "tokenizers Tokenizer",
        "tokenizers.models Model",
        "transformers.models.bert.tokenization_bert_fast BertTokenizerFast",
        "transformers.models.gpt2.tokenization_gpt2_fast GPT2TokenizerFast",
        "typing Any",
    ]
)
"""Globals that become a stand-in."""

DICT_GLOBALS = frozenset(["collections defaultdict"])
"""Globals that become a plain dictionary, since they are filled like one."""

_CONTAINERS = "MARK EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_SET"
_TUPLES = "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3"
_VALUES = "NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING"
_MEMORY = "BINGET BINPUT LONG_BINGET LONG_BINPUT"
_OBJECTS = "GLOBAL REDUCE NEWOBJ BUILD BINPERSID"
OPCODES = frozenset(f"PROTO STOP {_CONTAINERS} {_TUPLES} {_VALUES} {_MEMORY} {_OBJECTS}".split())
"""What protocol 2, in which torch writes, is made of. Other ways to name a global are not among them."""


class StandIn:
    """An object of a class that is not ours: its state, and no behaviour."""

    __slots__ = ("state",)

    def __new__(cls, *ignored: object) -> StandIn:
        instance = super().__new__(cls)
        instance.state = None
        return instance

    def __setstate__(self, state: Any) -> None:
        self.state = state


class EmbeddedTokenizer(StandIn):
    """Stands in for a `tokenizers.Tokenizer`, whose state is a tokenizer.json as bytes."""

    __slots__ = ()


def stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Every stand-in with the dotted name that it answers to, in the spelling of Python 3."""
    return [
        *((_stand_in(name), _dotted(name)) for name in sorted(STAND_IN_GLOBALS)),
        *((_dictionary, _dotted(name)) for name in sorted(DICT_GLOBALS)),
    ]


def _stand_in(name: str) -> type[StandIn]:
    return EmbeddedTokenizer if name == "tokenizers Tokenizer" else StandIn


def _dictionary(*ignored: object) -> dict[object, object]:
    return {}


def _dotted(name: str) -> str:
    """torch looks names of Python 2, in which protocol 2 writes, up under those of Python 3."""
    module, kind = name.split(" ")
    renamed = {"long": "int", "unicode": "str"}.get(kind, kind) if module == "__builtin__" else kind
    return f"{'builtins' if module == '__builtin__' else module}.{renamed}"
