"""One engine in a process of its own: reads requests as JSON lines, answers with what it measured.

Run as a plain script, `worker.py ours|PEER CORES`: a peer's process must not import ours.
`worker.py once PEER OPTIONS OUTPUT TEXT` is what somebody would write to speak one sentence with a
peer, for its cold start. All engines speak until the limit that follows from the token count,
whatever their EOS says: the same number of frames.
"""

import json
import os
import runpy
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

NEVER = 1e9  # a threshold that no EOS logit passes


class Ours:
    """ptts_jax."""

    def load(self, yaml: str, voice: str, options: dict[str, Any]) -> dict[str, Any]:
        import ptts_jax

        ptts_jax.use_compilation_cache()  # as the commands do
        self.tts = ptts_jax.load(yaml, **options)
        self.voice = self.tts.voice(voice)
        return {}

    def speak(self, text: str, audio: str | None = None) -> dict[str, Any]:
        blocks = self.tts.stream(text, self.voice, seed=0, eos_threshold=NEVER)
        return _timed(blocks, self.tts.sample_rate, audio)

    def batch(self, text: str) -> dict[str, Any]:
        """A long text with its chunks side by side."""
        start = time.perf_counter()
        waves = self.tts.generate_batch([text], self.voice, seed=0, eos_threshold=NEVER)
        return {"seconds": time.perf_counter() - start, "samples": waves[0].size}

    def stages(self, fills: list[int], repeats: int) -> dict[str, dict[str, list[float]]]:
        from ptts_jax.bench.speed import stages

        return stages.measure(self.tts.params, self.tts.config, fills, repeats)

    def alike(self, count: int) -> dict[str, Any]:
        """So many random requests, alone and among others."""
        from ptts_jax.bench.serve import inside

        return inside.alike(self.tts, self.voice, count)


class Peer:
    """Another engine, by the speaker that stands for it in the folder `peers`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def load(self, **options: Any) -> dict[str, Any]:
        self._speaker = _speaker(self._name, options)
        return {}

    def speak(self, text: str, audio: str | None = None) -> dict[str, Any]:
        return _timed(self._speaker.stream(text), self._speaker.rate, audio)


def _speaker(name: str, options: dict[str, Any]) -> Any:
    script = Path(__file__).parents[1] / "peers" / f"{name.replace('-', '_')}_speaker.py"
    return runpy.run_path(str(script))["Speaker"](**options)


def _timed(blocks: Iterable[Any], rate: int, audio: str | None) -> dict[str, Any]:
    start, first, made = time.perf_counter(), 0.0, []
    for block in blocks:
        first = first or time.perf_counter() - start
        made.append(block)
    took = time.perf_counter() - start
    if audio is not None:
        Path(audio).parent.mkdir(parents=True, exist_ok=True)
        _write_wav(audio, made, rate)
    samples = sum(block.size for block in made)
    return {"seconds": took, "first": first, "samples": samples, "rate": rate}


def _write_wav(path: str, blocks: Iterable[Any], rate: int) -> None:
    import wave

    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for block in blocks:
            file.writeframes((block.clip(-1, 1) * 32767).astype("<i2").tobytes())


def once(name: str, options: str, output: str, text: str) -> None:
    """Load, speak and write a file with a peer."""
    speaker = _speaker(name, json.loads(options))
    _write_wav(output, [speaker.whole(text)], speaker.rate)


def _answers(engine: Ours | Peer, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        request = json.loads(line)
        try:
            yield getattr(engine, request.pop("do"))(**request)
        except Exception as error:  # told to the one who asked
            reason = " ".join(str(error).split()) or type(error).__name__
            plain = isinstance(error, ValueError | OSError)
            yield {"error": reason if plain else f"{type(error).__name__}: {reason}"}


def main(role: str, *arguments: str) -> None:
    if role == "once":
        once(*arguments)
        return
    (cores,) = arguments
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    engine = Ours() if role == "ours" else Peer(role)
    for answer in _answers(engine, sys.stdin):
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
