"""The page in a real Chromium: it fits, can be read, and needs neither eyes nor a mouse."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.support.browser import PHONE, WIDE, Browser
from tests.support.page import HEARD, QUIET, speak

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_it_fits_and_can_be_read(page: Browser, size, dark):
    page.resize(size, dark)
    page.click("summary")
    speak(page, "Pneumonoultramicroscopicsilicovolcanoconiosis" * 2)
    page.wait(HEARD)
    page.click("#stop")
    assert page("return document.documentElement.scrollWidth - innerWidth") <= 0
    colours = """
    return ['body', 'h1', '.card', '#speak', '.checks', '.about', 'a', '#keys'].map((name) => {
      const styles = [];
      for (let at = document.querySelector(name); at; at = at.parentElement) {
        styles.push(getComputedStyle(at));
      }
      const solid = styles.find((style) => style.backgroundColor !== 'rgba(0, 0, 0, 0)');
      return [styles[0].color, solid.backgroundColor];
    });
    """
    for ink, ground in page(colours):
        assert contrast(ink, ground) >= 4.5, (ink, ground)
    ground = luminance(page("return getComputedStyle(document.body).backgroundColor"))
    assert ground < 0.1 if dark else ground > 0.8


def luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_whoever_sees_nothing_and_has_no_mouse_can_use_it(page: Browser):
    page.click("summary")
    speak(page)
    page.wait(QUIET)
    for node in page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]:
        of = {p["name"]: p["value"].get("value") for p in node.get("properties", [])}
        if of.get("focusable") and not node["ignored"] and node["role"]["value"] != "RootWebArea":
            assert node["name"]["value"], node
    assert page.find("#status").get_attribute("role") == "status"
    page.driver.get(page.driver.current_url)
    page.wait("return document.getElementById('voice').length > 1")
    keys = ActionChains(page.driver)
    keys.send_keys(Keys.TAB).perform()
    assert page("return document.activeElement.id") == "text"
    keys.reset_actions()
    keys.key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    page.wait(HEARD)
    keys.reset_actions()
    keys.send_keys(Keys.ESCAPE).perform()
    assert page(QUIET)
    reached = set()
    for _ in range(20):
        reached.add(page("return document.activeElement.className || document.activeElement.id"))
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
    assert {"first", "voice", "speed", "seed", "check", "replay", "place", "download"} <= reached
