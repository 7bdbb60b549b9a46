"""One model for many listeners at once: `Engine(tts).submit(text)` gives a stream of audio."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ptts_jax.engine import effects, parts, rows
from ptts_jax.engine.checks import Checked
from ptts_jax.engine.core import Core
from ptts_jax.engine.heads import NO_HEADS
from ptts_jax.engine.request import Options
from ptts_jax.engine.speech import Speech, Utterance
from ptts_jax.engine.voices import Voice
from ptts_jax.text.reading import Manner


class Engine(AbstractContextManager):
    """A model that many listeners share; `with Engine(tts) as engine:` ends its threads."""

    def __init__(
        self, tts: Any, slots: int = 8, most_waiting: int = 64, words: bool = False
    ) -> None:
        """With `words`, all rows are made for requests that want them, so that these and others go
        together and nothing is compiled twice."""
        if slots not in (1, 2, 4, 8):
            raise ValueError(f"slots {slots}: give 1, 2, 4 or 8")
        self.tts = tts
        self.sample_rate: int = tts.sample_rate
        self.slots = slots
        self._words = words
        # As for a long chunk, so that nearly all rows go together.
        room = [rows.longest(tts.config)]
        self.core = Core(tts.weights, tts.config, tts.caches, room, slots, most_waiting)

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(
        self,
        text: str,
        voice: Any = None,
        *,
        live: bool = True,
        bounded: bool = True,
        words: bool = False,
        checks: list[Checked] | None = None,
        find_voice: Callable[[str], Any] | None = None,
        **options: Any,
    ) -> Speech:
        """A stream of the text's audio; voices and options as for `TTS.stream`.

        `live`: somebody listens while it is made; other work fills the gaps. `bounded`: the work
        rests while its reader is far behind. A recording as voice is cloned here, which takes its
        time. `words` tells when each is spoken, in `Speech.words`. A list for `checks` is told how
        each chunk went; chunks come when they are whole, and what was said wrong is said again.
        `find_voice` gives the voices that the text names, where they are not to be files. Raises
        Full when too many requests wait.
        """
        manner, options = Manner.apart(options)

        def find(name: str | None) -> Voice:
            return self.tts.voice(find_voice(name) if name and find_voice else name or voice)

        model = self.tts.name, self.tts.tokenizer, self.tts.config
        chosen = Options.of(options)
        trying = effects.trying(self.tts.params, self.tts.config, chosen, checks, self.tts.ear)
        watched = words or trying is not None
        planned = parts.plan(text, manner, chosen, find, *model, watched)
        follow = self.tts.heads(planned) if watched or self._words else NO_HEADS
        utterance = Utterance(planned, manner.loudness, follow, words, trying)
        return self.core.submit(utterance, live, bounded)

    def warm(self, voice: Any = None) -> None:
        """Compiles what any request needs, so that none waits for it."""
        speech = self.submit("One, two, three, four, five, six, seven.", voice)
        for _ in speech:
            pass
        self.core.rows.warm(speech.request.chunks[0], self.slots)

    @property
    def busy(self) -> dict[str, int]:
        """How many requests speak and how many wait."""
        return self.core.busy

    def close(self) -> None:
        """Ends every request and the threads."""
        self.core.close()
