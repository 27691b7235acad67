"""The tokenizer of published weights, which do not bring one: a tokenizer.json with as many tokens, ids unchanged."""

from __future__ import annotations

import json
from typing import Final

from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import RunError, UsageError

ENDOFTEXT: Final = "<|endoftext|>"
"""What ends a text in GPT-2's vocabulary, which MDLM and its relatives have."""


def tokenizer_from(text: str, where: str, size: int) -> Tokenizer:
    """The tokenizer that a tokenizer.json describes; RunError unless it can be carried and has exactly `size` tokens.

    A tokenizer.json of ours serves too.
    """
    try:
        values = json.loads(text)
        # MDLM's code adds a token for padding, which has the mask's id and is never used.
        values["added_tokens"] = [token for token in values.get("added_tokens") or () if int(token["id"]) < size]
        names = {*values["model"]["vocab"], *(token["content"] for token in values["added_tokens"])}
        tokenizer = Tokenizer.parse(json.dumps(values), where, ENDOFTEXT if ENDOFTEXT in names else None)
    except UsageError as error:
        raise RunError(str(error)) from None
    except Exception:  # the library raises bare Exception for every kind of damage
        raise RunError(f"{where} is damaged or is no tokenizer.json") from None
    if tokenizer.size != size:
        hint = "; is the mask one of them?" if tokenizer.size > size else ""
        raise RunError(f"{where} has {tokenizer.size:,} tokens, and the weights are for {size:,} and the mask{hint}")
    return tokenizer
