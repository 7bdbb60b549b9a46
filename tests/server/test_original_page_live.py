"""The original's own page, as it is, against our /tts; and its reader of what came."""

import importlib.util
from pathlib import Path

from tests.commands.test_serve import wait_until_ready
from tests.server.conftest import Shared
from tests.support import browser


def test_the_page_of_the_original(shared: Shared, tmp_path: Path):
    package = Path(importlib.util.find_spec("pocket_tts").origin).parent
    html = (package / "static" / "index.html").read_text(encoding="utf-8")
    (tmp_path / "downloads").mkdir()
    with (
        shared.server() as (_, client),
        browser.opened(tmp_path / "downloads") as page,
    ):
        wait_until_ready(client)
        page.driver.get(str(client.base_url.join("/health")))
        # Where its server would have it. The style sheet from elsewhere need not come.
        page("history.replaceState(null, '', '/')")
        page("document.open(); document.write(arguments[0]); document.close()", html)
        page.fill("#text-input", "The river was wide, and nobody knew how deep it ran.")
        page.click("#generate-btn")
        page.wait("return document.getElementById('audio').src")
        page.wait("return window.loudest > 0.001")
        assert page.wait("return document.getElementById('audio').duration") > 0.2
        assert "real-time" in page.wait("return document.getElementById('status-text').textContent")
        page.fill("#voice-url-input", "nobody")
        page.click("#generate-btn")
        page.wait("return document.getElementById('status-text').textContent.includes('400')")


def test_the_original_reads_what_comes(shared: Shared, tmp_path: Path):
    from pocket_tts.data.audio import audio_read

    with shared.server() as (_, client):
        wait_until_ready(client)
        answer = client.post("/tts", data={"text": "The river was wide."})
    assert answer.headers["content-type"] == "audio/wav"
    (tmp_path / "out.wav").write_bytes(answer.content)
    wave, rate = audio_read(tmp_path / "out.wav")
    assert rate == 24000 and wave.shape[0] == 1 and wave.std() > 0.001
