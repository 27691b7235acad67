"""Texts in parquet files and in data sets of a hub: what a .jsonl of the same records gives, or a sentence."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mezzotint
from mezzotint.checks import check_data, next_out
from mezzotint.data.corpus import check, load_corpus, read
from mezzotint.data.tables import Set, parse_set
from mezzotint.errors import DataError, HubError, MezzotintError, UsageError
from mezzotint.types import Layout
from tests.fake_hub import Hub, reach, serving

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NEEDED = 'the extra "data" is not installed: pip install "mezzotint[data]"'
needs_extra = pytest.mark.skipif(find_spec("pyarrow") is None or find_spec("datasets") is None, reason=NEEDED)
ADJECTIVES, STATES = ["old", "new", "red", "blue", "green"], ["cold", "warm", "near", "far", "shut"]
LINES = [f"The {adjective} pub is {state}." for adjective in ADJECTIVES for state in STATES]


def packed(columns: dict[str, list[Any]], **how: Any) -> bytes:
    """A parquet file of some columns."""
    pyarrow = pytest.importorskip("pyarrow", reason=NEEDED)
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), out, **how)
    return out.getvalue()


def stored(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def refusal(kind: type[MezzotintError], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and not message.endswith(".") and "Error" not in message
    return message


def texts(*data: Path | str, field: str | None = None) -> list[str]:
    return read(data, field, Layout.TEXTS)[0]


# ---- parquet ---------------------------------------------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@needs_extra
@given(st.lists(any_text, min_size=1, max_size=12), st.booleans())
@few
def test_a_parquet_file_gives_what_the_same_records_give_as_json(tmp_path: Path, rows: list[str], large: bool) -> None:
    import pyarrow as pa

    rows = [*rows, "end"]
    column = pa.array(rows, pa.large_string() if large else pa.string())
    other = {"number": list(range(len(rows))), "tags": [["no"]] * len(rows)}
    table = stored(tmp_path, "a.parquet", packed({**other, "body": column}, row_group_size=3))
    lines = stored(tmp_path, "a.jsonl", "\n".join(json.dumps({"body": row}) for row in rows).encode())
    found, (source,) = read([table], None, Layout.TEXTS)
    assert found == texts(lines) == texts(table, field="body")
    assert source.sha256 == hashlib.sha256(table.read_bytes()).hexdigest()
    assert (source.path, source.texts) == (str(table), len(found))


@needs_extra
def test_the_column_is_chosen_as_the_field_of_a_record_is(tmp_path: Path) -> None:
    import pyarrow as pa

    several = {"title": ["a", "b"], "text": ["c", "d"]}
    assert texts(stored(tmp_path, "a.parquet", packed(several))) == ["c", "d"]
    assert texts(stored(tmp_path, "b.parquet", packed(several)), field="title") == ["a", "b"]
    coded = pa.array(["a", "b", "a"]).dictionary_encode()
    assert texts(stored(tmp_path, "c.parquet", packed({"body": coded, "n": ["1", "2", "3"]}))) == ["a", "b", "a"]
    mixed = [stored(tmp_path, "d.parquet", packed({"x": ["e"]})), stored(tmp_path, "e.txt", b"f\n")]
    assert texts(*mixed, field="x") == ["e", "f"]


BAD: dict[str, tuple[Callable[[], bytes], str | None, str]] = {
    "empty": (lambda: b"", None, "is empty"),
    "not parquet": (lambda: b"text\nof a line\n", None, "is damaged or is no parquet file"),
    "truncated": (lambda: packed({"text": LINES})[:-20], None, "is damaged or is no parquet file"),
    "cut in the middle": (
        lambda: packed({"text": LINES})[:100] + packed({"text": LINES})[200:],
        None,
        "is damaged or is no parquet file",
    ),
    "no records": (lambda: packed({"text": LINES[:0]}), "text", "has no text in it"),
    "no records, no field": (lambda: packed({"n": [1][:0]}), None, "has no column of text; it has 'n'"),
    "white space": (lambda: packed({"text": [" ", "\n"]}), None, "has no text in it"),
    "no such column": (lambda: packed({"body": ["a"]}), "text", "has no column 'text'; it has 'body'"),
    "no text": (lambda: packed({"n": [1], "m": [2.0]}), None, "has no column of text; it has 'n', 'm'"),
    "null": (lambda: packed({"text": ["a", None]}), None, ", record 2: the field 'text' is null, not a text"),
    "numbers": (lambda: packed({"n": [1, 2]}), "n", ", record 1: the field 'n' is a number, not a text"),
    "bytes": (lambda: packed({"n": [b"1"]}), "n", ", record 1: the field 'n' is a bytes, not a text"),
    "which": (lambda: packed({"a": ["x"], "b": ["y"]}), None, ", record 1: which field is the text is not clear"),
}


@needs_extra
@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused_by_name_and_record(tmp_path: Path, case: str) -> None:
    made, field, said = BAD[case]
    path = stored(tmp_path, "a.parquet", made())
    message = refusal(DataError, lambda: texts(path, field=field))
    assert message.startswith(str(path)) and said in message


@needs_extra
def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    column = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    path = stored(tmp_path, "a.parquet", packed({"text": column}))
    assert "bytes that are not UTF-8" in refusal(DataError, lambda: texts(path))


@needs_extra
def test_resume_sees_that_a_table_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    path = stored(tmp_path, "a.parquet", packed({"text": LINES}))
    small = {"dim": "16", "depth": "1", "heads": "2", "batch": "8"}
    next(iter(mezzotint.train("mdlm", [path], out=tmp_path / "run", max_steps=50, save_every=1, settings=small)))
    stored(tmp_path, "a.parquet", packed({"text": LINES}, compression="none"))
    assert "has changed since the run began" in refusal(DataError, lambda: mezzotint.resume(tmp_path / "run"))


def test_without_the_extra_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mezzotint.data.tables.find_spec", lambda _: None)
    path = stored(tmp_path, "a.parquet", b"PAR1")
    how = 'needs libraries that are not installed: pip install "mezzotint[data]"'
    assert refusal(UsageError, lambda: check([path])) == f"{path} {how}"
    assert refusal(UsageError, lambda: texts("hf:jane/texts")) == f"hf:jane/texts {how}"
    assert check([stored(tmp_path, "a.txt", b"a")]) is None


def test_a_packed_table_is_of_no_known_kind(tmp_path: Path) -> None:
    path = stored(tmp_path, "a.parquet.gz", b"")
    assert ".parquet; or hf:OWNER/NAME" in refusal(UsageError, lambda: check([path]))


def test_nothing_heavy_is_loaded_to_check_a_name() -> None:
    code = (
        "import sys; from mezzotint.checks import check_data; from mezzotint.errors import UsageError\n"
        "try: check_data(['hf:jane/texts'])\nexcept UsageError: pass\n"
        "print({'torch', 'datasets', 'pyarrow', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


# ---- names of data sets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hf:jane/texts", Set("jane/texts")),
        ("hf:jane/texts:test", Set("jane/texts", split="test")),
        ("hf:jane/texts#v1-raw.en", Set("jane/texts", config="v1-raw.en")),
        ("hf:jane/texts@refs/pr/1#a b:train[:100]", Set("jane/texts", "refs/pr/1", "a b", "train", 100)),
        ("hf:jane/texts[:7]", Set("jane/texts", first=7)),
    ],
)
def test_a_name_says_revision_configuration_split_and_number(text: str, found: Set) -> None:
    assert parse_set(text) == found and str(found) == text


@pytest.mark.parametrize("text", ["hf:", "hf:texts", "hf:a/b/c", "hf:a/b:train[10:20]", "hf:a/b[:0]", "hf:a/b:x#y"])
def test_other_names_are_refused_with_how_they_are_spelt(text: str) -> None:
    assert "write hf:OWNER/NAME@REVISION#CONFIG:SPLIT[:N]" in refusal(UsageError, lambda: check([text]))


def test_a_run_is_named_after_its_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_out("mdlm", ["hf:jane/Tiny-Texts@v1#en:train[:9]"]) == Path("runs/mdlm-Tiny-Texts-1")


# ---- data sets -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with a data set of two splits, and one of two configurations."""
    datasets = pytest.importorskip("datasets", reason=NEEDED)
    monkeypatch.chdir(tmp_path)
    with serving() as made:
        reach(made, monkeypatch, tmp_path)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", made.url)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "sets"))
        splits = {"train": LINES, "test": ["one", "two"]}
        files = {f"data/{k}-00000-of-00001.parquet": packed({"n": [1] * len(v), "text": v}) for k, v in splits.items()}
        made.repo("datasets/jane/texts", files)
        both = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("en", "de"))
        pairs = {"README.md": f"---\nconfigs:\n{both}---\n".encode()}
        for name in ("en", "de"):
            records = ({"a": f"{name} {i}", "b": "x"} for i in range(30))
            pairs[f"{name}.jsonl"] = "".join(json.dumps(record) + "\n" for record in records).encode()
        made.repo("datasets/jane/pairs", pairs)
        yield made


