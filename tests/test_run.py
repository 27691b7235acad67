"""A loaded run: what it writes, and that seeds, batches and given text mean what they say."""

from __future__ import annotations

import pytest
import torch

import mezzotint
from mezzotint.errors import CapabilityError, UsageError
from mezzotint.spec import mdlm
from mezzotint.training.checkpoint import networks

WORDS = ["The", "A", "old", "new", "river", "pub", "stands", "near", "by", "is", "was", "cold", "warm", ",", "."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    patch = pytest.MonkeyPatch()
    patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
    lines = [" ".join(WORDS[(i * k + k) % 15] for k in range(1, 4 + i % 9)) for i in range(200)]
    (root / "texts.txt").write_text("\n".join(lines) + "\n")
    made = {}
    for name, system, more in (
        ("mdlm", "mdlm", {}),
        ("fill", "mdlm", {"settings": {"ending": "fill"}}),
        ("ar", "ar", {}),
        ("windows", "mdlm", {"layout": "windows", "settings": {"canvas": "16"}}),
        ("ar windows", "ar", {"layout": "windows", "settings": {"canvas": "16"}}),
        ("bpe", "mdlm", {"tokenizer": "bpe"}),
        ("ar length", "ar", {"settings": {"ending": "length"}}),
        ("sed", "sed", {}),
        ("sed fill", "sed", {"settings": {"ending": "fill", "speaks": "vector", "streams": "apart"}}),
        ("sed windows", "sed", {"layout": "windows", "settings": {"canvas": "16", "self_condition": "coin"}}),
        ("diffusion-lm", "diffusion-lm", {}),
        ("adavae", "adavae", {"backbone": root / "ar"}),
        ("qe-cdlm", "qe-cdlm", {"settings": {"quantize": "both"}}),
    ):
        shape = {} if "backbone" in more else {"dim": "32", "depth": "1", "heads": "2"}
        settings = shape | {"batch": "16", "lr": "0.01", "validations": "2"} | more.pop("settings", {})
        list(
            mezzotint.train(
                system,
                [root / "texts.txt"],
                out=root / name,
                max_steps=25,
                valid=[root / "texts.txt"],
                settings=settings,
                **more,
            )
        )
        made[name] = mezzotint.load(root / name)
    yield made
    patch.undo()


VECTORS = ["sed", "sed fill", "sed windows", "diffusion-lm", "qe-cdlm"]
ALL = ["mdlm", "fill", "ar", "windows", "ar windows", "bpe", "ar length", *VECTORS]


@pytest.mark.parametrize("name", [*ALL, "adavae"])
def test_a_seed_and_an_index_name_a_text_whatever_the_batch(folders, name):
    run = folders[name]
    for module in networks(run.system):
        module.double()
    together = run.generate(7, seed=5)
    by_two = run.generate(7, seed=5, batch_size=2)
    for module in networks(run.system):
        module.float()
    assert [s.text for s in together] == [s.text for s in by_two] and [s.index for s in together] == list(range(7))
    assert [s.nfe for s in together] == [s.nfe for s in by_two]
    assert [s.text for s in run.generate(7, seed=6)] != [s.text for s in together]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("prefix", ["The old river", "The old ", "A  b"])
def test_a_prefix_comes_back_byte_for_byte(folders, name, prefix):
    for sample in folders[name].generate(4, prefix=prefix):
        assert sample.text.startswith(prefix), sample.text


@pytest.mark.parametrize("name", ["mdlm", "fill", "windows", "bpe", *VECTORS])
@pytest.mark.parametrize(
    "template",
    [
        "The [3] pub near  the [2].",
        "[2] was zanzibar, [1]",
        "old [1][1] river[2]",
        r"\[a] [2] é",
        "The [ ] pub near  [1-2].",
        "[1-3] zanzibar[ ]é",
        "[ ]",
    ],
)
def test_infilling_keeps_what_is_given(folders, name, template):
    if name in VECTORS and "[ ]" in template:
        with pytest.raises(CapabilityError, match=r"cannot choose the lengths of gaps; write \[3\]"):
            folders[name].infill(template)
        return
    parts = [p for p in mezzotint.parse_template(template).pieces if hasattr(p, "text")]
    for sample in folders[name].infill(template, n=5):
        rest = sample.text
        for part in parts:
            assert part.text in rest, (template, sample.text)
            rest = rest[rest.index(part.text) + len(part.text) :]
        assert "<" not in sample.text and sample.nfe >= 1


def test_a_gap_of_words_has_so_many_words(folders):
    for sample in folders["mdlm"].infill("The [3] river", n=8):
        assert len(sample.text.split()) == 5 and "  " not in sample.text
    samples = folders["mdlm"].infill("The [ ] river", n=8)
    assert all(len(sample.text.split()) == 2 + sample.gaps[0] for sample in samples)
    assert len({sample.gaps for sample in samples}) > 1


def test_a_demand_that_no_word_meets_is_dropped(folders):
    """Every word of these texts has a space before it, and the gap must begin without one."""
    run = folders["mdlm"]
    assert all(run.tokenizer.spaced[i] for i in range(run.tokenizer.size) if i not in run.tokenizer.special)
    for sample in run.infill("old[2] by", n=4):
        words = sample.text.split(" ")
        assert len(words) == 4 and words[0] == "old" and words[3] == "by" and "<" not in sample.text


@pytest.mark.parametrize("how", [{}, {"block": 5, "steps": 3}, {"reuse": True, "decoder": "threshold"}])
def test_a_run_of_windows_writes_texts_of_any_length(folders, how):
    run = folders["windows"]
    texts = run.generate(3, prefix="The old river", length=45, seed=2, **how)
    assert [len(s.ids) for s in texts] == [45] * 3 and all(s.text.startswith("The old river") for s in texts)
    assert len({s.text for s in texts}) == 3 and min(s.nfe for s in texts) >= 7
    drafts = list(run.stream(3, prefix="The old river", length=45, seed=2, **how))
    assert drafts[-1].samples == texts and len(drafts) == drafts[-1].steps + 1
    known = [[sum(p.known for p in row) for row in d.rows] for d in drafts]
    assert known == sorted(known) and known[0] == [3] * 3 and known[-1] == [45] * 3


@pytest.mark.parametrize("decoder", sorted(d.value for d in mdlm.CARD.decoders))
def test_every_decoder_writes_and_fills_gaps(folders, decoder):
    run = folders["mdlm"]
    assert len({s.text for s in run.generate(4, decoder=decoder, steps=8)}) == 4
    for sample in run.infill("The [3] pub near the [2].", n=3, decoder=decoder):
        assert sample.text.startswith("The ") and " pub near the " in sample.text and 1 <= sample.nfe <= 32


@pytest.mark.parametrize("name", ["mdlm", "ar", "sed", "diffusion-lm", "adavae"])
def test_drafts_end_in_the_samples(folders, name):
    drafts = list(folders[name].stream(3, steps=4, seed=1))
    assert [d.done for d in drafts] == [False] * (len(drafts) - 1) + [True]
    for row, sample in zip(drafts[-1].rows, drafts[-1].samples, strict=True):
        assert "".join(p.text for p in row).removeprefix(" ") == sample.text
    known = [sum(p.known for row in d.rows for p in row) for d in drafts]
    assert known == sorted(known) and known[0] < known[-1]
    assert max(max(d.nfe) for d in drafts) <= 4 or name in ("ar", "adavae")


def test_lengths_are_those_of_the_training_texts(folders):
    run = folders["mdlm"]
    lengths = [len(s.ids) for s in run.generate(300, steps=1)]
    expected = sum((n + 1) * p for n, p in enumerate(run.lengths.probabilities))
    assert abs(sum(lengths) / 300 - expected) < 0.6


def test_temperature_zero_is_the_same_for_every_seed_of_equal_order(folders):
    run = folders["ar"]
    assert len({s.text for s in run.generate(5, temperature=0)}) == 1


def test_the_writer_stops_at_the_end_symbol(folders):
    assert len({len(s.ids) for s in folders["ar"].generate(40)}) > 2
    assert {len(s.ids) for s in folders["ar windows"].generate(3)} <= set(range(17))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda r: r["mdlm"].generate(2, stesp=3), UsageError, "did you mean 'steps'"),
        (lambda r: r["mdlm"].generate(2, steps=0), UsageError, "steps must be at least 1"),
        (lambda r: r["mdlm"].generate(2, top_p=0), UsageError, "top_p must be above 0"),
        (lambda r: r["mdlm"].generate(2, temperature=-1), UsageError, "temperature must be at least 0"),
        (lambda r: r["mdlm"].generate(2, steps=2.5), UsageError, "steps must be a whole number"),
        (lambda r: r["mdlm"].generate(2, temperature=float("inf")), UsageError, "temperature must be"),
        (lambda r: r["mdlm"].generate("2"), UsageError, "whole numbers"),
        (lambda r: r["mdlm"].infill("[400000000]"), UsageError, "the template is 400000000 tokens long"),
        (lambda r: r["mdlm"].generate(0), UsageError, "n and batch_size must be at least 1"),
        (lambda r: r["mdlm"].generate(1, prefix="The old " * 40), UsageError, "the prefix is 80 tokens long"),
        (lambda r: r["mdlm"].infill("The [99]"), UsageError, "the template is (99|100) tokens long"),
        (lambda r: r["fill"].infill("The [99]"), UsageError, "the template is (99|100) tokens long"),
        (lambda r: r["ar"].infill("The [2]"), CapabilityError, "ar cannot infill; it can continue"),
        (lambda r: r["mdlm"].infill("no gap"), UsageError, "there is no gap"),
        (lambda r: r["mdlm"].infill("[50-60] pub"), UsageError, "the template is 51 tokens long"),
        (
            lambda r: r["ar"].generate(1, decoder="threshold"),
            CapabilityError,
            "no decoder 'threshold'; it has exact",
        ),
        (lambda r: r["mdlm"].generate(1, decoder="confidance"), UsageError, "did you mean 'confidence'"),
        (lambda r: r["mdlm"].generate(1, threshold=0.5), UsageError, "threshold is for decoder 'threshold'"),
        (lambda r: r["mdlm"].generate(1, strength=0.5), UsageError, "strength is for decoders 'remask'"),
        (lambda r: r["mdlm"].generate(1, decoder="remask", strength=1.5), UsageError, "from 0 to 1, not 1.5"),
        (lambda r: r["mdlm"].generate(1, length=50), CapabilityError, "only a run of --layout windows"),
        (lambda r: r["ar windows"].generate(1, length=50), CapabilityError, "ar cannot write texts longer"),
        (lambda r: r["windows"].generate(1, length=16), UsageError, "more than the 16 tokens"),
        (lambda r: r["windows"].generate(1, length=40, block=17), UsageError, "from 1 to the 16 tokens"),
        (lambda r: r["windows"].generate(1, block=4), UsageError, "give length too"),
        (lambda r: r["windows"].generate(1, length=40, prefix="old " * 40), UsageError, "the text is to have 40"),
        (lambda r: r["windows"].infill("The [2]", length=40), UsageError, "leave length out"),
    ],
)
def test_calls_that_cannot_be_served_are_refused_with_a_sentence(folders, call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(folders)


@pytest.mark.parametrize("name", ["mdlm", "ar length"])
def test_the_probabilities_of_all_texts_of_one_token_sum_to_that_of_the_length(folders, name):
    run = folders[name]
    canvas = mezzotint.Canvas(
        torch.arange(run.tokenizer.size)[:, None],
        torch.zeros(run.tokenizer.size, 1, dtype=torch.bool),
        torch.ones(run.tokenizer.size, 1, dtype=torch.bool),
        torch.arange(run.tokenizer.size),
    )
    from mezzotint.rng import Rng

    with torch.no_grad():
        total = float((-run.system.nll(canvas, Rng(0, range(run.tokenizer.size)))).exp().sum())
    assert total == pytest.approx(float(run.lengths.probabilities[0]), rel=1e-5)


def test_ar_pays_for_a_drawn_length_in_its_scores(folders):
    """Everything from the folder: the law of lengths is drawn from, and `evaluate` counts its cost."""
    run = folders["ar length"]
    lengths = [len(s.ids) for s in run.generate(300)]
    expected = sum((n + 1) * p for n, p in enumerate(run.lengths.probabilities))
    assert abs(sum(lengths) / 300 - expected) < 0.6
    texts = run.folder.parent / "texts.txt"
    rows = [run.tokenizer.encode(line) for line in texts.read_text().splitlines()]
    nats = 0.0
    with torch.no_grad():
        for ids in rows:
            before = torch.tensor([[run.tokenizer.end, *ids[:-1]]])
            log_p = run.system.net(before).log_softmax(-1)[0].gather(1, torch.tensor(ids)[:, None])
            nats -= float(log_p.sum()) + run.lengths.log_prob(len(ids))
    scores = {s.name: s for column, s in mezzotint.evaluate_run(run.folder, [texts]) if column == "ar"}
    bound = scores["bound_nats_per_token"]
    assert bound.value == pytest.approx(nats / sum(len(ids) + 1 for ids in rows), rel=1e-5) and "exact" in bound.note
