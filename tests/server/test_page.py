"""The page in a real Chromium: it is typed into, clicked and listened to."""

import io
import threading
import time

import httpx
import numpy as np
import pytest
import soundfile
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from ptts_jax.engine import loops
from ptts_jax.engine.service import Engine
from ptts_jax.server.formats import FORMATS
from ptts_jax.server.models import Loaded, Models
from ptts_jax.server.voices import Voices
from tests.server.conftest import KEY, Served, serving_models
from tests.support import quick_model, tiny_files
from tests.support.browser import Browser
from tests.support.page import HEARD, QUIET, TEXT, enter, speak

pytestmark = pytest.mark.slow

LONG = " ".join([TEXT] * 20)


@pytest.fixture
def unhurried(served: Served, monkeypatch) -> None:
    """The model speaks about as fast as one listens."""
    model = served.engine.core.rows
    step = model.step

    def slow(rows, count):
        time.sleep(0.06 * count)
        return step(rows, count)

    monkeypatch.setattr(model, "step", slow)


def choose(page: Browser, selector: str, value: str) -> None:
    page.find(f"{selector} option[value='{value}'], {selector}").send_keys(value)
    assert page("return document.querySelector(arguments[0]).value", selector) == value


def test_it_is_heard_while_it_is_made(page: Browser, served: Served, tts, monkeypatch):
    model, heard = served.engine.core.rows, threading.Event()
    step = model.step

    def patient(rows, count):
        assert heard.wait(60)
        return step(rows, count)

    monkeypatch.setattr(model, "step", patient)
    choose(page, "#voice", "anna")
    speak(page, seed=5)
    try:
        page.wait(HEARD)  # the first frames, while the others cannot be made
    finally:
        heard.set()
    page.wait(QUIET)
    whole = tts.generate(TEXT, served.voices.resolve("anna"), seed=5)
    assert page(HEARD) == len(whole)
    peak = abs(whole).max()  # a busy machine's ear may miss the very peak
    assert peak / 5 < page("return window.loudest") < peak * 1.1
    assert (
        "anna, seed 5, " in page.find(".about").text
        and "not the whole" not in page.find(".about").text
    )


def test_stop_ends_the_sound_and_the_work(page: Browser, served: Served, unhurried):
    speak(page, LONG)
    page.wait(f"return window.loud > 0.01 && ({HEARD.removeprefix('return ')}) > 4000")
    page.click("#stop")
    served.wait_until_idle()
    page.wait("return window.loud === 0")
    stopped = page(HEARD)
    time.sleep(0.3)
    assert page(HEARD) == stopped
    assert page(QUIET) and "not the whole text" in page.find(".about").text


def test_a_new_text_takes_the_place_of_the_one_before(page: Browser, served: Served, unhurried):
    speak(page, LONG)
    page.wait(HEARD)
    speak(page, "Hello there.", seed=1)
    page.wait(QUIET)
    first, second = page("return [...document.querySelectorAll('.about')].map(x => x.textContent)")
    assert "seed 1, " in first and "not the whole" not in first and "not the whole" in second


def test_it_is_played_again_from_any_place(page: Browser, tts):
    speak(page, seed=5)
    page.wait(QUIET)
    length = page(HEARD)
    page.click(".replay")
    page.wait(f"return ({HEARD.removeprefix('return ')}) < {length / 2}")
    assert page.find(".replay").text == "Stop"
    page.wait(QUIET)
    assert page(HEARD) == length
    page.find(".place").send_keys(Keys.HOME)
    page.wait(f"return ({HEARD.removeprefix('return ')}) < {length / 2}")
    ActionChains(page.driver).send_keys(Keys.ESCAPE).perform()
    assert page(QUIET) and page(HEARD) < length
    page.click(".remove")
    assert page("return document.querySelectorAll('.take').length") == 0
    assert page.find("#nothing").is_displayed()


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_it_is_downloaded(page: Browser, served: Served, tts, kind):
    speak(page, seed=5)
    page.wait(QUIET)
    page.find("#format").send_keys(kind)
    page.click(".download")
    file = page.downloaded(f"the-river-was-wide-and-nobody-5.{kind}")
    given, rate = soundfile.read(io.BytesIO(file.read_bytes()), dtype="float32")
    expected = tts.generate(TEXT, seed=5)
    assert rate == 24000 and abs(len(given) - len(expected)) < (1 if kind == "wav" else 3600)
    if kind == "wav":
        np.testing.assert_allclose(given, np.clip(expected, -1, 1), atol=1e-3)


