"""`docs/pictures/page-*.png`: text emerging on a desk, and a gap filled on a phone in the dark.

    python -m benchmarks.pictures runs/a [runs/b]

The page serves these runs, and the tests' browser takes the pictures; a second run is shown beside the first.
"""

from __future__ import annotations

import argparse

import mezzotint
from benchmarks.rows import ROOT
from tests.browser import PHONE, choose, chromium, scrub, written
from tests.served import answering

PICTURES = ROOT / "docs" / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    runs = [mezzotint.load(run) for run in parser.parse_args().runs]
    PICTURES.mkdir(exist_ok=True)
    with chromium() as browser, answering(runs) as address:
        if browser is None:
            raise SystemExit("no browser is installed to open the page with: apt install chromium")
        page = browser.new_page(base_url=address, viewport={"width": 1000, "height": 760}, color_scheme="light")
        page.goto("/")
        choose(page, runs[0].name, n=4, steps=32, seed=15)
        if len(runs) > 1:
            page.select_option("#beside", runs[1].name)
        written(page)
        scrub(page, int(page.get_attribute("#frame", "max") or 0) // 2)
        page.screenshot(path=PICTURES / "page-emerging.png")
        page = browser.new_page(base_url=address, viewport=PHONE, color_scheme="dark")
        page.goto("/")
        choose(page, runs[0].name, "gaps", n=2, steps=16)
        for place in (1, 2, 5):
            page.locator("#words button").nth(place).click()
        written(page)
        page.locator("#words").scroll_into_view_if_needed()
        page.screenshot(path=PICTURES / "page-phone.png", full_page=True)


if __name__ == "__main__":
    main()
