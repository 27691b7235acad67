"""What can be checked, named or refused before torch is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mezzotint import hub
from mezzotint.data.corpus import check
from mezzotint.data.pairs import Columns, check_columns
from mezzotint.errors import CapabilityError, RunError, UsageError, unknown
from mezzotint.spec.adapter import Adapt
from mezzotint.spec.base import member
from mezzotint.systems import entry
from mezzotint.training import folder as files
from mezzotint.types import Can, Card, Decoder, Layout, Towards

BISTRO = "bistro"
"""As --data, the bundled corpus."""
AUTO = "auto"
"""As --tokenizer, what suits the text."""
KINDS = (AUTO, "word", "bpe")
"""As --tokenizer, what is trained on the text."""
BUNDLED = Path(__file__).parent / "bundled"
"""The runs that come with the package, each in a folder of its own."""
RUNS = "runs"
"""The folder of runs where no other is named; it is no owner's name on a hub."""
_BARE = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
"""The name of a repository on a hub without an owner, such as gpt2."""


def names_bistro(data: Sequence[str | Path]) -> bool:
    """Whether --data is the bundled corpus."""
    return [str(path) for path in data] == [BISTRO]


def check_data(data: Sequence[str | Path]) -> None:
    """DataError or UsageError unless everything named is a readable file of a known kind or a data set of a hub."""
    if not names_bistro(data):
        check(data)


def check_sides(
    system: str, data: Sequence[str | Path], field: str | None, layout: str, source: str | None, target: str | None
) -> Columns | None:
    """The fields of both sides for a system that writes from a source; None for one that does not.

    UsageError for fields or a layout that the system does not learn from.
    """
    card: Card = entry(system).load(entry(system).card)
    if Can.TRANSLATE not in card.can:
        if source is not None or target is not None:
            able = f"{card.name} writes texts by themselves"
            raise UsageError(f"{able}; leave --source and --target out, and name the text with --field")
        return None
    if field is not None:
        raise UsageError(f"{card.name} writes from a source: name both fields, with --source and --target")
    if member(Layout, "layout", layout) is Layout.WINDOWS:
        raise UsageError(f"{card.name} writes a text from its source; leave --layout windows out")
    if names_bistro(data):
        if source is not None or target is not None:
            raise UsageError("in bistro the source is the fields of a text; leave --source and --target out")
        return Columns()
    columns = Columns(source, target)
    check_columns(data, columns)
    return columns


def bundled_runs() -> tuple[Path, ...]:
    """The run folders that came with the package, for who names none."""
    return tuple(sorted(config.parent for config in BUNDLED.glob(f"*/{files.CONFIG}")))


def located(run: str | Path, revision: str | None = None) -> Path:
    """The folder of a run: a path as it is, `owner/name` or `owner/name@revision` as fetched from the hub.

    A path that exists, or whose first part does, is never looked up on the hub: a typo in `runs/reviews` makes no
    request. A bundled run is known by its name, where no run of that name is here. Raises HubError, RunError where the
    repository holds no run, UsageError for the revision of a folder.
    """
    for bundled in bundled_runs():
        if str(run) == bundled.name and not (Path(run) / files.CONFIG).is_file() and revision is None:
            return bundled
    parsed = hub.parse(str(run))
    first = Path(run).parts[0] if parsed else ""
    if parsed is None or Path(run).exists() or first == RUNS or Path(first).exists():
        if revision is not None:
            raise UsageError(f"{run} is a folder here, and folders have no revisions; leave revision out")
        return Path(run)
    name, named_revision = parsed
    folder = hub.fetch(name, files.PUBLISHED, revision or named_revision)
    try:
        files.read_config(folder)
    except RunError as e:
        raise RunError(f"{name} on the hub is no run of Mezzotint: {e}") from None
    return folder


def check_embeddings(source: str | Path) -> None:
    """RunError unless it is a folder with weights, or could be the name of a run or a model on a hub."""
    if Path(source).exists():
        if not any((Path(source) / name).is_file() for name in (files.MODEL, files.INDEX)):
            raise RunError(f"{source} has no {files.MODEL}; a trained run and a model of Hugging Face have one")
    elif (hub.parse(str(source)) is None and not _BARE.fullmatch(str(source))) or Path(Path(source).parts[0]).exists():
        raise RunError(f"there is no run or model at {source}; `mezzotint train-embeddings` makes one")


def check_tokenizer(name: str) -> None:
    """UsageError unless it is a kind that can be trained, a path that is there, or could be a name on a hub."""
    if name in KINDS or (name and Path(name).exists()) or hub.parse(name) is not None:
        return
    if not _BARE.fullmatch(name) or get_close_matches(name, KINDS, n=1):
        raise unknown("tokenizer", name, KINDS)


