"""Write all that is made of the documentation: python -m pages

`python -m pages licences` writes docs/licences.md too, which depends on what is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import tabulate
from benchmarks.rows import ROOT
from mezzotint.systems import CATALOGUE
from pages.blocks import DOCS, fill
from pages.commands import commands_page
from pages.departures import departures_page
from pages.library import library_page
from pages.licences import licences_page
from pages.llms import llms
from pages.settings import settings_page
from pages.systems import honest, overview, systems_page


def made() -> dict[Path, str]:
    """Every page that is made, or has blocks that are, as it is to be."""
    pages = {DOCS / "systems" / f"{name}.md": fill(*systems_page(name)) for name in CATALOGUE}
    pages |= {
        tabulate.PAGE: tabulate.page(),
        DOCS / "commands.md": commands_page(),
        DOCS / "library.md": library_page(),
        DOCS / "departures.md": departures_page(),
        DOCS / "settings.md": settings_page(),
        DOCS / "llms.txt": llms(),
    }
    for path, root in ((ROOT / "README.md", "docs/systems/"), (DOCS / "index.md", "systems/")):
        pages[path] = fill(path.read_text(encoding="utf-8"), {"systems": overview(root), "results": honest()})
    return pages


def main() -> None:
    found = made() | ({DOCS / "licences.md": licences_page()} if "licences" in sys.argv[1:] else {})
    changed = {path: text for path, text in found.items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in changed.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    print(f"{len(found)} pages, {len(changed)} changed")


if __name__ == "__main__":
    main()
