"""The websocket for text that arrives piece by piece."""

import numpy as np
import pytest
import websockets

from tests.server.conftest import Served
from tests.support.websocket import conversation, talk

TEXT = "The river was wide, and nobody knew how deep it ran."


def test_text_piece_by_piece(served: Served, tts):
    pieces = ["The river ", "was wide. And ", "nobody knew"]
    flush = {"type": "input.flush", "id": 7}
    said, given = conversation(served, *pieces, flush, " how deep.", voice="anna", seed=3)
    assert [m["type"] for m in said] == ["audio.start", "flushed", "audio.done", "session.done"]
    assert said[0]["format"] == "pcm" and said[0]["sample_rate"] == 24000
    assert said[1]["id"] == 7
    anna = served.voices.resolve("anna")
    sentences = ["The river was wide.", "And nobody knew", "how deep."]
    expected = np.concatenate([tts.generate(s, anna, seed=3) for s in sentences])
    assert given.shape == expected.shape
    np.testing.assert_allclose(given / 32767, np.clip(expected, -1, 1), atol=1e-3)


def test_a_cancelled_conversation_goes_on(served: Served):
    said = f"{TEXT} {TEXT} {TEXT} ", {"type": "cancel"}, "Hello."
    told, _ = conversation(served, *said, eos_threshold=1e9)
    assert [m["type"] for m in told][-3:] == ["audio.start", "audio.done", "session.done"]


def test_what_is_no_message_is_refused_and_the_socket_lives(served: Served):
    wrong = [
        "{",
        "[]",
        "7",
        {"type": "dance"},
        {"type": "input.text"},
        {"type": ["cancel"]},
        b"\x00",
    ]
    wrong += [{"type": "session.config", "response_format": "midi"}]
    heard = talk(served, *wrong, {"type": "session.close"})
    assert [m["type"] for m in heard] == ["error"] * len(wrong) + ["session.done"]


def test_a_socket_without_the_key_is_refused(served: Served):
    with pytest.raises(websockets.InvalidStatus):
        talk(served, headers={})


def test_who_hangs_up_frees_the_row(served: Served):
    endless = {"type": "session.config", "eos_threshold": 1e9}
    text = {"type": "input.text", "text": " ".join([TEXT] * 20) + " "}
    talk(served, endless, text, until="audio.start")
    served.wait_until_idle()
