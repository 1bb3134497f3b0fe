"""`make screenshots`: every view of the demo's page, as pictures for the README, into docs/."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parents[2] / "docs"
LOOKS_LIVED_IN = 90_000  # milliseconds until the charts have something to show
VIEWS = {
    "overview": "/",
    "contracts": "/contracts",
    "contract": "/contract?id=1",
    "refusals": "/refusals",
    "guard": "/guard",
    "watermark": "/watermark",
    "runs": "/runs",
    "log": "/log",
    "configuration": "/configuration",
}
SIZE = {"width": 1180, "height": 860}


@contextmanager
def demo() -> Iterator[tuple[str, str]]:
    """The address and the token of a demo's page."""
    command = [sys.executable, "-m", "cdc_sync", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = process.stdout.readline() + process.stdout.readline()
            found = re.search(r"page  (\S+) .*token (\S+)\n", said, re.DOTALL)
            assert found, said
            yield found[1], found[2]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


def log_in(page: Page, token: str) -> None:
    page.goto("/login")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    chromium = shutil.which("chromium")
    with demo() as (url, token), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(base_url=url, viewport=SIZE, locale="en-GB", timezone_id="UTC")
        log_in(page, token)
        page.wait_for_timeout(LOOKS_LIVED_IN)
        for name, path in VIEWS.items():
            page.goto(path)
            page.wait_for_timeout(500)
            page.screenshot(path=DOCS / f"page-{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
