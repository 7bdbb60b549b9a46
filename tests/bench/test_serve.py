"""The benchmark of the server: how clients count what they hear, its table, and one whole run on a
tiny model. What it measures depends on the machine, and is not looked at."""

import asyncio
import json
from collections import Counter

import pytest

from ptts_jax.bench.serve import clients, command, report
from ptts_jax.bench.serve.clients import Heard, Refused
from ptts_jax.bench.serve.servers import Server
from ptts_jax.bench.serve.soak import Soaked
from tests.support import tiny_files

FRAME = bytes(3840)  # 80 ms


async def _serving(blocks: list[tuple[float, bytes]], status: bytes = b"200 OK"):
    """A server that sends blocks after pauses, to everyone who asks."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        for pause, data in blocks:
            await asyncio.sleep(pause)
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        writer.write(b"0\r\n\r\n")
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


def hear(blocks, side="ours", live=False, **more) -> Heard:
    heard = Heard()

    async def run():
        async with await _serving(blocks, **more) as http:
            server = Server(side, http.sockets[0].getsockname()[1])
            await clients.listen(server, "Hello.", 0, live, heard)

    asyncio.run(run())
    return heard


def test_silence_in_speech_is_a_gap():
    half = 6 * FRAME  # 0.48 s, so that a busy machine's delays are no gaps
    heard = hear([(0.05, half), (0, half), (1.96, half), (0, half)])
    assert heard.audio == pytest.approx(4 * 0.48)
    assert len(heard.firsts) == 1 and heard.firsts[0] >= 0.05
    assert len(heard.gaps) == 1 and 0.5 < heard.gaps[0] < 1.5  # 1 s of silence


def test_a_live_listener_plays_to_the_end_and_fetches_a_second_ahead():
    begun = asyncio.new_event_loop().time()
    heard = hear([(0, 18 * FRAME)], live=True)  # 1.44 s
    assert asyncio.new_event_loop().time() - begun > 1.4
    assert heard.gaps == []


def test_the_header_of_a_wave_file_is_no_audio():
    heard = hear([(0, bytes(44)), (0.2, FRAME)], side="peer")
    assert heard.audio == pytest.approx(0.08) and heard.firsts[0] >= 0.2


def test_a_refusal_is_no_speech():
    with pytest.raises(Refused):
        hear([], status=b"429 Too Many Requests")


def run(**more) -> dict:
    about = {"model": "tiny", "weights": "int8", "date": "today", "command": "bench"}
    about |= {"versions": {}, "machine": {"cpu": "one", "flags": []}, "random_weights": True}
    return about | {"cells": [], "problems": [], **more}


def verdicts(**more) -> list[tuple[str, str]]:
    lines = [line.split(" | ") for line in report.document(run(**more)).splitlines()]
    rows = [line for line in lines if len(line) == 5][2:]
    return [(line[0].lstrip("| "), line[-1].rstrip(" |")) for line in rows]


def soaked(**more) -> dict:
    return Soaked(1.0, Counter(whole=5), Counter({200: 5}), freed=True, **more).as_json()


def test_every_figure_has_a_verdict():
    rounds = [{"single": 10, "ours": 15, "peer": 2.0}, {"single": 10, "ours": 16, "peer": 2.0}]
    alike = {"requests": 9, "same": 8, "frames": 9, "snr": 120.0, "longest": 9.0}
    found = verdicts(
        rounds=rounds,
        first_audio={"1": [20.0] * 9, "4": [60.0] * 9},
        hold=[{"listeners": 9, "share": 0.8, "gaps": 2, "refused": 0, "seconds": 1}] * 2,
        alike={"int8": alike, "f32": alike},
        vanishing=[0.05, 0.1],
        lone={"library": [20.0], "server": [24.0]},
        soak=soaked(),
    )
    expected = ["yes", "aim", "**no**", "**no**", "**no**", "yes", "yes", "aim", "yes"]
    assert [verdict for _, verdict in found] == expected
    assert verdicts(soak=soaked(broken=1)) == [("soak, 1 minutes", "**no**")]
    assert verdicts() == []


def test_memory_that_grows_is_seen():
    flat = [100.0] * 100
    assert Soaked(1.0, memory=flat).growth == 0
    assert Soaked(1.0, memory=[*flat, *[130.0] * 30]).growth == pytest.approx(0.3)


@pytest.mark.parametrize("bad", ["--clients=0", "--clients=x", "--parts=tea", "--model=nobody"])
def test_wrong_flags_are_one_line(bad, capsys):
    assert command.main(["bench serve", bad]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and bad[2:].split("=")[0] in said


@pytest.mark.slow
def test_a_whole_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    tiny = tiny_files.write(tmp_path / "tiny")
    flags = ["--quick", "--peer=none", "--clients=1,3", "--seconds=2", "--hold=1", "--requests=4"]
    more = [f"--model={tiny.yaml}", f"--output={tmp_path / 'out'}", "--soak=0.05"]
    assert command.main(["bench serve", *flags, *more]) == 0
    found = json.loads((tmp_path / "out" / "serve.json").read_text())
    assert [(c["clients"], c["live"]) for c in found["cells"]] == [
        *((1, False), (1, True), (3, False), (3, True))
    ]
    assert all(c["audio"] > 0 and c["refused"] == 0 for c in found["cells"])
    assert set(command.PARTS) - {"scaling"} <= found.keys()
    assert found["alike"]["int8"]["same"] == found["alike"]["int8"]["requests"] == 4
    assert found["soak"]["freed"] and found["soak"]["asked"]["whole"] > 0
    assert not [status for status in found["soak"]["statuses"] if int(status) >= 500]
    assert (tmp_path / "out" / "serve.md").read_text().startswith("# Many listeners of")
    assert (tmp_path / "out" / "serve.png").stat().st_size > 1000
