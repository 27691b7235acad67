"""A run as others get it: settings, tokenizer, lengths, averaged weights and a card. No checkpoint, no log, no path."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mezzotint import hub
from mezzotint.training import folder as files
from mezzotint.training.evidence import Evidence, gather, number, validations
from mezzotint.types import Can, Card

CARD = "README.md"


def publish(run: Path, out: Path, card: Card, name: str) -> None:
    """Write what others need of a run into `out`, whole or not at all; `name` is what they will load it by.

    RunError where `out` holds something already or cannot be written, or where the run has no weights yet.
    """
    files.check_new(out)
    evidence = gather(run)
    config = {**without_paths(files.read_config(run)), "published": True}
    with files.atomic_folder(out) as aside:
        for file in _needed(run, card):
            shutil.copyfile(run / file, aside / file)
        files.put_json(aside / files.CONFIG, config)
        files.put(aside / CARD, model_card(config, evidence, card, name, _size(run, card)))


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration with names where paths were: where files lay is of no use to anybody else."""
    data = config["data"]
    plain = {
        "files": [_name(path) for path in data["files"]],
        "valid": data["valid"] and [_name(path) for path in data["valid"]],
        "sources": [{**source, "path": _name(source["path"])} for source in data.get("sources", [])],
    }
    named: dict[str, Any] = _unrooted({**config, "data": {**data, **plain}})
    return named


def weights(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header alone."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(_product(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _needed(run: Path, card: Card) -> list[str]:
    """The files without which a run cannot write as it can here; a teacher is needed by a training alone."""
    kept = (files.LENGTHS, files.PRIOR, files.CONTROL, files.CONTROLLER)
    some = [name for name in kept if (run / name).exists()]
    return [files.TOKENIZER, *some, files.MODEL, *([files.FROZEN] if card.backbone else [])]


def _size(run: Path, card: Card) -> int:
    """The numbers of a run's networks, those that it stands on too."""
    return weights(run / files.MODEL) + (weights(run / files.FROZEN) if card.backbone else 0)


def model_card(config: Mapping[str, Any], evidence: Evidence, card: Card, name: str, size: int) -> str:
    """The card in Markdown: what the model is, what it learned from, how good it is, how it is loaded."""
    rows = dict(_facts(config, evidence, size))
    table = [f"| {what} | {_cell(said)} |" for what, said in rows.items()]
    alone = [] if Can.TRANSLATE in card.can else ["write"]
    able = ", ".join([*alone, *sorted(ability.value for ability in card.can)])
    return "\n".join(
        [
            *("---", "library_name: mezzotint", "pipeline_tag: text-generation"),
            *("tags:", "- mezzotint", f"- {json.dumps(card.name)}", "---", ""),
            *(f"# {_cell(name)}", ""),
            f"{card.title} ({card.paper}), trained with Mezzotint. It can {able}.",
            *("", "| | |", "| --- | --- |", *table, ""),
            *("With Mezzotint installed:", "", "```python", "import mezzotint", ""),
            f"run = mezzotint.from_pretrained({json.dumps(name, ensure_ascii=False)})",
            *(_example(card), "```", ""),
        ]
    )


def _example(card: Card) -> str:
    """A line of Python that has the run write."""
    if Can.TRANSLATE in card.can:
        return 'print(next(mezzotint.translate(run, ["..."])).text)'
    return "print(run.generate(n=8)[0].text)"


def _facts(config: Mapping[str, Any], evidence: Evidence, size: int) -> Iterator[tuple[str, str]]:
    spec, data = config["spec"], config["data"]
    yield "system", str(config["system"])
    yield "parameters", f"{size:,}"
    yield "vocabulary", f"{spec['vocab']:,} tokens"
    yield "longest text", f"{spec['canvas']:,} tokens"
    if data["files"]:
        yield "trained on", ", ".join(_described(data["files"], data["sources"]))
    if found := data.get("embeddings"):
        where = str(found["source"])
        yield "vectors of tokens", f"the principal axes of {where}" if found["principal"] else f"those of {where}"
    if "rows" in data:
        yield "rows", f"{data['rows']:,} for training, {data['valid_rows']:,} held out"
    if evidence.log:
        yield "steps", f"{number(evidence.log[-1].get('step')) or 0:,.0f}"
    if (bound := _bound(config["system"], evidence)) is not None:
        yield "bound", bound
    yield "seed", str(config["seed"])
    yield "versions", ", ".join(f"{package} {version}" for package, version in config.get("versions", {}).items())


def _described(names: Sequence[str], sources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from names if not sources else ()
    for source in sources[: len(names)]:
        yield f"{source['path']} ({source['texts']:,} texts, sha256 {str(source['sha256'])[:8]})"


def _bound(system: str, evidence: Evidence) -> str | None:
    """The bound as `evaluate` measured it, else the last estimate of the training."""
    for score in evidence.scores:
        value, error = number(score.get("value")), number(score.get("stderr"))
        if value is not None and (score["name"], score.get("column")) == ("bound_nats_per_token", system):
            spread = "" if error is None else f" ± {error:.3f}"
            return f"{value:.3f}{spread} nats a token ({score.get('note')}; {score.get('n')} texts)"
    measured = validations(evidence.log)
    return f"{measured[-1]['valid']:.3f} nats a symbol (estimated in training on held-out texts)" if measured else None


def _name(path: str) -> str:
    return path if path.startswith(hub.SET) else Path(path).name


def _unrooted(value: Any) -> Any:
    """The value with the name of every absolute path in it in its place."""
    if isinstance(value, Mapping):
        return {key: _unrooted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unrooted(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _product(shape: Sequence[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total
