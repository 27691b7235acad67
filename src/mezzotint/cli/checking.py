"""The commands that score runs, set them side by side, examine one, and check what is said of Mezzotint.

Each returns the exit status: 1 where a check was made and something does not hold.
"""

from __future__ import annotations

import mezzotint
from mezzotint import UsageError
from mezzotint.cli import flags
from mezzotint.cli.allocator import keep_memory
from mezzotint.cli.draw import closing, draw_table, say, stderr
from mezzotint.cli.output import card_of, next_of, print_line, print_record, report_of, scores_by_column, show

DOES_NOT_HOLD = 1
"""The exit status where a check was made and failed."""


def evaluate(given: flags.Evaluate) -> int:
    """Score a run on held-out text."""
    config = mezzotint.check_run(given.run)
    mezzotint.check_data(given.data)
    if given.judge is not None:
        mezzotint.check_run(given.judge)
    if given.mauve:
        mezzotint.check_mauve(config, given.judge)
    keep_memory()
    columns = scores_by_column(given.run, given.data, given.judge, given.device, field=given.field, mauve=given.mauve)
    if given.json:
        for column, scores in columns.items():
            for score in scores:
                print_record({"column": column} | score.to_json())
    else:
        show(columns)
    has_judge = any(score.judge for scores in columns.values() for score in scores)
    if not has_judge and mezzotint.Can.TRANSLATE not in card_of(given.run).can:
        say("fluency is left out: it needs --judge RUN, a run of ar trained on such text with another seed")
    closing(next_of(given.run), report_of(given.run))
    return 0


def doctor(given: flags.Doctor) -> int:
    """Examine a run."""
    if given.data:
        mezzotint.check_data(given.data)
    is_system = not given.run.exists() and any(card.name == str(given.run) for card in mezzotint.cards())
    if not is_system:
        mezzotint.check_run(given.run)
    keep_memory()
    num_bad = 0
    if is_system:
        say(f"a small run of {given.run} is made on the bundled corpus, and examined")
    findings = mezzotint.examine(given.run, given.data, field=given.field, device=given.device)
    while True:
        with stderr().status("examining"):
            finding = next(findings, None)
        if finding is None:
            break
        num_bad += finding.verdict is mezzotint.Verdict.BAD
        if given.json:
            print_record(finding.to_json())
        else:
            print_line(f"{finding.verdict.value:<12}{finding.check}: {finding.sentence}")
    say(f"{num_bad} check{'' if num_bad == 1 else 's'} failed" if num_bad else "nothing is wrong with it")
    if not is_system:
        closing(next_of(given.run), report_of(given.run))
    return DOES_NOT_HOLD if num_bad else 0


def reproduce(given: flags.Reproduce) -> int:
    """Check claims."""
    if given.list:
        return _list_claims(given)
    if bool(given.names) == given.all:
        raise UsageError(f"name claims, or say --all; `mezzotint reproduce --list` lists them; as in `{given.example}`")
    mezzotint.check_claims(given.names, given.size)
    keep_memory()
    passed, count = 0, 0
    outcomes = mezzotint.reproduce(given.names, size=given.size, folder=given.keep, seed=given.seed)
    while True:
        with stderr().status("checking"):
            outcome = next(outcomes, None)
        if outcome is None:
            break
        claim, count, passed = outcome.claim, count + 1, passed + outcome.holds
        if given.json:
            print_record(outcome.to_json())
        else:
            verdict = "pass" if outcome.holds else "FAIL"
            print_line(
                f"{verdict}  {claim.name}: {outcome.seen:.4g} seen, {claim.range} passes "
                f"({outcome.seconds:.0f} s). {claim.says}"
            )
    say(f"{passed} of {count} claims hold")
    return 0 if passed == count else DOES_NOT_HOLD


def _list_claims(given: flags.Reproduce) -> int:
    for claim in mezzotint.check_claims(given.names, given.size):
        if given.json:
            print_record(claim.to_json())
        else:
            lines = [f"{claim.name} ({claim.size.value}; {claim.hardware}): {claim.says}", f"    {claim.range} passes"]
            print_line("\n".join([*lines, *(f"    {command}" for command in claim.commands)]))
    closing("mezzotint reproduce --all --size tiny")
    return 0


def compare(given: flags.Compare) -> int:
    """Set runs side by side."""
    mezzotint.check_compared(given.runs, given.data, given.judge, given.out)
    keep_memory()
    with stderr().status("measuring") as status:
        comparison = mezzotint.compare(
            given.runs, given.data, given.judge, field=given.field, steps=given.steps, n=given.n, curve=given.curve,
            entropy_of_first=given.entropy == "first", seed=given.seed, device=given.device, tell=status.update,
        )  # fmt: skip
        figures = mezzotint.write_page(comparison, given.out)
    if given.json:
        print_record(comparison.to_json())
    else:
        for table in mezzotint.tables(comparison):
            draw_table(table.title, table.head, [[cell.text for cell in row] for row in table.rows])
    for note in comparison.notes:
        say(note)
    say(f"figures: {figures}")
    closing(next_of(given.runs[0]), given.out)
    return 0
