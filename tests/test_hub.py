"""Runs on a hub: what is published of a run, fetched over HTTP, writes what the run wrote; what fails is a sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mezzotint
from mezzotint import hub as library
from mezzotint.checks import check_run, located
from mezzotint.errors import HubError, MezzotintError, RunError, UsageError
from mezzotint.training.export import model_card, without_paths
from tests.fake_hub import Hub, reach, serving

PUBLISHED = ["README.md", "config.json", "lengths.json", "model.safetensors", "tokenizer.json"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mezzotint.Run]:
    root = tmp_path_factory.mktemp("secret-project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        words = ["The", "old", "new", "river", "pub", "stands", "near", "by", "is", "was", "cold", "warm"]
        lines = [" ".join(words[(i * k + k) % 12] for k in range(1, 4 + i % 9)) for i in range(120)]
        (root / "texts.txt").write_text("\n".join(lines) + "\n")
        small = {"dim": "16", "depth": "1", "heads": "2", "batch": "8"}
        list(mezzotint.train("mdlm", [root / "texts.txt"], out=root / "run", max_steps=3, settings=small))
        yield mezzotint.load(root / "run")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub over HTTP with nothing on it; the library's cache and the working folder are empty."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with serving() as made:
        reach(made, monkeypatch, tmp_path)
        yield made


def put(hub: Hub, run: mezzotint.Run, aside: Path, name: str = "jane/pubs") -> None:
    """The published files of a run on the hub, without asking it."""
    run.save_pretrained(aside)
    hub.repo(f"models/{name}", {path.name: path.read_bytes() for path in aside.iterdir()})


def texts(run: mezzotint.Run) -> list[str]:
    return [sample.text for sample in run.generate(4, steps=4, seed=7)]


# ---- what is published ----


def test_a_run_in_the_usual_folder_is_not_looked_for_on_a_hub_though_there_is_no_such_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert located("runs/reviews") == Path("runs/reviews")


def test_what_is_saved_is_what_others_need_and_writes_the_same(trained: mezzotint.Run, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path / "kept")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == PUBLISHED
    kept = mezzotint.from_pretrained(tmp_path / "kept")
    assert texts(kept) == texts(trained) and kept.weights_sha256 == trained.weights_sha256
    assert (kept.name, kept.is_published, trained.is_published) == ("kept", True, False)
    kept.save_pretrained(tmp_path / "again")
    assert texts(mezzotint.load(tmp_path / "again")) == texts(trained)


def test_nothing_that_is_saved_names_a_folder_of_this_machine(trained: mezzotint.Run, tmp_path: Path) -> None:
    before = (trained.folder / "config.json").read_text()
    assert "secret-project" in before
    trained.save_pretrained(tmp_path / "kept")
    for path in (tmp_path / "kept").iterdir():
        content = path.read_bytes()
        assert b"secret-project" not in content and str(tmp_path).encode() not in content, path.name
    config = json.loads((tmp_path / "kept" / "config.json").read_text())
    assert config["data"]["files"] == ["texts.txt"] and config["data"]["sources"][0]["path"] == "texts.txt"
    assert config["data"]["sources"][0]["sha256"] == json.loads(before)["data"]["sources"][0]["sha256"]


def test_paths_become_names_wherever_they_stand_and_nothing_else_changes() -> None:
    data = {"files": ["../mine/a.txt", "hf:jane/texts@v1:train", "bistro"], "valid": ["/home/jane/b.csv"], "rows": 3}
    data["sources"] = [{"path": "mine/a.txt", "sha256": "ab", "texts": 4}]
    config = {"format": 1, "data": data, "from": ["/home/jane/runs/teacher"], "deep": {"a": [{"b": "/x/y.pt"}]}}
    assert without_paths(config) == {
        "format": 1,
        "data": {
            "files": ["a.txt", "hf:jane/texts@v1:train", "bistro"],
            "valid": ["b.csv"],
            "rows": 3,
            "sources": [{"path": "a.txt", "sha256": "ab", "texts": 4}],
        },
        "from": ["teacher"],
        "deep": {"a": [{"b": "y.pt"}]},
    }


def test_the_card_tells_the_data_the_bound_and_how_it_is_loaded(trained: mezzotint.Run, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path / "kept")
    card = (tmp_path / "kept" / "README.md").read_text()
    valid = [json.loads(line)["valid"] for line in (trained.folder / "log.jsonl").read_text().splitlines()][-1]
    counted = sum(p.numel() for module in trained.system.players.values() for p in module.parameters())
    source = trained.config["data"]["sources"][0]
    assert card.startswith("---\nlibrary_name: mezzotint\n") and '- "mdlm"\n---\n' in card
    assert f"| parameters | {counted:,} |" in card
    assert f"| bound | {valid:.3f} nats a symbol" in card
    assert f"| trained on | texts.txt ({source['texts']} texts, sha256 {source['sha256'][:8]}) |" in card
    assert 'mezzotint.from_pretrained("kept")' in card


def test_the_card_prefers_the_bound_that_was_measured(trained: mezzotint.Run) -> None:
    from mezzotint.training.evidence import Evidence

    scores = [
        {"column": "data", "name": "bound_nats_per_token", "value": 9.0, "stderr": 1.0, "n": 5, "note": "other"},
        {"column": "mdlm", "name": "bound_nats_per_token", "value": 2.5, "stderr": 0.25, "n": 40, "note": "a bound"},
    ]
    evidence = Evidence(trained.folder, trained.config, [{"step": 3.0, "valid": 4.0}], scores, [], [], [])
    card = model_card(without_paths(trained.config), evidence, trained.card, "jane/pubs", 12)
    assert "| bound | 2.500 ± 0.250 nats a token (a bound; 40 texts) |" in card and "| steps | 3 |" in card


def test_a_folder_that_holds_something_is_left_alone(trained: mezzotint.Run, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="kept already exists"):
        trained.save_pretrained(tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mine.txt"]


def test_saving_that_fails_leaves_nothing(
    trained: mezzotint.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mezzotint.training.export.model_card", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(RunError, match=r"kept cannot be written \(full\)"):
        trained.save_pretrained(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_a_published_run_is_not_gone_on_with_nor_written_into(trained: mezzotint.Run, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path / "kept")
    with pytest.raises(RunError, match="published without its checkpoints"):
        mezzotint.resume(tmp_path / "kept")
    data = trained.config["data"]["files"]
    list(mezzotint.evaluate_run(tmp_path / "kept", data, n=4, steps=2))
    with pytest.raises(RunError, match="kept was published for others"):
        mezzotint.showcase(tmp_path / "kept")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == PUBLISHED


def test_a_file_of_the_same_name_is_not_taken_for_the_training_text(
    trained: mezzotint.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mezzotint.held_out import training_text

    trained.save_pretrained(tmp_path / "kept")
    kept = mezzotint.load(tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    assert training_text(kept) is None
    (tmp_path / "texts.txt").write_text("another text\n" * 30)
    assert training_text(kept) is None
    (tmp_path / "texts.txt").write_bytes(Path(trained.config["data"]["files"][0]).read_bytes())
    assert training_text(kept) is not None and training_text(trained) is not None


# ---- from and to a hub ----


def test_a_run_comes_back_from_the_hub_and_serves_offline_from_then_on(
    trained: mezzotint.Run, hub: Hub, tmp_path: Path
) -> None:
    put(hub, trained, tmp_path / "kept")
    run = mezzotint.from_pretrained("jane/pubs")
    assert texts(run) == texts(trained) and run.name == "jane/pubs"
    assert sorted(path.name for path in run.folder.iterdir()) == [name for name in PUBLISHED if name != "README.md"]
    hub.broken = True
    assert texts(mezzotint.load("jane/pubs")) == texts(trained)


def test_a_revision_is_a_commit_a_name_or_the_newest(trained: mezzotint.Run, hub: Hub, tmp_path: Path) -> None:
    put(hub, trained, tmp_path / "kept")
    repo = hub.repos["models/jane/pubs"]
    first = repo.head
    config = json.loads(repo.commits[first]["config.json"])
    second = repo.commit({"config.json": json.dumps({**config, "seed": 5}).encode()})
    assert mezzotint.from_pretrained("jane/pubs").config["seed"] == 5
    assert mezzotint.from_pretrained("jane/pubs", revision=first).config["seed"] == 0
    assert mezzotint.load(f"jane/pubs@{first}").config["seed"] == 0 and check_run(f"jane/pubs@{second}")["seed"] == 5


def test_what_is_pushed_is_what_is_saved_and_comes_back(trained: mezzotint.Run, hub: Hub, tmp_path: Path) -> None:
    address = trained.push_to_hub("jane/pubs")
    repo = hub.repos["models/jane/pubs"]
    assert address == f"{hub.url}/jane/pubs/commit/{repo.head}" and repo.private
    assert sorted(repo.commits[repo.head]) == PUBLISHED
    everything = b"".join(repo.commits[repo.head].values())
    assert b"hf_not_to_be_told" not in everything and b"secret-project" not in everything
    assert b'from_pretrained("jane/pubs")' in repo.commits[repo.head]["README.md"]
    assert texts(mezzotint.from_pretrained("jane/pubs")) == texts(trained)
    trained.push_to_hub("jane/pubs", private=False)
    assert repo.private, "pushing again does not change who sees it"
    trained.push_to_hub("jane/open", private=False)
    assert not hub.repos["models/jane/open"].private


# ---- what goes wrong ----


def refused(kind: type[MezzotintError], call: Any) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value) and "hf_not" not in str(caught.value)
    return str(caught.value)


def test_what_the_hub_does_not_give_is_a_sentence(
    trained: mezzotint.Run, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(hub, trained, tmp_path / "kept")
    hub.repo("models/jane/empty", {"notes.txt": b"nothing here"})
    hub.repo("models/jane/other", {"config.json": b'{"model_type": "gpt2"}'})
    assert "jane/pub is not on the hub" in refused(HubError, lambda: mezzotint.load("jane/pub"))
    said = refused(HubError, lambda: mezzotint.from_pretrained("jane/pubs", revision="v9"))
    assert said == "jane/pubs has no revision 'v9' on the hub; leave it out for the newest"
    assert "jane/empty on the hub is no run of Mezzotint" in refused(RunError, lambda: mezzotint.load("jane/empty"))
    assert "jane/other on the hub is no run of Mezzotint" in refused(RunError, lambda: check_run("jane/other"))
    assert "names no repository" in refused(HubError, lambda: mezzotint.load("jane/two--dashes"))
    assert "leave revision out" in refused(UsageError, lambda: mezzotint.from_pretrained(tmp_path / "kept", "v1"))
    hub.broken = True
    assert "jane/fresh was not fetched" in refused(HubError, lambda: mezzotint.load("jane/fresh"))
    assert refused(HubError, lambda: trained.push_to_hub("jane/fresh")).startswith("the hub answered 503")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused(HubError, lambda: mezzotint.load("jane/fresh"))
    assert "cannot be reached" in refused(HubError, lambda: trained.push_to_hub("jane/fresh"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("Couldn't reach\nit"), "the hub cannot be reached for jane/pubs (Couldn't reach it); "),
        (TimeoutError("slow"), "the hub cannot be reached for jane/pubs (slow); "),
        (OSError(28, "No space left on device"), "jane/pubs cannot be kept on this disk (No space left on device)"),
    ],
)
def test_a_net_or_disk_that_fails_is_named_as_what_it_is(error: OSError, said: str) -> None:
    def fail() -> None:
        with library.hub_errors("jane/pubs"):
            raise error

    assert refused(HubError, fail).startswith(said)


@pytest.mark.parametrize("status", [401, 403])
def test_being_kept_out_is_told_with_the_way_in(trained: mezzotint.Run, hub: Hub, status: int) -> None:
    hub.status = status
    assert "hf auth login" in refused(HubError, lambda: trained.push_to_hub("jane/pubs"))


def test_what_is_here_is_a_path_and_a_slip_in_one_asks_no_hub(hub: Hub, tmp_path: Path) -> None:
    Path("runs").mkdir()
    for path in ("runs/reviws", "./jane/pubs", "/jane/pubs", "../jane/pubs", "reviews", "a/b/c"):
        assert located(path) == Path(path)
    with pytest.raises(RunError, match="there is no run at runs/reviws"):
        check_run("runs/reviws")
    Path("jane/pubs").mkdir(parents=True)
    assert located("jane/pubs") == Path("jane/pubs")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("jane/pubs", ("jane/pubs", None)),
        ("jane/pubs@v1.0", ("jane/pubs", "v1.0")),
        ("jane/pubs@refs/pr/2", ("jane/pubs", "refs/pr/2")),
        ("pubs", None),
        ("a/b/c", None),
        ("./a", None),
        ("jane/pubs@", None),
        ("jänë/pubs", None),
        ("jane/pubs\n", None),
    ],
)
def test_names_of_repositories(text: str, parsed: tuple[str, str | None] | None) -> None:
    assert library.parse(text) == parsed


def test_commands_take_names_of_the_hub_too(trained: mezzotint.Run, hub: Hub, tmp_path: Path) -> None:
    """In processes of their own, as a person starts them: the address and the cache come from the environment."""
    put(hub, trained, tmp_path / "kept")
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "mezzotint", *words]
        return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=120)

    done = command("sample", "jane/pubs", "-n", "4", "--steps", "4", "--seed", "7")
    assert done.returncode == 0 and done.stdout.splitlines() == texts(trained)
    assert re.search(r"^next: +mezzotint \w+ jane/pubs ", done.stderr, re.MULTILINE) and "report:" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, "nobody sees bars move here"
    hub.asked.clear()
    missing = command("resume", "jane/pubs")
    assert missing.returncode == 2 and hub.asked == []
    assert missing.stderr == "mezzotint: there is no run at jane/pubs; `mezzotint train` makes one\n"
