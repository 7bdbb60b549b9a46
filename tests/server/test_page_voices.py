"""The page in a real Chromium: voices are added, recorded and removed."""

import time
from pathlib import Path

import pytest
import soundfile

from tests.server.conftest import Served
from tests.support import tiny_files
from tests.support.browser import Browser
from tests.support.page import HEARD, QUIET, speak

pytestmark = pytest.mark.slow


def recording(folder: Path) -> Path:
    path = folder / "me.wav"
    soundfile.write(path, tiny_files.speech(1.5, seed=4), 24000)
    return path


def test_a_voice_is_added_and_removed(page: Browser, served: Served, tmp_path):
    page.click("summary")
    page.fill("#voice-name", "bert")
    page.find("#sample").send_keys(str(recording(tmp_path)))
    page.click("#voice-form > button")  # without the speaker's consent
    assert not page("return document.getElementById('voice-form').checkValidity()")
    assert "bert" not in served.voices.names()
    page.click("#consent")
    page.click("#voice-form > button")
    page.wait("return document.getElementById('voice').value === 'bert'")
    assert "bert" in served.voices.names()
    speak(page)
    page.wait(QUIET)
    assert page.find(".about").text.startswith("bert, ") and page(HEARD) > 0
    page.click("#remove-voice")
    page.wait("return document.getElementById('voice').value === ''")
    assert "bert" not in served.voices.names()


def test_a_voice_is_recorded(page: Browser, served: Served):
    page.click("summary")
    page.click("#record")
    page.wait("return document.getElementById('record').ariaPressed === 'true'")
    time.sleep(1.5)
    page.click("#record")
    assert page.wait("return document.getElementById('recorded').duration") > 1
    page.fill("#voice-name", "greta")
    page.click("#consent")
    page.click("#voice-form > button")
    page.wait("return document.getElementById('voice').value === 'greta'")
    served.voices.remove("greta")