def test_a_data_set_gives_its_texts_and_says_which_commit_they_are_of(hub: Hub) -> None:
    commit = hub.repos["datasets/jane/texts"].head
    found, (source,) = read(["hf:jane/texts"], None, Layout.TEXTS)
    assert found == LINES
    assert source.path == f"hf:jane/texts@{commit}:train" and source.texts == len(LINES)
    assert texts("hf:jane/texts:test", field="text") == ["one", "two"]
    corpus = load_corpus(["hf:jane/texts"], ["hf:jane/texts:test"])
    assert (corpus.train, corpus.valid) == (LINES, ["one", "two"])


def test_the_digest_is_of_the_texts_and_of_where_they_end(hub: Hub) -> None:
    repo = hub.repos["datasets/jane/texts"]
    digests = []
    for rows in (["ab", "c"], ["a", "bc"], ["ab", "c"]):
        repo.commit({"data/train-00000-of-00001.parquet": packed({"n": [1, 2], "text": rows})})
        digests.append(read(["hf:jane/texts"], None, Layout.TEXTS)[1][0].sha256)
    assert digests[0] == digests[2] != digests[1]


def test_a_commit_stays_what_it_was(hub: Hub) -> None:
    repo = hub.repos["datasets/jane/texts"]
    first = repo.head
    repo.commit({"data/train-00000-of-00001.parquet": packed({"n": [1] * 3, "text": ["new"] * 3})})
    assert texts("hf:jane/texts") == ["new"] * 3 and texts(f"hf:jane/texts@{first}") == LINES


