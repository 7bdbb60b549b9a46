"""What an assistant may do by the Model Context Protocol: speak, stop, ask for the voices."""

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

import ptts_jax
from ptts_jax import audio
from ptts_jax.audio.playing import Player
from ptts_jax.server.errors import ApiError
from ptts_jax.server.voices import Voices

FILE = re.compile(rf"[\w-][\w .-]{{0,99}}({'|'.join(map(re.escape, audio.FORMATS))})")


class Stopped(Exception):
    """Somebody wants silence."""


class Speaker:
    """Says one text after the other, aloud or into files of one folder."""

    def __init__(self, tts: Any, voices: Voices, folder: Path | None, player: str | None) -> None:
        self._tts, self._voices = tts, voices
        self._folder, self._player = folder, player
        self._turn = asyncio.Lock()
        self._stops: set[threading.Event] = set()  # of those who speak or wait

    async def speak(
        self,
        text: str,
        voice: str | None = None,
        file: str | None = None,
        speed: float = 1.0,
        check: bool = False,
    ) -> str:
        """Say a text: aloud, or into an audio file when `file` names one (a name, no path).

        Numbers and abbreviations are said in words. With `check` a sentence of which words were
        skipped, repeated or cut off is said again, and the answer tells what is still wrong.
        Returns when everything has been said.
        """
        stop = threading.Event()
        self._stops.add(stop)
        try:
            async with self._turn:
                found = [] if check else None
                options = {"speed": speed, "checks": found}
                said = await asyncio.to_thread(self._speak, text, voice, file, options, stop)
                faults = [fault for one in found or () for fault in one.faults]
                wrong = ", ".join(f"{fault.kind} {fault.text!r}" for fault in faults)
                return f"{said}; said wrong: {wrong}" if wrong else said
        except (ValueError, OSError, ApiError) as error:
            raise ToolError(str(error)) from None
        finally:
            stop.set()
            self._stops.discard(stop)

    async def stop(self) -> str:
        """Be silent at once; texts that wait are not said either."""
        stopped = len(self._stops)
        for stop in self._stops:
            stop.set()
        return f"stopped {stopped} texts" if stopped else "nothing was being said"

    async def voices(self) -> list[str]:
        """The names of the voices that `speak` knows."""
        return await asyncio.to_thread(self._voices.names)

    def _speak(
        self,
        text: str,
        voice: str | None,
        file: str | None,
        options: dict[str, Any],
        stop: threading.Event,
    ) -> str:
        state = self._voices.resolve(voice)
        blocks = self._tts.stream(text, state, stop=stop, normalize=True, **options)
        try:
            with self._output(file) as out:
                for block in blocks:
                    out.write(block)
                    if stop.is_set():
                        raise Stopped
                if stop.is_set():
                    raise Stopped
        except Stopped:
            return "stopped"
        finally:
            blocks.close()
        return f"{out.samples / out.rate:.1f} s of speech: {out.name}"

    def _output(self, file: str | None) -> Any:
        rate = self._tts.sample_rate
        if file is None:
            if self._player is None:
                raise ValueError("nothing here can play sound; give a file")
            return Player(rate, self._player)
        if self._folder is None:
            raise ValueError("file: this server writes no files (see --output)")
        if not FILE.fullmatch(file):
            known = ", ".join(audio.FORMATS)
            raise ValueError(f"file: give a name without folders, ending in {known}")
        return audio.open_writer(self._folder / file, rate)


def build(speaker: Speaker) -> MCPServer:
    """The protocol's server."""
    server = MCPServer("ptts_jax", version=ptts_jax.__version__, log_level="WARNING")
    for tool in (speaker.speak, speaker.stop, speaker.voices):
        server.add_tool(tool)
    return server
