"""Pictures of report pages, to be looked at: light and dark, 1400 and 700 pixels wide.

    python bench/pages.py OUT runs/<name>/<run>/report.html runs/<name>/sweep-…/report.html

Needs chromium (apt-get install chromium).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SCHEMES, WIDTHS, HEIGHT = ("light", "dark"), (1400, 700), 2400


def main() -> None:
    out, *pages = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no chromium on the path; apt-get install chromium")
    with tempfile.TemporaryDirectory() as scratch:
        for page in pages:
            for scheme in SCHEMES:
                html = page.read_text(encoding="utf-8").replace("color-scheme: light dark", f"color-scheme: {scheme}")
                copy = Path(scratch, "page.html")
                copy.write_text(html, encoding="utf-8")
                for width in WIDTHS:
                    picture = out / f"{page.parent.name}-{scheme}-{width}.png"
                    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
                    size = f"--window-size={width},{HEIGHT}"
                    command = [browser, *options, size, f"--screenshot={picture}", copy.as_uri()]
                    subprocess.run(command, check=True, capture_output=True)
                    print(picture)


if __name__ == "__main__":
    main()
