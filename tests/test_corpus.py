"""Texts come back as they stand in the file, whatever its format; what is wrong with a file is said in one sentence."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mezzotint.data.corpus import Corpus, check, load_corpus, read
from mezzotint.errors import DataError, MezzotintError, UsageError
from mezzotint.types import Layout

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SHARED = Path(__file__).parents[2] / "shared" / "data"
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress
}  # fmt: skip


def as_csv(texts: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["id", "text"], *([str(i), t] for i, t in enumerate(texts))])
    return out.getvalue()


WRITE: dict[str, Callable[[list[str]], str]] = {
    ".txt": lambda texts: "".join(t + "\n" for t in texts),
    ".csv": as_csv,
    ".tsv": lambda texts: "\n".join(["id\ttext", *(f"{i}\t{t}" for i, t in enumerate(texts))]),
    ".jsonl": lambda texts: "\n".join(json.dumps({"id": i, "text": t}) for i, t in enumerate(texts)),
    ".ndjson": lambda texts: "".join(json.dumps({"text": t}, ensure_ascii=False) + "\r\n" for t in texts),
    ".json": lambda texts: json.dumps([{"text": t, "n": [i]} for i, t in enumerate(texts)], indent=1),
}
one_line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t\ufeff"), max_size=20)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SINGLE_LINE = (".txt", ".tsv")


def stored(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def texts_of(*paths: Path, field: str | None = None, layout: Layout = Layout.TEXTS) -> list[str]:
    return read(paths, field, layout)[0]


# ---- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITE)
@given(data=st.data())
@few
def test_texts_come_back_as_they_are(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    texts = [*data.draw(st.lists(one_line if kind in SINGLE_LINE else any_text, min_size=1, max_size=5)), "end"]
    pack = data.draw(st.sampled_from(list(PACK)))
    path = stored(tmp_path, f"some.{kind}{pack}".replace("..", "."), PACK[pack](WRITE[kind](texts).encode()))
    kept = [t for t in texts if t.strip()]
    found, (source,) = read([path], None, Layout.TEXTS)
    assert found == kept
    assert source.texts == len(kept) and source.path == str(path)
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@given(st.lists(st.lists(one_line.filter(str.strip), min_size=1, max_size=3), min_size=1, max_size=4), st.data())
@few
def test_windows_of_lines_are_documents_between_blank_lines(tmp_path: Path, documents, data: st.DataObject) -> None:
    blank = data.draw(st.sampled_from(["\n\n", "\n \t\n", "\n\n\n\n", "\r\n\r\n"]))
    path = stored(tmp_path, "some.txt", blank.join("\n".join(lines) for lines in documents))
    assert texts_of(path, layout=Layout.WINDOWS) == ["\n".join(lines) for lines in documents]


def test_windows_of_records_are_a_document_each(tmp_path: Path) -> None:
    path = stored(tmp_path, "some.json", json.dumps(["a\n\nb", " ", "c"]))
    assert texts_of(path, layout=Layout.WINDOWS) == ["a\n\nb", "c"]


def test_files_are_read_in_order_and_suffixes_in_any_case(tmp_path: Path) -> None:
    first, second = stored(tmp_path, "b.TXT", "1\n2"), stored(tmp_path, "a.v2.Csv.GZ", gzip.compress(b"text\n3"))
    assert texts_of(first, second) == ["1", "2", "3"]


def test_line_ends_and_a_byte_order_mark_are_not_text(tmp_path: Path) -> None:
    assert texts_of(stored(tmp_path, "a.txt", "\ufeffa \r\n\u2028b\x0bc\rd\n")) == ["a ", "\u2028b\x0bc\rd"]
    assert texts_of(stored(tmp_path, "a.csv", "\ufefftext\r\n\r\na\r\n")) == ["a"]
    assert texts_of(stored(tmp_path, "a.json", '\ufeff[{"text": "a"}]\n')) == ["a"]


def test_a_field_may_be_longer_than_the_csv_module_likes(tmp_path: Path) -> None:
    before = csv.field_size_limit(131_072)
    assert texts_of(stored(tmp_path, "a.csv", f"text\n{'x' * 200_000}\n")) == ["x" * 200_000]
    assert csv.field_size_limit(before) == 131_072


@pytest.mark.parametrize(
    ("name", "data", "field"),
    [
        ("a.csv", "id,text,note\n1,yes,no\n", None),
        ("a.csv", "id,review,stars\n1,yes,4.5\n", None),
        ("a.csv", "id,note,body\n1,no,yes\n", "body"),
        ("a.jsonl", '{"id": 1, "review": "yes", "tags": ["no"]}\n', None),
        ("a.jsonl", '{"number": "yes"}\n{"number": "7"}\n', None),
        ("a.csv", "id\n7\n", None),
        ("a.jsonl", '"yes"\n', None),
        ("a.json", '[{"text": null, "body": "yes"}]', None),
    ],
)
def test_the_field_is_text_or_the_only_one_with_text_or_the_one_named(
    tmp_path: Path, name: str, data: str, field: str | None
) -> None:
    assert texts_of(stored(tmp_path, name, data), field=field)[0] in ("yes", "7")


# ---- what is held out ------------------------------------------------------------------------------------------------


def corpus_of(folder: Path, texts: list[str], layout: Layout = Layout.TEXTS) -> Corpus:
    return load_corpus([stored(folder, "all.jsonl", WRITE[".jsonl"](texts))], layout=layout)


@given(st.lists(st.text("abc", min_size=1, max_size=2), min_size=20, max_size=60))
@few
def test_a_text_is_on_one_side_only_and_none_is_lost(tmp_path: Path, texts: list[str]) -> None:
    if len(set(texts)) < 2:
        return
    corpus = corpus_of(tmp_path, texts)
    assert corpus.train and corpus.valid and not set(corpus.train) & set(corpus.valid)
    assert sorted(corpus.train + corpus.valid) == sorted(texts)
    assert corpus == corpus_of(tmp_path, texts) and corpus.valid_sources == ()


def test_about_one_in_twenty_is_held_out_whatever_stands_beside_it(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(4000)]
    held = corpus_of(tmp_path, texts).valid
    assert 150 < len(held) < 250
    assert held[:6] == ["text 19", "text 26", "text 43", "text 63", "text 64", "text 99"]
    assert corpus_of(tmp_path, texts[:2000][::-1]).valid == [t for t in texts[:2000] if t in held][::-1]


def test_two_documents_can_be_divided(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, ["one", "two"], Layout.WINDOWS)
    assert sorted(corpus.train + corpus.valid) == ["one", "two"] and len(corpus.train) == 1


def test_even_where_every_hash_is_low_something_is_left_to_learn_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mezzotint.data.corpus._HELD_OUT", 1.0)
    assert len(corpus_of(tmp_path, [f"text {i}" for i in range(20)]).train) == 1


def test_columns_between_semicolons_are_columns(tmp_path: Path) -> None:
    rows = "".join(f"{i};text {i}, und mehr\n" for i in range(20))
    path = stored(tmp_path, "a.csv", "id;text\n" + rows)
    assert load_corpus([str(path)]).all_train[0] in {f"text {i}, und mehr" for i in range(20)}
    assert len(read([str(path)], "text", Layout.TEXTS)[0]) == 20


def test_standard_input_is_no_file_of_texts() -> None:
    with pytest.raises(DataError, match="not from standard input; save them to one first"):
        load_corpus(["-"])


def test_named_validation_files_are_taken_whole(tmp_path: Path) -> None:
    data = stored(tmp_path, "a.txt", WRITE[".txt"]([f"text {i}" for i in range(20)]))
    valid = stored(tmp_path, "b.txt", "one\ntwo\n")
    corpus = load_corpus([str(data)], [str(valid)])
    assert (len(corpus.train), corpus.valid) == (20, ["one", "two"])
    assert [s.texts for s in corpus.sources + corpus.valid_sources] == [20, 2]


# ---- what is refused -------------------------------------------------------------------------------------------------

LONG = WRITE[".txt"]([f"line {i}: {hashlib.sha256(str(i).encode()).hexdigest()}" for i in range(2000)]).encode()

BAD: dict[str, tuple[str, bytes | str, str]] = {
    "empty": ("a.txt", "", "is empty"),
    "empty when unpacked": ("a.txt.gz", gzip.compress(b""), "has no text in it"),
    "white space only": ("a.txt", " \n\t\n", "has no text in it"),
    "header only": ("a.csv", "id,text\n", "has no text in it"),
    "empty list": ("a.json", " [ ]", "has no text in it"),
    "not UTF-8": ("a.txt", b"fine\nna\xefve\n", ":2: byte 3 of the line (0xef) is not UTF-8; save the file as UTF-8"),
    "UTF-16": ("a.csv", "text\na\n".encode("utf-16"), ":1: byte 1 of the line (0xff) is not UTF-8"),
    "cut inside a character": ("a.jsonl", b'{"text": "a"}\n{"text": "\xc3', ":2: byte 11 of the line (0xc3) is not"),
    "truncated gz": ("a.txt.gz", gzip.compress(LONG)[:-2000], ": the compressed file is truncated or damaged here"),
    "truncated bz2": ("a.txt.bz2", bz2.compress(LONG)[:-2000], ": the compressed file is truncated or damaged here"),
    "truncated xz": ("a.txt.xz", lzma.compress(LONG)[:-2000], ": the compressed file is truncated or damaged here"),
    "cut gz header": ("a.txt.gz", gzip.compress(LONG)[:5], ":1: the compressed file is truncated or damaged here"),
    "damaged gz": ("a.txt.gz", gzip.compress(LONG)[:-8] + b"\0" * 8, ": the compressed file is truncated or damaged"),
    "not gz": ("a.txt.gz", b"plain text\n", ":1: the compressed file is truncated or damaged here"),
    "not bz2": ("a.txt.bz2", b"plain text\n", ":1: the compressed file is truncated or damaged here"),
    "not xz": ("a.txt.xz", b"plain text\n", ":1: the compressed file is truncated or damaged here"),
    "broken json line": ("a.jsonl", '{"text": "a"}\n\n{"text": "a"\n', ":3: not JSON: expecting ',' delimiter at"),
    "two values in a line": ("a.jsonl", '{"text": "a"} {"text": "b"}', ":1: not JSON: extra data at column 15"),
    "broken json list": ("a.json", '[{"text": "a"},\n {"text": }]', ":2: not JSON: expecting value at column 11"),
    "cut json list": ("a.json", '[{"text": "a"},\n {"text": "b"}\n', ":3: not JSON: a comma is missing, or the list"),
    "cut after a comma": ("a.json", '[{"text": "a"},\n', ":2: not JSON: expecting value"),
    "no comma": ("a.json", '[\n"a"\n"b"]', ":3: not JSON: a comma is missing, or the list does not end where the file"),
    "more than a list": ("a.json", '["a"\n]\n["b"]', ":2: not JSON: a comma is missing, or the list does not end"),
    "comma before the end": ("a.json", '["a",\n]', ":2: not JSON: "),
    "open list": ("a.json", "\n[", ":2: not JSON: expecting value"),
    "not a list": ("a.json", '\n{"text": "a"}', ":2: a .json file must be one list, [ … ]; if it has a value a line"),
    "deep json": ("a.jsonl", "[" * 100_000, ":1: this value nests too deeply or holds too long a number"),
    "huge number": ("a.json", '["a",\n' + "1" * 5000 + "]", ":2: this value nests too deeply or holds too long"),
    "record is a number": ("a.jsonl", '{"text": "a"}\n7\n', ":2: a number stands where an object with the field"),
    "record is a list": ("a.json", '["a",\n["b"]]', ":2: a list stands where an object with fields is expected"),
    "record is a text": ("a.json", '[{"text": "a"},\n"b"]', ":2: a text stands where an object with the field 'text'"),
    "field missing": ("a.jsonl", '{"text": "a"}\n{"body": "b"}', ":2: there is no field 'text'; the record has 'body'"),
    "field null": ("a.json", '[{"text": "a"},\n\n{"text": null}]', ":3: the field 'text' is null, not a text"),
    "field a number": ("a.jsonl", '{"text": "a"}\n{"text": 1}', ":2: the field 'text' is a number, not a text"),
    "field true": ("a.jsonl", '{"text": "a"}\n{"text": true}', ":2: the field 'text' is true or false, not a text"),
    "half a surrogate": ("a.jsonl", '{"text": "\\ud83d"}', ":1: the text holds half a surrogate pair"),
    "which field": ("a.csv", "id,title,body\nx1,a,b\n", ":2: which field is the text is not clear; name one with "
                    "--field: 'id', 'title', 'body'"),
    "no field with text": ("a.jsonl", '{"id": 1}', ":1: which field is the text is not clear; name one with --field: "),
    "no field at all": ("a.jsonl", "{}", ":1: which field is the text is not clear; name one with --field: none"),
    "open quote": ("a.csv", 'text\na\n"b\nc\nd\n', ":3: the quotation marks or line ends of the record that begins"),
    "text after a quote": ("a.csv", 'text\n"a\nb" c\n', ":2: the quotation marks or line ends of the record that"),
    "too many columns": ("a.csv", 'id,text\n1,"a\nb"\n2,b,c\n', ":4: the numbers of fields differ, 2 in the header, 3"),
    "too few columns": ("a.tsv", 'id\ttext\n1\t"a\n2\n', ":3: the numbers of fields differ, 2 in the header, 1 in"),
    "equal columns": ("a.csv", "text,text\na,b\n", ":1: two columns have the same name"),
}  # fmt: skip


def refusal(call: Callable[[], object]) -> MezzotintError:
    with pytest.raises(MezzotintError) as caught:
        call()
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    message = str(caught.value)
    assert "\n" not in message and not message.endswith(".") and "Error" not in message
    return caught.value


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("layout", Layout)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path: Path, case: str, layout: Layout) -> None:
    name, data, said = BAD[case]
    path = stored(tmp_path, name, data)
    error = refusal(lambda: read([path], None, layout))
    assert isinstance(error, DataError)
    assert str(error).startswith(str(path)) and said in str(error)


def test_a_truncated_file_is_blamed_on_the_line_it_stops_at(tmp_path: Path) -> None:
    half = lzma.compress(LONG)[: len(lzma.compress(LONG)) // 2]
    whole = lzma.LZMADecompressor().decompress(half).count(b"\n")
    line = int(str(refusal(lambda: texts_of(stored(tmp_path, "a.txt.xz", half)))).split(":")[-2])
    assert 1 < line <= whole + 1


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.txt", "does not exist"), ("", "is a folder; name the files in it"), ("folder.txt", "is a folder")],
)
def test_what_is_not_a_file_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.txt").mkdir()
    path = tmp_path / name
    error = refusal(lambda: read([path], None, Layout.TEXTS))
    assert isinstance(error, DataError) and str(error).startswith(str(path)) and said in str(error)
    assert str(refusal(lambda: check([path]))) == str(error)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path, "a.txt", "a")

    def forbid(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbid)
    error = refusal(lambda: read([path], None, Layout.TEXTS))
    assert str(error) == f"{path} cannot be read (Permission denied)"


@pytest.mark.parametrize("name", ["a.doc", "a", "a.gz", "a.txt.zip"])
def test_an_unknown_kind_of_file_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    error = refusal(lambda: check([stored(tmp_path, name, "a")]))
    assert isinstance(error, UsageError) and ".txt .csv .tsv .jsonl .ndjson .json, each also with .gz" in str(error)


def test_a_field_of_lines_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, "a.txt", "a")
    error = refusal(lambda: texts_of(path, field="body"))
    assert isinstance(error, UsageError) and str(error) == f"{path}: a .txt file has no field 'body'; leave --field out"


@pytest.mark.parametrize(
    ("texts", "layout", "said"),
    [
        (["a", "b"] * 9, Layout.TEXTS, "18 texts are too few to learn from; at least 20 are needed"),
        (["a"] * 20, Layout.TEXTS, "at least 2 different texts are needed so that one can be held out, and there is 1"),
        (["a"], Layout.WINDOWS, "at least 2 different documents, parted by blank lines, are needed so that one can be"),
    ],
)
def test_too_few_texts_are_refused(tmp_path: Path, texts: list[str], layout: Layout, said: str) -> None:
    error = refusal(lambda: corpus_of(tmp_path, texts, layout))
    assert isinstance(error, DataError) and f"all.jsonl: {said}" in str(error)


def test_reading_needs_neither_torch_nor_numpy() -> None:
    code = "import sys, mezzotint.data.corpus; print({'torch', 'numpy', 'tokenizers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_e2e_is_read_from_xz() -> None:
    path = SHARED / "e2e" / "valid.jsonl.xz"
    if not path.exists():
        pytest.skip("the E2E texts are not beside the repository")
    texts, (source,) = read([path], "ref", Layout.TEXTS)
    assert source.texts == len(texts) == 4672 and all(text == text.strip() for text in texts)
    assert "'mr', 'ref', 'tok'" in str(refusal(lambda: read([path], None, Layout.TEXTS)))
