"""What one does on the server's page."""

from typing import Any

from tests.support.browser import WIDE, Browser

TEXT = "The river was wide, and nobody knew how deep it ran."
HEARD = "return Number(document.querySelector('.take')?.dataset.heard ?? 0)"
QUIET = "return document.getElementById('stop').disabled"


def enter(window: Browser, url: str, key: str) -> None:
    """To the page, which knows the key."""
    window.resize(WIDE)
    window.driver.get(f"{url}/health")
    window("sessionStorage.setItem('key', arguments[0])", key)
    window.requests(), window.complaints()
    window.driver.get(url)
    window.wait("return document.getElementById('voice').length > 1")


def speak(page: Browser, text: str = TEXT, **fields: Any) -> None:
    page.fill("#text", text)
    for name, value in fields.items():
        page.fill(f"#{name}", str(value))
    page.click("#speak")
