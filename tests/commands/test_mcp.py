"""python -m ptts_jax.mcp as an assistant's program starts it, with the protocol's own client."""

import asyncio
import os
import sys
import time

import pytest
import soundfile
from mcp import Client, StdioServerParameters

from ptts_jax import bundled, mcp
from ptts_jax.server.tools import FILE

pytestmark = [
    pytest.mark.skipif(not bundled.available(), reason="a copy without the model"),
    pytest.mark.slow,
]

PLAYER = """#!/bin/sh
cat > "$PLAYED"
"""
LONG = "The river was wide, and nobody knew how deep it ran in spring. " * 12


@pytest.fixture
def started(tmp_path):
    """How the server is started, with a program that plays into a file, and the files' folder."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "files").mkdir()
    player = tmp_path / "bin" / "aplay"
    player.write_text(PLAYER)
    player.chmod(0o755)
    path = f"{player.parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PLAYED": str(tmp_path / "played")}
    arguments = ["-m", "ptts_jax.mcp", "--model=bundled", f"--output={tmp_path / 'files'}"]
    return StdioServerParameters(command=sys.executable, args=arguments, env=env), tmp_path


async def call(client: Client, tool: str, **arguments) -> tuple[bool, str]:
    """Whether it went wrong, and what was said."""
    result = await client.call_tool(tool, arguments)
    return bool(result.is_error), "".join(part.text for part in result.content)


def test_speak_stop_and_voices(started):
    server, folder = started

    async def run() -> None:
        async with Client(server) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert tools.keys() == {"speak", "stop", "voices"}
            assert tools["speak"].input_schema["required"] == ["text"]
            failed, said = await call(client, "voices")
            assert not failed and all(name in said for name in bundled.voices())

            failed, said = await call(
                client, "speak", text="It has 12 rooms.", file="rooms.wav", check=True
            )
            assert not failed and "rooms.wav" in said
            assert soundfile.info(folder / "files" / "rooms.wav").duration > 0.5

            failed, said = await call(client, "speak", text="Hello there.", voice="af_heart")
            assert not failed and "aplay" in said
            assert (folder / "played").stat().st_size > 20_000

            for bad in (
                {"text": ""},
                {"text": "Hello.", "voice": "nobody"},
                {"text": "Hello.", "voice": "/etc/passwd"},
                {"text": "Hello.", "file": "../up.wav"},
                {"text": "Hello.", "file": "a.midi"},
                {"text": "Hello.", "speed": 99},
            ):
                failed, said = await call(client, "speak", **bad)
                assert failed and "Traceback" not in said, bad
            assert sorted(p.name for p in (folder / "files").iterdir()) == ["rooms.wav"]

            speaking = asyncio.create_task(call(client, "speak", text=LONG))
            waiting = asyncio.create_task(call(client, "speak", text=LONG, file="later.wav"))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            assert await call(client, "stop") == (False, "stopped 2 texts")
            assert (await speaking)[1] == (await waiting)[1] == "stopped"
            assert time.monotonic() - began < 20
            assert await call(client, "stop") == (False, "nothing was being said")
            assert not (folder / "files" / "later.wav").exists()

    asyncio.run(run())


@pytest.mark.parametrize(
    "name", ["../a.wav", "/a.wav", "a/b.wav", "a\\b.wav", ".wav", "a.txt", "a.wav/", "-", "~a.wav"]
)
def test_only_plain_names_are_files(name):
    assert FILE.fullmatch("a b-c_1.wav") and not FILE.fullmatch(name)


def test_wrong_flags_are_one_line(tmp_path, capsys):
    assert mcp.main(["mcp", f"--output={tmp_path / 'none'}"]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert mcp.main(["mcp", f"--voices={tmp_path / 'none'}"]) == 1
    assert "no such folder" in capsys.readouterr().err
