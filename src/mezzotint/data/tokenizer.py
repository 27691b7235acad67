"""Text to ids and back: words where a corpus has few of them, byte-level BPE elsewhere.

Both kinds put one virtual space before the text, so that a word is the same token at the start of a text as inside it,
and take it off again. Word level splits into words, punctuation marks and white space, each word and mark with the one
space before it; BPE is byte-level (Radford et al. 2019, section 2.2) and knows every text. The two or three special
tokens are never registered with the `tokenizers` library as such: no text, whatever it spells, encodes to them.

A tokenizer made elsewhere (data/foreign.py) keeps its ids, its end and its padding, and has no virtual space unless it
puts one there itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, pairwise, takewhile
from pathlib import Path
from typing import Any, Final, SupportsInt, final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Engine

from mezzotint.data.foreign import FILE, Foreign, adopt, roles
from mezzotint.errors import RunError, UsageError, unknown

_AUTO: Final = "auto"
_WORD: Final = "word"
_BPE: Final = "bpe"
_KINDS: Final = {"WordLevel": _WORD, "BPE": _BPE}
_SPECIAL: Final = {_WORD: ("<end>", "<pad>", "<unk>"), _BPE: ("<end>", "<pad>")}
_PIECE: Final = r" ?\w+| ?[^\w\s]|\s"
_BATCH: Final = 1_000_000
"""Characters encoded at once, and the length from which a text is encoded in parts; bounds the library's memory."""


