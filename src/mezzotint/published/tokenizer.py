"""A tokenizer of GPT-2's kind from a tokenizer.json as Hugging Face has them: its entries and merges, ids unchanged.

Only byte-level BPE with GPT-2's own splitting of words can be carried (Radford et al. 2019, §2.2). Others do not give
every text back (bert-base-uncased folds case) or have the mask inside their vocabulary.
"""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers

from mezzotint.data.tokenizer import ENDOFTEXT, Tokenizer
from mezzotint.errors import RunError

UNSET = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
"""Fields of a model of the `tokenizers` library that GPT-2's leaves empty."""


def tokenizer_from(text: str, where: str, size: int) -> Tokenizer:
    """The tokenizer that a tokenizer.json describes; RunError unless it can be carried and has exactly `size` tokens.

    A tokenizer.json of ours serves too. Added tokens are left out, but for the end where the vocabulary lacks it.
    """
    try:
        found = _read(json.loads(text), text)
    except RunError as e:
        raise RunError(f"{where} cannot be carried over: {e}") from None
    except Exception:  # the library raises bare Exception for every kind of damage
        raise RunError(f"{where} is damaged or is no tokenizer.json") from None
    if found.size != size:
        inside = "; is the mask one of them?" if found.size > size else ""
        raise RunError(f"{where} has {found.size:,} tokens, and the weights are for {size:,} and the mask{inside}")
    return found


def _read(values: dict[str, Any], text: str) -> Tokenizer:
    model = values["model"]
    if {"<end>", "<pad>"} <= model["vocab"].keys():
        return Tokenizer.parse(text)
    if model["type"] != "BPE" or (values["pre_tokenizer"] or {}).get("type") != "ByteLevel":
        raise RunError(f"it is a {model['type']} tokenizer, and only byte-level BPE as GPT-2's can be")
    plain = not values.get("normalizer") and values["pre_tokenizer"].get("use_regex", True)
    plain = plain and not values["pre_tokenizer"].get("add_prefix_space")
    unset = (
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
        "ignore_merges",
    )
    if not plain or any(model.get(name) for name in unset):
        raise RunError("it treats text otherwise than GPT-2's does")
    vocabulary = {str(name): int(i) for name, i in model["vocab"].items()}
    for added in values.get("added_tokens") or ():
        if added["content"] == ENDOFTEXT:
            vocabulary.setdefault(ENDOFTEXT, int(added["id"]))
    if ENDOFTEXT not in vocabulary:
        raise RunError(f"its vocabulary has no {ENDOFTEXT}")
    if not set(pre_tokenizers.ByteLevel.alphabet()) <= vocabulary.keys():
        raise RunError("its vocabulary lacks some of the 256 bytes")
    merges: list[tuple[str, str]] = []
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        merges.append((str(left), str(right)))
    engine = Engine(models.BPE(vocab=vocabulary, merges=merges))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    return Tokenizer.parse(engine.to_str())