def test_every_format_and_limit_is_the_servers(page: Browser):
    assert set(page("return [...document.getElementById('format').options].map(o => o.value)")) == {
        *FORMATS
    }
    assert page("const {min, max} = document.getElementById('speed'); return [+min, +max]") == [
        0.25,
        4,
    ]


def test_settings_reach_the_server(page: Browser, tts):
    page("document.getElementById('speed').value = 2")
    speak(page, seed=7, temperature=0)
    page.wait(QUIET)
    expected = tts.generate(TEXT, seed=7, temperature=0)
    assert page(HEARD) == pytest.approx(len(expected) / 2, rel=0.02)


def test_one_of_several_models_is_chosen(window: Browser, tts, tmp_path, monkeypatch):
    monkeypatch.setattr(loops, "decode_block", quick_model.decode_block)
    voice = tts.voice(tiny_files.speech(1.0))
    for name in ("anna", "zoe"):
        (tmp_path / name).mkdir()
        voice.save(tmp_path / name / f"{name}.safetensors")

    def load(name: str) -> Loaded:
        engine = Engine(tts, slots=1)
        engine.core.rows = engine.core.scheduler.model = quick_model.QuickModel()
        return Loaded(engine, Voices(tts, tmp_path / name))

    models = Models(["anna", "zoe"], load)
    with models.lent(), serving_models(models) as served:
        enter(window, served.url, KEY)
        window.find("#model").send_keys("zoe")
        window.wait("return document.getElementById('voice').options[1].value === 'zoe'")
        window.find("#voice").send_keys("zoe")
        speak(window, "Hello there.")
        window.wait(QUIET)
        assert window.find(".about").text.startswith("zoe, ") and window(HEARD) == 3840
        assert window.complaints() == []


def test_mistakes_are_told_in_the_servers_words(page: Browser, served: Served, monkeypatch):
    speak(page, "?!")
    page.wait("return document.querySelector('[role=alert]').offsetParent")
    assert "nothing to say" in page.find("#error").text.lower()
    assert "400" in page.complaints()[0]
    speak(page, "Hello there.")
    page.wait(QUIET)
    assert not page.find("#error").is_displayed()

    def broken(row):
        raise RuntimeError("inside")

    monkeypatch.setattr(served.engine.core.rows, "read", broken)
    speak(page, "Hello there.")
    page.wait("return document.querySelector('[role=alert]').offsetParent")
    assert "could not be made" in page.find("#error").text
    assert "500" in page.complaints()[0]


def test_it_asks_for_the_key(served: Served, page: Browser):
    page("sessionStorage.clear()")
    page.driver.get(served.url)
    page.wait("return document.getElementById('key-form').offsetParent")
    assert page("return document.activeElement.id") == "key"
    page.find("#key").send_keys("wrong", Keys.ENTER)
    page.wait("return document.querySelector('[role=alert]').offsetParent")
    assert page.find("#error").text == "That key is wrong."
    page.fill("#key", KEY)
    page.find("#key").send_keys(Keys.ENTER)
    page.wait("return !document.getElementById('key-form').offsetParent")
    assert served.engine.tts.name in page.find("#only-model").text
    assert all("401" in complaint for complaint in page.complaints())


def test_nothing_from_elsewhere_may_run(served: Served):
    for path in ("/", "/page/page.js", "/page/page.css"):
        answer = httpx.get(served.url + path, trust_env=False)  # no key is needed
        policy = answer.headers["content-security-policy"]
        assert answer.status_code == 200 and policy.startswith(
            "default-src 'none'; script-src 'self';"
        )
        assert "unsafe" not in policy and answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(f"{served.url}/page/__init__.py", trust_env=False).status_code in (401, 404)
