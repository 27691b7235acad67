"""Requests written together: each text is the one that its seed and index give by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mezzotint import Run
from mezzotint.data.canvas import free, prefix_canvas, stack_canvases
from mezzotint.rng import Rng
from tests.trained import few

SYSTEMS = [
    ("mdlm", "mdlm", {}), ("fill", "mdlm", {"ending": "fill"}), ("windows", "mdlm", {"canvas": "16"}),
    ("ar", "ar", {}), ("sed", "sed", {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    made = few(tmp_path_factory.mktemp("runs"), SYSTEMS)
    for run in made.values():  # so that rounding cannot hang on the batch
        for module in run.system.players.values():
            module.double()
    yield made


FREE = [(3, {"seed": 5}), (1, {"seed": 6}), (2, {"seed": 5})]
BEGUN = [(2, {"seed": 5, "prefix": "The old"}), (2, {"seed": 6, "prefix": "A river "})]
RAGGED = [(2, {"seed": 5, "prefix": "The old"}), (3, {"seed": 5, "prefix": "A river stands near "})]
GAPS = [(2, {"seed": 5, "template": "The [3] pub"}), (1, {"seed": 9, "template": "[2] river [ ] by the"})]


@pytest.mark.parametrize(
    ("name", "calls", "how"),
    [
        ("mdlm", FREE, {}),
        ("mdlm", RAGGED, {"temperature": 0.7}),
        ("mdlm", GAPS, {}),
        ("mdlm", FREE, {"decoder": "legacy-float32", "steps": 8}),
        ("mdlm", FREE, {"decoder": "remask", "steps": 8}),
        ("mdlm", FREE, {"decoder": "confidence", "steps": 8}),
        ("fill", [*FREE], {}),
        ("windows", FREE, {"length": 40, "steps": 3}),
        ("windows", BEGUN, {"length": 40, "steps": 3, "reuse": True}),
        ("ar", FREE, {}),
        ("ar", BEGUN, {}),
        ("sed", RAGGED, {"steps": 4, "guidance": 2.0}),
    ],
)
def test_texts_written_together_are_those_written_alone(
    runs: dict[str, Run], name: str, calls: list[tuple[int, dict[str, Any]]], how: dict[str, Any]
) -> None:
    run = runs[name]
    alone = [list(run.stream(n, **how, **more))[-1].samples for n, more in calls]
    tasks = [run.task(n, **how, **more) for n, more in calls]
    drafts = list(run.together(tasks))
    assert [draft.samples for draft in drafts[-1]] == alone
    assert [len(draft.rows) for draft in drafts[0]] == [n for n, _ in calls]
    for moment in drafts[:-1]:
        assert not any(draft.done or draft.samples for draft in moment)


def test_what_differs_in_more_than_given_text_and_seed_is_unlike(runs: dict[str, Run]) -> None:
    run = runs["mdlm"]
    ways: list[dict[str, Any]] = [
        {},
        {"steps": 3},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"decoder": "margin"},
        {"prefix": "The"},
    ]
    ways += [{"decoder": "threshold"}, {"decoder": "threshold", "threshold": 0.5}]
    assert len({run.task_builder.batch_key(run.task(1, **way)) for way in ways}) == len(ways)
    assert run.task_builder.batch_key(run.task(1, template="A [3]")) == run.task_builder.batch_key(
        run.task(2, prefix="The")
    )
    assert run.task_builder.batch_key(run.task(1, prefix="The")) == run.task_builder.batch_key(
        run.task(3, prefix="The old", seed=4)
    )
    ar = runs["ar"]
    assert ar.task_builder.batch_key(ar.task(1, prefix="The")) != ar.task_builder.batch_key(
        ar.task(1, prefix="The old")
    )
    with pytest.raises(AssertionError, match="differ"):
        list(run.together([run.task(1), run.task(1, steps=3)]))


def test_a_named_stream_is_that_of_its_seed_and_index() -> None:
    named = Rng(((5, 3), (7, 0), (5, 3)), [2, 0, 1], "use")
    expected = torch.cat([Rng(5, [3], "use").uniform(9), Rng(5, [3], "use").uniform(9), Rng(7, [0], "use").uniform(9)])
    assert torch.equal(named.uniform(9), expected)
    pairs = named.at("more").pairs([0, 2], [4, 1]).uniform(3)
    assert not torch.equal(pairs[0], pairs[1])
    assert torch.equal(named.pairs([0], [4]).uniform(3), Rng(5, [3], "use").pairs([0], [4]).uniform(3))
    assert torch.equal(named.pairs([2], [1]).uniform(3), Rng(7, [0], "use").pairs([0], [1]).uniform(3))


def test_narrow_rows_are_padded_with_what_is_not_real() -> None:
    narrow, wide = prefix_canvas([4, 5], [3], [0], 1, start=1), free([5, 2], [0, 1], 1)
    both = stack_canvases([narrow, wide], 1)
    assert both.real.sum(1).tolist() == [3, 5, 2] and both.given.sum(1).tolist() == [2, 0, 0]
    assert both.ids[0].tolist() == [4, 5, 1, 1, 1] and both.index.tolist() == [0, 1, 2]
    assert both.start is not None and both.start[0].tolist() == [0, 0, 1, 0, 0] and not both.start[1:].any()
