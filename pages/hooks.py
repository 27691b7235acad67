"""What mkdocs asks for while it makes the site: the list of systems follows from the pages that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Put every page of docs/systems where mkdocs.yml has an empty list."""
    systems = sorted(path.name for path in (Path(config["docs_dir"]) / "systems").glob("*.md"))
    for part in config["nav"]:
        if "Systems" in part:
            part["Systems"] = [f"systems/{name}" for name in systems]
    return config
