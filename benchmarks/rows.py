"""Results as rows of one schema, one file a benchmark, under `benchmarks/results/`.

    from benchmarks.rows import Row, record
    record([Row(benchmark="sampler-speed", system="mdlm", metric="tokens_per_second", value=9000.0, steps=32, batch=8)])

A row replaces the one with the same key, so running a benchmark again renews its file and nothing is edited by hand.
Commit, date, hardware and command are filled in, unless the row has a `source`: then it is somebody else's figure.
Run benchmarks as modules (`python -m benchmarks.NAME`) from the root of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

from mezzotint.errors import DataError, UsageError, unknown

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"
METRICS = HERE / "METRICS.md"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number with all that identifies it; None where a column does not apply."""

    benchmark: str
    """Id of the benchmark, in lower case with hyphens; also the name of its file."""
    system: str
    """`mdlm`, `ar`, …; `data` for the held-out texts' own value, `reference` for what a speed is compared with."""
    variant: str = "default"
    """Settings that differ from the recipe's: what `variant()` writes."""
    metric: str
    """A name listed in METRICS.md."""
    value: float | None
    """None where the measurement was made and found nothing, such as an entropy that is not reached."""
    stderr: float | None = None
    n: int | None = None
    """Texts or repetitions behind the value."""
    steps: int | None = None
    """Steps asked for; `nfe` is what was measured."""
    nfe: float | None = None
    batch: int | None = None
    seconds: float | None = None
    seed: int | None = None
    split: str | None = None
    judge: str | None = None
    size: str | None = None
    params: int | None = None
    train_tokens: int | None = None
    train_minutes: float | None = None
    """Minutes of training asked for, or the point of a curve; not what a clock said, or no row would be replaced."""
    precision: str | None = None
    hardware: str | None = None
    command: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    date: str | None = None
    source: str | None = None
    """Where a figure that is not ours comes from."""

    @property
    def key(self) -> str:
        """Equal for two measurements of the same thing; the data's own values are those of so many texts, whoever
        counts them."""
        names = [*(name for name in KEY if name != "hardware"), "n"] if self.system == "data" else KEY
        return json.dumps([getattr(self, name) for name in names])

    @property
    def processor(self) -> str:
        """Its model in a word or two, or the GPU's: what minutes of training are to be read with. The data's own
        values are nobody's work."""
        if self.system == "data":
            return ""
        return re.sub(r"\(R\)| Processor.*| @.*", "", (self.hardware or "").partition(",")[0])


KEY = (
    "benchmark", "system", "variant", "metric", "size", "train_minutes", "steps", "batch", "seed", "split", "judge",
    "precision", "hardware", "source",
)  # fmt: skip


def variant(settings: Mapping[str, object]) -> str:
    """Settings in the one spelling: sorted `key=value`, comma-joined; `default` for none.

    >>> variant({"top_p": 0.9, "noise": "cosine"})
    'noise=cosine,top_p=0.9'
    """
    return ",".join(f"{name}={settings[name]}" for name in sorted(settings)) or "default"


def setting(text: str) -> tuple[str, str]:
    """KEY=VALUE, as it is typed."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"a setting is key=value, not {text}")
    return key, value


def metrics() -> list[str]:
    """The names listed in METRICS.md."""
    return re.findall(r"^\| `([\w\[\]]+)` \|", METRICS.read_text(encoding="utf-8"), re.MULTILINE)


def record(rows: Iterable[Row], *, device: str = "cpu", results: Path = RESULTS) -> list[Path]:
    """Write rows into the files of their benchmarks, each replaced whole, and return these.

    `device` is what the rows were measured on, for `hardware`. Raises UsageError for a row that breaks the schema,
    and DataError for a file that cannot be read as rows; nothing is written then.
    """
    filled = [_filled(row, device) for row in rows]
    for row in filled:
        check(row)
    files = {}
    for benchmark in sorted({row.benchmark for row in filled}):
        path = results / f"{benchmark}.json"
        merged = {row.key: row for row in [*read(path), *(row for row in filled if row.benchmark == benchmark)]}
        files[path] = [merged[key] for key in sorted(merged)]
    for path, whole in files.items():
        _replace(path, whole)
    return list(files)


def read(path: Path) -> list[Row]:
    """The rows of a file, none where there is no file; DataError where it does not hold rows."""
    try:
        return [Row(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a list of benchmark rows ({error})") from None


def has(benchmark: str, results: Path = RESULTS, **facts: object) -> bool:
    """Whether the file of a benchmark holds a row with these values."""
    found = read(results / f"{benchmark}.json")
    return any(all(getattr(row, name) == value for name, value in facts.items()) for row in found)


def check(row: Row) -> None:
    """Raise UsageError where a row breaks the schema."""
    if row.metric not in (known := metrics()):
        raise unknown("metric", row.metric, known)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row.benchmark):
        raise UsageError(f"benchmark '{row.benchmark}' must be lower-case words joined by hyphens")
    if row.variant != "default" and row.variant != _sorted(row.variant):
        raise UsageError(f"variant '{row.variant}' must be sorted key=value pairs joined by commas, or 'default'")
    for field in fields(row):
        value = getattr(row, field.name)
        if isinstance(value, float) and not isfinite(value):
            raise UsageError(f"{field.name} of {row.metric} is {value}; None says that nothing was found")


def hardware(device: str = "cpu") -> str:
    """The processor's model, the cores this process may use and its threads; before them the GPU, if one is used."""
    parts = [_cpu_model(), f"{_cores()} cores", f"{_threads()} threads"]
    if device.startswith("cuda"):
        import torch

        parts.insert(0, torch.cuda.get_device_name(torch.device(device)))
    return ", ".join(parts)


def command(argv: Sequence[str]) -> str:
    """A command line without the paths of this machine: relative inside the repository, bare names outside it.

    >>> command(["/usr/bin/python3", "-m", "benchmarks.x", "--out=/mnt/runs"])
    'python -m benchmarks.x --out=runs'
    """
    return shlex.join(["python", *(re.sub(r"(?<![^=])/.*", _portable, word) for word in argv[1:])])


def _portable(found: re.Match[str]) -> str:
    path = Path(found[0])
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _filled(row: Row, device: str) -> Row:
    if row.source is not None:
        return row
    now = {
        "hardware": hardware(device),
        "command": command(sys.orig_argv),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": None if (changes := _changes()) is None else changes != "",
        "date": datetime.now(UTC).date().isoformat(),
    }
    return replace(row, **{name: value for name, value in now.items() if getattr(row, name) is None})


def _changes() -> str | None:
    return _git("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!docs")


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1].strip() if model else platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads() -> int:
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    return int(os.environ.get("OMP_NUM_THREADS", _cores()))


def _sorted(text: str) -> str | None:
    pairs = [pair.partition("=") for pair in text.split(",")]
    complete = all(name and mark and value for name, mark, value in pairs)
    return variant({name: value for name, _, value in pairs}) if complete else None


def _replace(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    lines = ",\n".join(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) for row in rows)
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(f"[\n{lines}\n]\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
