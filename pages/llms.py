"""docs/llms.txt: what a reader that is a program has to know, and where the rest stands (llmstxt.org)."""

from __future__ import annotations

from pages.blocks import DOCS
from pages.systems import first_sentence, ordered

HEAD = """# Mezzotint

> A Python library and command that trains small text generators by denoising (masked and embedding diffusion, latent
> variables, autoregressive baselines) on a user's own file, samples, fills gaps, controls, scores and serves them.
> Python 3.11 or newer, torch 2.7 or newer, Apache-2.0.

Time runs from 0 (data) to 1 (noise). A task is a canvas: given tokens stay, all others are written. A run is a folder
of JSON and safetensors, never pickle. `mezzotint train SYSTEM --data FILE --out RUN`, then `mezzotint sample RUN`,
`mezzotint infill RUN TEMPLATE`, `mezzotint evaluate RUN --data FILE`; from Python
`mezzotint.load("RUN").generate(n=8)`. Figures come from benchmarks/results alone; what is called "not measured yet" has
none.
"""
LISTED = {
    "Guides": ("index.md", "how-to-choose.md", "scaling.md", "extending.md", "notation.md"),
    "Reference": tuple(
        f"{name}.md" for name in ["commands", "library", "settings", "departures", "results", "metrics", "licences"]
    ),
    "Optional": ("log.md",),
}
ABOUT = {
    "index.md": "what it is, and the first five minutes",
    "how-to-choose.md": "which system, which decoder, which control",
    "scaling.md": "several processes, GPUs, machines",
    "extending.md": "a system, a decoder, a score of one's own",
    "notation.md": "letters and signs of code and papers",
    "commands.md": "every help text",
    "library.md": "everything that `import mezzotint` offers",
    "settings.md": "what `--set` takes, by system",
    "departures.md": "where the code differs from the papers, by file",
    "results.md": "every figure, with its date, commit, hardware, command, seed, n and judge",
    "metrics.md": "what every figure means",
    "licences.md": "of all packages that it needs",
    "log.md": "what was measured, and what did not work",
}


def llms() -> str:
    """The whole of docs/llms.txt."""
    parts = [HEAD]
    systems = "\n".join(f"- [{name}](systems/{name}.md): {first_sentence(name)}" for name in ordered())
    for title, names in LISTED.items():
        lines = [f"- [{_title(name)}]({name}): {ABOUT[name]}" for name in names]
        parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
        if title == "Guides":
            parts.append(f"## Systems\n\n{systems}\n")
    return "\n".join(parts)


def _title(name: str) -> str:
    text = (DOCS / name).read_text(encoding="utf-8") if (DOCS / name).exists() else ""
    heading = next((line for line in text.splitlines() if line.startswith("# ")), "")
    return heading.removeprefix("# ") or name.removesuffix(".md").replace("-", " ").capitalize()