def check_backbone(system: str, backbone: str | Path | None, tokenizer: str = "auto") -> None:
    """UsageError unless a backbone is named exactly where the system has one; it brings its own tokenizer."""
    card: Card = entry(system).load(entry(system).card)
    if card.backbone and backbone is None:
        raise UsageError(f"{system} stands on a language model: name a run of ar or GPT-2, as in --backbone gpt2")
    if backbone is not None and not card.backbone:
        raise UsageError(f"{system} stands on no other model; leave --backbone out")
    if backbone is not None and tokenizer != KINDS[0]:
        raise UsageError("a backbone brings its own tokenizer; leave --tokenizer out")


def check_run(path: str | Path) -> Mapping[str, Any]:
    """The configuration of a run, found as `located` finds it; RunError unless there is one of a known system there."""
    config = files.read_config(located(path))
    try:
        entry(config["system"])
    except UsageError as e:
        raise RunError(f"{path} is a run of '{config['system']}': {e}") from None
    return config


def check_decoder(card: Card, decoder: Decoder, threshold: float | None, strength: float | None) -> None:
    """CapabilityError unless a system can write by this rule, UsageError unless its options are this rule's."""
    if decoder not in card.decoders:
        able = ", ".join(sorted(other.value for other in card.decoders))
        raise CapabilityError(f"{card.name} has no decoder '{decoder.value}'; it has {able}")
    if threshold is not None and decoder is not Decoder.THRESHOLD:
        raise UsageError(f"threshold is for decoder 'threshold', not for '{decoder.value}'")
    if strength is not None and decoder not in (Decoder.REMASK, Decoder.REMASK_RESCALED):
        raise UsageError(f"strength is for decoders 'remask' and 'remask-rescaled', not for '{decoder.value}'")


def check_guide(card: Card, guide: Towards, decoder: Decoder) -> None:
    """CapabilityError or UsageError unless a system can be guided towards that, by the rule asked for."""
    if guide is Towards.NOTHING:
        return
    if Can.REWARD not in card.can:
        raise CapabilityError(f"{card.name} has learned from no reward to be guided by; a distilled run has")
    if not decoder.exact:
        raise UsageError(f"guide 'reward' is a rule of its own; leave out decoder '{decoder.value}'")


def check_length(card: Card, config: Mapping[str, Any], length: int | None, block: int | None, reuse: bool) -> None:
    """CapabilityError or UsageError unless a run can write texts of `length` tokens; None asks for nothing."""
    if length is None:
        if block is not None or reuse:
            raise UsageError("block and reuse are for texts of a length that was asked for; give length too")
        return
    if Can.LONG not in card.can:
        raise CapabilityError(f"{card.name} cannot write texts longer than its canvas; leave length out")
    if config["data"].get("layout") != Layout.WINDOWS.value:
        raise CapabilityError(
            "this run has learned how long its texts are; only a run of --layout windows can be asked for a length"
        )
    canvas = config["spec"]["canvas"]
    if length <= canvas:
        raise UsageError(f"length must be more than the {canvas} tokens that this run writes at once, not {length}")
    if block is not None and not 1 <= block <= canvas:
        raise UsageError(f"block must be from 1 to the {canvas} tokens that this run writes at once, not {block}")


def check_mauve(config: Mapping[str, Any], judge: str | Path | None) -> None:
    """UsageError unless mauve can compare a run's texts: it needs a judge, and libraries, which are not loaded here."""
    if judge is None and not names_bistro(config["data"]["files"]):
        raise UsageError("mauve compares what a judge makes of the texts; name one with judge, a run of ar")
    modules = [find_spec(package) for package in ("mauve", "faiss", "sklearn")]
    if any(module is None or module.origin is None for module in modules):  # without an origin, just a folder
        raise UsageError('mauve needs libraries that are not installed: pip install "mezzotint[mauve]"')


def next_out(system: str, data: Sequence[str | Path]) -> Path:
    """runs/<system>-<data>-<n> with the first free n."""
    stem = re.split(r"[.@#:\[]", Path(data[0]).name)[0]
    n = 1
    while (out := Path(RUNS) / f"{system}-{stem}-{n}").exists():
        n += 1
    return out


def check_adapter(name: str) -> Adapt:
    """The adapter of that name; UsageError where there is none, or the library that it needs is not installed."""
    adapt = member(Adapt, "adapter", name)
    if adapt is Adapt.LORA and find_spec("peft") is None:
        raise UsageError('--adapter lora needs a library that is not installed: pip install "mezzotint[lora]"')
    return adapt


def check_seed(seed: int) -> None:
    """UsageError unless torch and numpy can both be seeded with it."""
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise UsageError(f"seed must be a whole number from 0 to {2**31 - 1}, not {seed!r}")