@final
class Tokenizer:
    """A fixed two-way map between texts and sequences of ids; `<end>` is 0, `<pad>` 1 and, for words, `<unk>` 2.

    One that was made elsewhere has its own end and padding, which may be the same id.
    """

    def __init__(self, engine: Engine, foreign: Foreign | None = None) -> None:
        self._engine = engine
        self._text: str = engine.to_str() if foreign is None else foreign.text
        self.is_foreign: bool = foreign is not None
        self.kind: str = _KINDS[json.loads(self._text)["model"]["type"]]
        self.size: int = engine.get_vocab_size()
        self.unk: int | None = 2 if self.kind == _WORD else None
        self.end: int = 0
        self.pad: int = 1
        self.special: frozenset[int] = frozenset(range(len(_SPECIAL[self.kind])))
        """Ids that are no part of a text."""
        self.lead: str = " "
        """The virtual space, or nothing."""
        self._hidden: Mapping[int, str] = {}
        if foreign is not None:
            self.size, self.end, self.pad, self.lead = foreign.size, foreign.end, foreign.pad, foreign.lead
            self.special, self._hidden = frozenset(foreign.hidden), foreign.hidden

    def encode(self, text: str, virtual_space: bool = True) -> list[int]:
        """The ids of a text, without an end token; UsageError if it holds half a surrogate pair."""
        return next(self.encode_each([text], virtual_space))

    def encode_all(self, texts: Iterable[str]) -> list[list[int]]:
        """`encode` of each text, in batches."""
        return list(self.encode_each(texts))

    def encode_each(self, texts: Iterable[str], virtual_space: bool = True) -> Iterator[list[int]]:
        """`encode` of each text, in batches, one after another: for more texts than fit in memory as ids."""
        row: list[int] = []
        for batch in _batches(self.lead + text if virtual_space else text for text in texts):
            for (_, is_last), ids in zip(batch, self._encoded([part for part, _ in batch]), strict=True):
                row += ids
                if is_last:
                    yield row
                    row = []

    def _encoded(self, parts: list[str]) -> list[list[int]]:
        try:
            return [encoding.ids for encoding in self._engine.encode_batch_fast(parts)]
        except TypeError:
            raise UsageError("a text holds half a surrogate pair, which is no character; take it out") from None

    def unknown_words(self, text: str, virtual_space: bool = True) -> list[str]:
        """The words of a text that are not in the vocabulary, each once; of a vocabulary of pieces those with a
        character that is in no piece and can only be spelled in bytes. Of one made elsewhere nothing is said.

        Without `virtual_space` it is a part of a text, which something may stand right before."""
        if self.is_foreign:
            return []
        text = (text if text.startswith(" ") or not virtual_space else self.lead + text).rstrip()
        read = self._engine.encode(text)
        if self.unk is None:
            strange = [begin for (begin, end), after in pairwise(read.offsets) if (begin, end) == after]
        else:
            strange = [begin for i, (begin, _) in zip(read.ids, read.offsets, strict=True) if i == self.unk]
        words = (m[0].strip() for m in re.finditer(_PIECE, text) if any(m.start() <= at < m.end() for at in strange))
        return list(dict.fromkeys(words))

    def decode(self, ids: Iterable[SupportsInt], virtual_space: bool = True) -> str:
        """The text of some ids, up to the first end or padding; bytes that are not UTF-8 become U+FFFD."""
        body = list(takewhile(lambda i: i not in (self.end, self.pad), map(int, ids)))
        text: str = self._engine.decode(body, skip_special_tokens=False)
        return text.removeprefix(self.lead) if virtual_space else text

    def surfaces(self, ids: Iterable[SupportsInt]) -> list[str]:
        """The text of each id by itself, its leading space kept; end and padding show as their names."""
        return [self._surfaces[int(i)] for i in ids]

    @cached_property
    def _surfaces(self) -> list[str]:
        alone = (self._engine.decode([i], skip_special_tokens=False) for i in range(self.size))
        return [self._hidden.get(i, text) for i, text in enumerate(alone)]

    @cached_property
    def spaced(self) -> NDArray[np.bool_]:
        """(V,) bool: the id's text begins with a space."""
        return np.array([text.startswith(" ") for text in self._surfaces], dtype=bool)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the ids, in hex."""
        values = json.loads(self._text)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def save(self, path: Path | str) -> None:
        """Write `tokenizer.json`; the file appears whole or not at all."""
        path = Path(path)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            aside.write_text(self._text, encoding="utf-8")
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """The tokenizer that `save` wrote; RunError if there is none or it is damaged."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise RunError(f"{path} is missing; a run folder holds its tokenizer there") from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{path} cannot be read as a tokenizer ({error})") from None
        try:
            return cls.parse(text, str(path))
        except Exception:  # the library raises bare Exception for every kind of damage
            raise RunError(f"{path} is damaged or is not a tokenizer.json written by mezzotint") from None

    @classmethod
    def foreign(cls, path: Path | str, where: str | None = None) -> Tokenizer:
        """A tokenizer made elsewhere, or one of a run: a tokenizer.json, or the folder that it is in.

        UsageError, with `where` (by default the path) in front, if there is none or if it cannot give every text back.
        """
        folder, where = Path(path), where or str(path)
        file = folder / FILE if not folder.is_file() else folder
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"{where} has no {FILE} that can be read, and other kinds are not known") from None
        said = roles(file.parent)
        try:
            return cls.parse(text, where, said.get("eos_token"), said.get("pad_token"))
        except UsageError:
            raise
        except Exception:  # the library raises bare Exception for every kind of damage
            raise UsageError(f"{where} is damaged or is no {FILE} that the tokenizers library reads") from None

    @classmethod
    def parse(cls, text: str, where: str, end: str | None = None, pad: str | None = None) -> Tokenizer:
        """The tokenizer that the text of a tokenizer.json describes, ours or another's; `adopt` says what it raises."""
        values = json.loads(text)
        if end is None and not values.get("added_tokens") and _is_ours(values["model"]):
            return cls(_rebuilt(values))
        found = adopt(values, where, end, pad)
        return cls(found.engine, found)


def train_tokenizer(
    kind: str,
    train: Sequence[str],
    valid: Sequence[str],
    max_words: int = 4000,
    coverage: float = 0.995,
    bpe_size: int = 8192,
) -> Tokenizer:
    """A tokenizer for a corpus; equal texts give equal tokenizers.

    `word` takes every piece seen twice or more in `train`. `bpe` has `bpe_size` entries, or for a small corpus one
    for every 60 characters of `train` but not below 512 (pairs seen once are never merged, so it can end lower).
    `auto` is `word` where that has at most `max_words` entries and knows the share `coverage` of the pieces of
    `valid`, else `bpe`. UsageError for any other kind.
    """
    if kind not in (_AUTO, _WORD, _BPE):
        raise unknown("tokenizer", kind, [_AUTO, _WORD, _BPE])
    if kind == _BPE or (kind == _AUTO and not _has_few_words(train, max_words)):
        return _train_bpe(train, bpe_size)
    words = _train_words(train)
    if kind == _WORD or (_count(words) <= max_words and known_share(words, valid) >= coverage):
        return words
    return _train_bpe(train, bpe_size)


