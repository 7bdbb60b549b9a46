"""The page in a real Chromium: what it tells of the words that are spoken."""

import pytest

from tests.commands.test_serve import needs_bundled, started
from tests.support.browser import Browser
from tests.support.page import QUIET, TEXT, speak

pytestmark = pytest.mark.slow

WORDS = """
const really = window.fetch;
window.fetch = async (path, ...rest) => {
  const answer = await really(path, ...rest);
  if (path !== "v1/audio/speech") return answer;
  const head = `data: ${JSON.stringify({ type: "words", words: arguments_[0] })}\\n\\n`;
  const body = new ReadableStream({
    async start(out) {
      out.enqueue(new TextEncoder().encode(head));
      for await (const part of answer.body) out.enqueue(part);
      out.close();
    },
  });
  return new Response(body, { status: 200 });
};
"""


def test_words_light_up_when_they_have_times(page: Browser):
    words = [
        {"word": "The", "start": 0.0, "end": 0.1},
        {"word": "wide", "start": 0.1, "end": 30.0},
        {"word": "ran.", "start": 30.0, "end": 31.0},
    ]
    page(f"const arguments_ = arguments; {WORDS}", words)
    speak(page)
    page.wait("return document.querySelector('.now')?.textContent === 'wide'")
    assert page.find(".words").text == TEXT
    page.wait(QUIET)
    assert page("return document.querySelectorAll('.now').length") == 0


@needs_bundled
def test_words_of_a_real_model_light_up_in_turn(window: Browser):
    with started("--slots=1") as (_, url):
        window.driver.get(url)
        window.wait("return document.getElementById('only-model').textContent")
        speak(window, "It has 12 rooms, and nobody lives there.", seed=1)
        window.wait("return document.querySelector('.now')?.textContent === '12'")
        window.wait("return document.querySelector('.now')?.textContent === 'lives'")
        window.wait(QUIET)
        spans = "return [...document.querySelectorAll('.words span')].map(x => x.textContent)"
        assert window(spans) == window.find(".words").text.split()
