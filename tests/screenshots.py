"""python -m tests.screenshots URL FOLDER: pictures of a running server's page, to be looked at.

Wide and narrow, light and dark, while it speaks; and after a mistake.
"""

import sys
import tempfile
from pathlib import Path

from tests.support import browser


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads, browser.opened(Path(downloads)) as page:
        page.resize(browser.WIDE)
        page.driver.get(url)
        page.wait("return document.getElementById('only-model').textContent")
        page.click("#check")
        for text in ("A first sentence.", "The lamps were lit, one after another."):
            page.fill("#text", text)
            page.click("#speak")
            page.wait("return document.getElementById('stop').disabled")
        page.click("summary")
        page.fill("#text", "What is said now is under way, and its waves grow. " * 3)
        for dark in (False, True):
            for size in (browser.WIDE, browser.PHONE):
                page.resize(size, dark)
                page.click("#speak")
                page.wait("return document.getElementById('status').textContent === 'Speaking'")
                page.wait("return document.querySelector('.take').dataset.heard > 48000")
                name = f"{size[0]}-{'dark' if dark else 'light'}.png"
                height = page("return document.documentElement.scrollHeight")
                page.resize((size[0], height), dark)
                (folder / name).write_bytes(page.driver.get_screenshot_as_png())
                page.click("#stop")
        page.fill("#text", " ")
        page.click("#speak")
        page.wait("return !document.getElementById('error').hidden")
        (folder / "mistake.png").write_bytes(page.driver.get_screenshot_as_png())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
