"""The page in a real Chromium: what it tells of the words that are spoken."""

import pytest

from ptts_jax.engine import checks
from ptts_jax.engine.checks import Fault
from tests.commands.test_serve import needs_bundled, started
from tests.support.browser import PHONE, Browser
from tests.support.page import HEARD, QUIET, TEXT, speak

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


RIVER = Fault("skipped", "river", (4, 9))


@pytest.mark.parametrize(
    "tries, told",
    [
        (1, "Checked: no word is skipped or repeated."),
        (2, "Checked: said again once; no word is skipped or repeated."),
        (3, "Checked: said again 2 times; no word is skipped or repeated."),
        (
            99,
            f"Checked: said again {len(checks.AGAIN_VARIED)} times; still wrong: skipped “river”.",
        ),
    ],
)
def test_what_is_said_wrong_is_said_again_and_told(page: Browser, tts, monkeypatch, tries, told):
    right = lambda job: job.seed >= (tries - 1) * checks.NEXT_SEED  # noqa: E731
    monkeypatch.setattr(checks, "faults", lambda job, *_: [] if right(job) else [RIVER])
    page.click("#check")
    speak(page, seed=5)
    page.wait(QUIET)
    assert page.find(".checks").text == told
    assert page(HEARD) == len(tts.generate(TEXT, seed=5, checks=[]))


def test_a_word_that_can_be_said_in_one_way_alone_is_told_at_once(page: Browser, monkeypatch):
    long = Fault("repeated", "Pneumonoultramicroscopicsilicovolcanoconiosis" * 2, (38, 42))
    monkeypatch.setattr(checks, "faults", lambda *_: [RIVER, long, RIVER])
    page.resize(PHONE)
    page.click("#check")
    speak(page, "Hello.", seed=5, temperature=0)
    page.wait(QUIET)
    told = f"Checked: wrong: skipped “river” (2 times), repeated “{long.text}”;"
    assert page.find(".checks").text == f"{told} the model would say it the same again."
    assert page("return document.documentElement.scrollWidth - innerWidth") <= 0


def test_nothing_is_checked_unless_it_is_asked_for(page: Browser, tts, monkeypatch):
    asked = []
    monkeypatch.setattr(checks, "faults", lambda *of: asked.append(of) or [])
    speak(page, seed=5)
    page.wait(QUIET)
    assert asked == [] and not page.find(".checks").is_displayed()
    assert page(HEARD) == len(tts.generate(TEXT, seed=5))
