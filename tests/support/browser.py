"""A real Chromium without a window: what it shows, plays, asks for and complains of."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

WIDE, PHONE = (1280, 900), (375, 812)

# Notes what goes to the loudspeaker, in whatever way a page brings it there.
EAR = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...rest) {
  if (target === this.context.destination) {
    const ear = new AnalyserNode(this.context, { fftSize: 2048 });
    connect.call(this, ear);
    const samples = new Float32Array(ear.fftSize);
    setInterval(() => {
      ear.getFloatTimeDomainData(samples);
      window.loud = Math.max(...samples.map(Math.abs));
      window.loudest = Math.max(window.loudest ?? 0, window.loud);
    }, 20);
  }
  return connect.call(this, target, ...rest);
};
"""


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def __call__(self, script: str, *given: Any) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(script, *given)

    def find(self, selector: str) -> Any:
        """An element, once it is there."""
        found = lambda: self.driver.find_elements("css selector", selector)  # noqa: E731
        return until(found, f"never there: {selector}", 60)[0]

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def fill(self, selector: str, text: str) -> None:
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def wait(self, script: str, seconds: float = 60) -> Any:
        """Until a script returns something true."""
        return until(lambda: self(script), f"never: {script}", seconds)

    def resize(self, size: tuple[int, int], dark: bool = False) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def complaints(self) -> list[str]:
        """The console's errors and warnings since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        asked = [
            e["params"]["request"] for e in events if e["method"] == "Network.requestWillBeSent"
        ]
        return [request["url"] for request in asked]

    def downloaded(self, name: str) -> Path:
        """A file that comes; it has its name once it is whole."""
        path = self.downloads / name
        until(path.exists, f"{name} is not downloaded", 60)
        return path


def until(found: Callable[[], Any], complaint: str, seconds: float) -> Any:
    ends = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < ends, complaint
        time.sleep(0.02)
    return value


@contextlib.contextmanager
def opened(downloads: Path) -> Iterator[Browser]:
    """A fresh browser, whose microphone hears beeps."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (
        "--headless=new",
        "--no-sandbox",  # it may be root's
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--disable-background-networking",
        "--no-proxy-server",
    ):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    os.environ["SE_OFFLINE"] = "true"  # it looks for no other driver
    driver = webdriver.Chrome(options, Service(programs[1]))
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": EAR})
        yield Browser(driver, downloads)
    finally:
        driver.quit()
