"""Tokenizers made elsewhere: which of them give every text back, and how they are used with their own ids.

Only byte-level BPE does (Radford et al. 2019, section 2.2): GPT-2, RoBERTa, Llama 3, Qwen and the like. What changes a
text on the way in is left out where that costs nothing (NFC), and else the tokenizer is refused. Its added tokens are
hidden from the library: no text, whatever it spells, encodes to them, and none is ever written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer as Engine
from tokenizers import pre_tokenizers

from mezzotint.errors import UsageError

FILE: Final = "tokenizer.json"
ROLES: Final = ("tokenizer_config.json", "special_tokens_map.json")
"""Files beside a tokenizer.json that say which token ends a text and which one pads."""
_ENDS: Final = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>")
"""What the end is called where nothing says so."""
_SPLITTERS: Final = ("ByteLevel", "Split", "Digits", "Punctuation")
_ONLY: Final = "only byte-level BPE, as GPT-2, Llama 3 and Qwen have it, gives every text back"
_PROBES: Final = (
    "The pub,\u00a0 the\tCafe\u0301.\r\n\n  1234  x ",
    "<|endoftext|></s>🙂\u017f\u2581\u0120A",
    "".join(map(chr, range(256))),
)
"""Texts that a wrong guess about a tokenizer would show in."""


@dataclass(frozen=True)
class Foreign:
    """A tokenizer made elsewhere, ready to be used."""

    engine: Engine
    """Without added tokens, normalisation and templates."""
    text: str
    """The tokenizer.json that a run keeps; another library reads the same ids from it, with the end after each text."""
    size: int
    """One more than the largest id."""
    end: int
    pad: int
    """The end where it has no token of its own for padding."""
    hidden: Mapping[int, str]
    """Added tokens and unused ids, with their names: never encoded to, never written."""
    lead: str
    """What is put before a text: a space where the tokenizer does so itself, else nothing."""


def roles(folder: Path) -> dict[str, str]:
    """What the files beside a tokenizer.json say: names of tokens under "eos_token" and "pad_token"."""
    found: dict[str, str] = {}
    for name in reversed(ROLES):
        try:
            said = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for role in ("eos_token", "pad_token"):
            token = said.get(role) if isinstance(said, dict) else None
            token = token.get("content") if isinstance(token, dict) else token
            found |= {role: token} if isinstance(token, str) else {}
    return found


def adopt(values: dict[str, Any], where: str, end: str | None = None, pad: str | None = None) -> Foreign:
    """The tokenizer that the values of a tokenizer.json describe.

    UsageError, with `where` in front, if it does not give every text back or if no token ends a text; any other
    Exception where it is damaged. `end` and `pad` name tokens; without them the file's template and padding say which.
    """
    for problem in _problems(values):
        raise UsageError(f"{where} {problem}")
    vocabulary: dict[str, int] = dict(values["model"]["vocab"])
    added = {str(token["content"]): int(token["id"]) for token in values.get("added_tokens") or ()}
    ids = vocabulary | added
    ending = _end(values, added, end)
    if ending not in ids:
        raise UsageError(f"{where} does not say which token ends a text; {ROLES[0]} beside it can, as eos_token")
    padding = pad or (values.get("padding") or {}).get("pad_token")
    padding = padding if padding in ids else ending
    spelt = _spelt(values["model"]["merges"])
    if {ending, padding} & spelt:
        raise UsageError(f"{where} ends or pads texts with a token that a text can spell; name another eos_token")
    hidden = {name: i for name, i in ids.items() if name in added.keys() - spelt or name in (ending, padding)}
    engine = Engine.from_str(json.dumps(_bare(values, hidden)))
    if any(engine.decode(engine.encode(text).ids, skip_special_tokens=False) != text for text in _PROBES):
        raise UsageError(f"{where} does not give every text back; {_ONLY}")
    size = max(ids.values()) + 1
    names = dict.fromkeys(set(range(size)) - set(ids.values()), "") | {i: name for name, i in hidden.items()}
    text = json.dumps(_kept(values, ending, padding, ids), ensure_ascii=False)
    lead = " " if any(step.get("add_prefix_space") for step in _steps(values["pre_tokenizer"], "pretokenizers")) else ""
    return Foreign(engine, text, size, ids[ending], ids[padding], names, lead)


# ---- what is refused -------------------------------------------------------------------------------------------------


def _problems(values: dict[str, Any]) -> Iterator[str]:
    """What a tokenizer does that loses something of a text, as the rest of a sentence."""
    model = values["model"]
    if model["type"] != "BPE":
        yield f"is a {model['type']} tokenizer; {_ONLY}"
    for step in _steps(values.get("normalizer"), "normalizers"):
        if step["type"] != "NFC":
            yield f"changes a text before it reads it ({step['type']}), so that nothing could give it back; {_ONLY}"
    steps = _steps(values.get("pre_tokenizer"), "pretokenizers")
    if not steps or steps[-1]["type"] != "ByteLevel" or any(step["type"] not in _SPLITTERS for step in steps):
        yield f"does not read texts as bytes; {_ONLY}"
    if any(step.get("behavior") == "Removed" for step in steps):
        yield f"leaves out what stands between words; {_ONLY}"
    if [step["type"] for step in _steps(values.get("decoder"), "decoders")] != ["ByteLevel"]:
        yield f"does not write texts as bytes; {_ONLY}"
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        yield f"marks the edges of words with letters of its own; {_ONLY}"
    if not set(pre_tokenizers.ByteLevel.alphabet()) <= model["vocab"].keys():
        yield f"lacks some of the 256 bytes; {_ONLY}"


def _steps(value: dict[str, Any] | None, inside: str) -> list[dict[str, Any]]:
    """The parts of a sequence, or the one part that there is."""
    if value is None:
        return []
    if value["type"] != "Sequence":
        return [value]
    return [step for part in value[inside] for step in _steps(part, inside)]


def _spelt(merges: Sequence[str | Sequence[str]]) -> set[str]:
    """The tokens that texts can encode to: single bytes and what merges make of them."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
    return {*pre_tokenizers.ByteLevel.alphabet(), *("".join(pair) for pair in pairs)}


