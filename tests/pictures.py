"""Makes the README's pictures out of a finished study: parts of its report, as a real Chromium shows them.

python tests/pictures.py studies/quickstart.toml
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from pathlib import Path

from browser import Browser, open_browser

from sweep import open_study
from sweep.cli.report import write_report
from sweep.report.diagnosis import diagnose

FOLDER = Path(__file__).resolve().parent / "images"
MARGIN = 12
WIDTH = 1000
PICTURES = {"answer": "#answer", "curves": "#figure-curves", "losses": "#figure-losses"}
"""Each picture's part of the page."""


def take(browser: Browser, part: str, file: Path) -> None:
    """Saves a picture of a part of the page that is open."""
    script = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); return [box.top, box.height]"
    top, height = browser.run(script, part)
    clip = {"x": 0, "y": top - MARGIN, "width": WIDTH, "height": height + 2 * MARGIN, "scale": 1}
    found = browser.command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    file.write_bytes(base64.b64decode(found["data"]))


def main() -> None:
    """Makes every picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="file of a finished study")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open_browser(width=WIDTH) as browser:
        with open_study(options.study) as study:
            page = write_report(study, diagnose(study), output=str(Path(folder) / "report.html"))
        browser.emulate_theme("light")
        browser.open(page.as_uri())
        browser.wait("return document.documentElement.dataset.drawn")
        for name, part in PICTURES.items():
            take(browser, part, FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
