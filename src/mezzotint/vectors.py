"""Vectors of tokens that were learned elsewhere: by a run of ours, or by a model of Hugging Face.

Strudel et al. 2022 (SED), arXiv:2211.04236, take the input lookup of a bidirectional model that they trained at the
width they wanted, as `mezzotint train-embeddings` makes one. Departure: a wider table is read along its principal axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mezzotint import hub
from mezzotint.checks import check_embeddings
from mezzotint.data.foreign import FILE, ROLES
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import RunError, UsageError
from mezzotint.space.embedding import principal
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import read_tensors
from mezzotint.types import Ending

TABLES = (
    "space.table", "embed.weight",  # ours
    "wte.weight", "word_embeddings.weight", "embed_tokens.weight", "tok_embeddings.weight", "embed_in.weight",
    "shared.weight",
)  # fmt: skip
"""How the names of input tables end."""


@dataclass(frozen=True)
class Vectors:
    """The vectors that a model reads its tokens as."""

    table: Tensor
    """(V, N) float32."""
    tokenizer: Tokenizer
    source: str
    """An absolute path, or a name on a hub."""
    sha256: str
    """Of the file of weights."""
    ending: str | None = None
    """How texts end in the run that learned them; None for a model made elsewhere."""

    def check_tokenizer(self, named: Tokenizer | None) -> Tokenizer:
        """The tokenizer that the vectors are of; UsageError if another one is named."""
        if named is not None and named.fingerprint != self.tokenizer.fingerprint:
            raise UsageError(f"the vectors of {self.name} are those of its own tokenizer; leave tokenizer out")
        return self.tokenizer

    def table_for(self, spec: Any) -> Tensor:
        """(V, width) float32 for a spec with a `width` and an `ending`: as they are, or along their principal axes.

        UsageError where they are too narrow, or cannot serve as vectors of one length.
        """
        own_width, width = self.table.shape[1], spec.width
        if own_width < width:
            raise UsageError(
                f"the vectors of {self.name} are {own_width} wide, and {width} is more; set width={own_width}"
            )
        if spec.ending is Ending.FILL and self.ending == Ending.LENGTH.value:
            unseen = "has never seen an end or padding, which ending=fill needs vectors for"
            raise UsageError(f"{self.name} {unseen}; train it with ending=fill too")
        table = self.table if own_width == width else principal(self.table, width)
        norms = table.norm(dim=-1)
        if not bool((norms.isfinite() & (norms > 0)).all()):
            raise UsageError(f"{self.name} has vectors of no length, which no scaling helps; name another model")
        return table

    def record(self, spec: Any) -> dict[str, Any]:
        """What a run's configuration says of them."""
        width = self.table.shape[1]
        return {"source": self.source, "sha256": self.sha256, "width": width, "principal": width != spec.width}

    @property
    def name(self) -> str:
        """What they are called, without the path of any machine."""
        return Path(self.source).name if Path(self.source).is_absolute() else self.source


def vectors_of(source: str | Path) -> Vectors:
    """The vectors of a run or a model: a folder, or a name on a hub.

    RunError where there are none or they are damaged, HubError where a hub does not give them, UsageError where their
    tokenizer cannot be used.
    """
    check_embeddings(source)
    here = Path(source).exists()
    folder = Path(source) if here else _fetch(str(source), (files.CONFIG, FILE, *ROLES, files.MODEL, files.INDEX))
    config = _read_object(folder / files.CONFIG)
    is_run = {"format", "system", "spec"} <= config.keys()
    tokenizer = Tokenizer.load(folder / files.TOKENIZER) if is_run else Tokenizer.foreign(folder, where=str(source))
    shard, name = _find_table(folder, str(source))
    if not here and not (folder / shard).exists():
        folder = _fetch(str(source), (shard,))
    table = _read_tensor(folder / shard, name)
    if table.ndim != 2 or len(table) < tokenizer.size:
        raise RunError(f"{source} has {len(table)} vectors, and its tokenizer knows {tokenizer.size} tokens")
    ending = str(files.read_config(folder)["spec"].get("ending")) if is_run else None
    origin = str(folder.absolute()) if here else str(source)
    return Vectors(table[: tokenizer.size].clone(), tokenizer, origin, files.digest(folder / shard), ending)


def kept_table(run: Path) -> Tensor:
    """(V, width): the vectors that a run began with; RunError where its file of them is missing or damaged."""
    path = run / files.EMBEDDINGS
    tensors = read_tensors(path)
    if "table" not in tensors:
        raise RunError(f"{path} is damaged: it lacks the table that every such file has")
    return tensors["table"]


def _fetch(name: str, patterns: Sequence[str]) -> Path:
    repository, revision = hub.parse(name) or (name, None)
    return hub.fetch(repository, patterns, revision)


def _find_table(folder: Path, source: str) -> tuple[str, str]:
    """(file, name) of the input table; a large model has several files, and an index of what is where."""
    if (folder / files.INDEX).exists():
        shards = dict(_read_object(folder / files.INDEX).get("weight_map") or {})
    else:
        with _open(folder / files.MODEL) as file:
            shards = dict.fromkeys(file.keys(), files.MODEL)
    tables = [name for suffix in TABLES for name in sorted(shards) if f".{name}".endswith(f".{suffix}")]
    if not tables:
        raise RunError(f"{source} has no table of token vectors under a name that is known: {', '.join(TABLES)}")
    shard = str(shards[tables[0]])
    if Path(shard).name != shard:
        raise RunError(f"{folder / files.INDEX} is damaged; its weight_map should name files of this folder")
    return shard, tables[0]


def _read_tensor(path: Path, name: str) -> Tensor:
    with _open(path) as file:
        if name not in file.keys():  # noqa: SIM118 (it is no mapping)
            raise RunError(f"{path} is damaged: it lacks {name}")
        table: Tensor = file.get_tensor(name)
    return table.float()


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise RunError(f"{path} is missing; a trained run and a model of Hugging Face have one") from None
    except (SafetensorError, OSError) as e:
        raise RunError(f"{path} is damaged ({e}); expected a safetensors file") from None


def _read_object(path: Path) -> Mapping[str, Any]:
    value = files.read_json(path) if path.exists() else {}
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged; expected a JSON object")
    return value