def _end(values: dict[str, Any], added: Mapping[str, int], named: str | None) -> str | None:
    if named is not None:
        return named
    single = (values.get("post_processor") or {}).get("single") or [{}]
    if "SpecialToken" in single[-1]:
        return str(single[-1]["SpecialToken"]["id"])
    return next((name for name in _ENDS if name in added), None)


# ---- what is made of it ----------------------------------------------------------------------------------------------


def _bare(values: dict[str, Any], hidden: Mapping[str, int]) -> dict[str, Any]:
    """For the engine: nothing added, and hidden tokens under names that no text spells, for none has a space in it."""
    open_vocabulary = {name: i for name, i in values["model"]["vocab"].items() if name not in hidden}
    vocabulary = open_vocabulary | {f"{name} ": i for name, i in hidden.items()}
    model = {**values["model"], "vocab": vocabulary, "dropout": None, "unk_token": None}
    cleared = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"))
    first = _changed(values["pre_tokenizer"], lambda step: {**step, "add_prefix_space": False})
    return {**values, **cleared, "added_tokens": [], "pre_tokenizer": first, "model": model}


def _kept(values: dict[str, Any], end: str, pad: str, ids: Mapping[str, int]) -> dict[str, Any]:
    """For the run: as it came, but for what would change a text, with the end and padding where the format has them."""
    closing = {"SpecialToken": {"id": end, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    template = {
        "type": "TemplateProcessing",
        "single": [first, closing],
        "pair": [first, closing, second, closing],
        "special_tokens": {end: {"id": end, "ids": [ids[end]], "tokens": [end]}},
    }
    padding = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": ids[pad],
        "pad_type_id": 0,
        "pad_token": pad,
    }
    model = {**values["model"], "dropout": None}
    cleared = dict.fromkeys(("truncation", "normalizer"))
    return {**values, **cleared, "padding": padding, "post_processor": template, "model": model}


def _changed(value: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A pre-tokenizer with its ByteLevel parts changed."""
    if value["type"] == "Sequence":
        return {**value, "pretokenizers": [_changed(part, change) for part in value["pretokenizers"]]}
    return change(value) if value["type"] == "ByteLevel" else value