def test_a_number_of_records_is_streamed_and_nothing_is_kept(hub: Hub, tmp_path: Path) -> None:
    assert texts("hf:jane/texts:train[:3]") == LINES[:3] and texts("hf:jane/texts[:99]") == LINES
    assert not (tmp_path / "sets").exists() or not list((tmp_path / "sets").rglob("*.arrow"))


def test_configurations_and_fields_are_chosen_by_name(hub: Hub) -> None:
    assert texts("hf:jane/pairs#de", field="a")[0] == "de 0" and texts("hf:jane/pairs#en[:2]", field="a")[1] == "en 1"
    said = refusal(DataError, lambda: texts("hf:jane/pairs#en"))
    assert ", record 1: which field is the text is not clear; name one with --field: 'a', 'b'" in said
    assert "has no column 'c'; it has 'a', 'b'" in refusal(DataError, lambda: texts("hf:jane/pairs#en", field="c"))
    for name in ("hf:jane/pairs", "hf:jane/pairs#fr"):
        said = refusal(DataError, lambda name=name: texts(name, field="a"))
        assert said.startswith(name.partition("#")[0]) and "en" in said and "de" in said


def test_what_is_not_there_is_a_sentence(hub: Hub, tmp_path: Path) -> None:
    assert "jane/text is not on the hub" in refusal(HubError, lambda: texts("hf:jane/text"))
    assert "has no revision 'v9'" in refusal(HubError, lambda: texts("hf:jane/texts@v9"))
    said = refusal(UsageError, lambda: texts("hf:jane/texts:tset"))
    assert said == "unknown split of jane/texts 'tset'; did you mean 'test'?"
    hub.repo("datasets/jane/empty", {"README.md": b"nothing"})
    assert "cannot be read" in refusal(DataError, lambda: texts("hf:jane/empty"))
    hub.status = 503
    assert "answered 503" in refusal(HubError, lambda: texts("hf:jane/pairs#en"))
    (tmp_path / "jane" / "texts").mkdir(parents=True)
    assert "is a folder here" in refusal(UsageError, lambda: check_data(["hf:jane/texts"]))


def test_a_run_on_a_data_set_goes_on_with_the_same_commit(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    repo = hub.repos["datasets/jane/texts"]
    first, small = repo.head, {"dim": "16", "depth": "1", "heads": "2", "batch": "8"}
    how: dict[str, Any] = {"max_steps": 4, "save_every": 1, "settings": small, "valid": ["hf:jane/texts:test"]}
    next(iter(mezzotint.train("mdlm", ["hf:jane/texts"], out="run", **how)))
    config = json.loads(Path("run/config.json").read_text())
    assert config["data"]["files"] == [f"hf:jane/texts@{first}:train"]
    assert config["data"]["valid"] == [f"hf:jane/texts@{first}:test"]
    repo.commit({"data/train-00000-of-00001.parquet": packed({"n": [1] * 30, "text": ["new"] * 30})})
    assert list(mezzotint.resume("run"))[-1].step == 4
    mezzotint.load("run").save_pretrained("kept")
    assert json.loads(Path("kept/config.json").read_text())["data"]["files"] == [f"hf:jane/texts@{first}:train"]


def test_a_folder_of_the_same_name_is_not_the_library(tmp_path: Path) -> None:
    for name in ("datasets", "pyarrow"):
        (tmp_path / name).mkdir()
    code = (
        "import sys; from pathlib import Path\n"
        "sys.path = [place for place in sys.path if not (Path(place) / 'datasets' / 'load.py').exists()]\n"
        "from mezzotint.checks import check_data; check_data(['hf:jane/texts'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "needs libraries that are not installed" in done.stderr.splitlines()[-1]