def known_share(tokenizer: Tokenizer, texts: Iterable[str]) -> float:
    """The share of the pieces of some texts that are in the vocabulary (1 for BPE)."""
    if tokenizer.unk is None:
        return 1.0
    pieces = unknown_pieces = 0
    for ids in tokenizer.encode_each(texts):
        pieces += len(ids)
        unknown_pieces += ids.count(tokenizer.unk)
    return 1.0 - unknown_pieces / pieces


def _has_few_words(texts: Sequence[str], most: int) -> bool:
    """False where a first part of the texts shows that they have more than `most` words seen twice; never wrongly so,
    because more text can only add to them. Saves counting the words of a large corpus."""
    totals = accumulate(map(len, texts))
    head = [text for text, total in zip(texts, totals, strict=True) if total <= 2 * _BATCH]
    return 2 * len(head) > len(texts) or _count(_train_words(head)) <= most


def _count(words: Tokenizer) -> int:
    return words.size - len(words.special)


def _train_words(texts: Iterable[str]) -> Tokenizer:
    special = list(_SPECIAL[_WORD])
    engine = Engine(models.WordLevel(unk_token=special[2]))
    engine.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE), "isolated")
    # An unknown piece is nearly always a word after a space; shown with one, it stays a word of its own.
    engine.decoder = decoders.Sequence([decoders.Replace(special[2], " " + special[2]), decoders.Fuse()])
    trainer = trainers.WordLevelTrainer(vocab_size=2**31, min_frequency=2, special_tokens=special, show_progress=False)
    return _trained(engine, trainer, texts)


def _train_bpe(texts: Sequence[str], size: int) -> Tokenizer:
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(size, max(512, sum(map(len, texts)) // 60)),
        min_frequency=2,
        special_tokens=list(_SPECIAL[_BPE]),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    return _trained(engine, trainer, texts)


def _trained(engine: Engine, trainer: Any, texts: Iterable[str]) -> Tokenizer:
    engine.train_from_iterator((part for text in texts for part, _ in _parts(" " + text)), trainer)
    return Tokenizer(_rebuilt(json.loads(engine.to_str())))


def _rebuilt(values: dict[str, Any]) -> Engine:
    """The engine without added tokens: those would be recognised inside texts."""
    return Engine.from_str(json.dumps({**values, "added_tokens": []}))


def _is_ours(model: dict[str, Any]) -> bool:
    """Whether the ids are numbered as ours are."""
    vocabulary, special = model["vocab"], _SPECIAL.get(_KINDS.get(model["type"], ""), ())
    ids_in_order = sorted(vocabulary.values()) == list(range(len(vocabulary)))
    return bool(special) and ids_in_order and all(vocabulary.get(name) == i for i, name in enumerate(special))


def _batches(texts: Iterable[str]) -> Iterator[list[tuple[str, bool]]]:
    """Parts of texts, each with whether it is its text's last, in lists of bounded size."""
    batch: list[tuple[str, bool]] = []
    held = 0
    for text in texts:
        for part, is_last in _parts(text):
            batch.append((part, is_last))
            held += len(part)
            if held >= _BATCH:
                yield batch
                batch, held = [], 0
    yield batch


_SEAM = re.compile(r"(?<=\w)\n")
"""Where a text may be cut without changing its tokens: both kinds end a piece between a word and a newline."""


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The text cut into parts of little more than a batch, each with whether it is the last."""
    start = 0
    while len(text) - start > _BATCH and (seam := _SEAM.search(text, start + _BATCH)):
        yield text[start : seam.start()], False
        start = seam.start()
    yield text[start:], True
