"""A book on a tiny model: its chapters, times and tags, and that a kill costs a sentence."""

import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest

import ptts_jax
from ptts_jax.audio import loudness
from ptts_jax.book import command, epub
from ptts_jax.book.ledger import Ledger, opened
from ptts_jax.bulk.speaking import Speaker
from tests.book import epubs
from tests.bulk.conftest import model  # noqa: F401


@pytest.fixture
def book(model, tmp_path, monkeypatch, capfd):  # noqa: F811
    """The command in an empty folder with a book: (code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ptts_jax, "use_compilation_cache", lambda: None)
    epubs.write(tmp_path / "x.epub")

    def run(*words: str) -> tuple[int, str, str]:
        flags = [f"--model={model / 'model.yaml'}", f"--voice={model / 'a.safetensors'}"]
        code = command.main(["book", "--nocheck", *flags, *words])
        return code, *capfd.readouterr()

    return run


def samples(path: Path) -> np.ndarray:
    with av.open(path) as file:
        frames = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
    wave = np.concatenate(frames)
    return wave / 32768 if wave.dtype == np.int16 else wave


def test_a_book_in_one_file(book, tmp_path):
    code, _, err = book("x.epub", "-o", "x.m4b")
    assert code == 0, err
    assert err.startswith("The River: 3 chapters, 37 words in ") and "3 chapters, " in err
    with av.open("x.m4b") as file:
        tags, chapters = file.metadata, file.chapters()
        kinds = sorted(stream.type for stream in file.streams)
        length = file.duration / 1e6
    assert tags["major_brand"] == "M4B " and tags["title"] == "The River"
    assert tags["artist"] == "Ann Author, Bo Other" and tags["genre"] == "Audiobook"
    assert kinds == ["audio", "data", "video"], "the marks, and the cover"
    assert [c["metadata"]["title"] for c in chapters] == ["The Bank", "The Boat", "The Sea"]
    told = json.loads(Path("x.report.json").read_text())
    starts = [float(c["start"] * c["time_base"]) for c in chapters]
    assert starts == pytest.approx([c["start"] for c in told["chapters"]], abs=2e-3)
    assert length == pytest.approx(told["seconds"], abs=0.1)
    # Where a chapter ends there is silence, and speech where it begins.
    wave, rate = samples(Path("x.m4b")), 24000
    for start in starts:
        begins = round((start + 0.5) * rate)
        assert np.abs(wave[begins : begins + rate]).max() > 0.02
        assert np.abs(wave[max(0, begins - rate // 2) : begins - rate // 10]).max() < 0.01
    assert told["left_out"] == {"notes": 1, "listings": 1}
    assert not Path("x.m4b.parts").exists()
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_it_is_as_loud_as_was_asked(book):
    assert book("x.epub", "-o", "out", "--audio=flac", "--loudness=-23")[0] == 0
    for path in sorted(Path("out").glob("*.flac")):
        assert loudness.measure(samples(path), 24000) == pytest.approx(-23, abs=0.3)


@pytest.mark.parametrize("kind", ["mp3", "opus", "flac", "m4a"])
def test_a_file_for_each_chapter(book, kind):
    code, _, err = book("x.epub", "-o", "out", f"--audio={kind}", "--title=Another")
    assert code == 0, err
    names = ["1 The Bank", "2 The Boat", "3 The Sea"]
    files = sorted(Path("out").glob(f"*.{kind}"))
    assert [path.stem for path in files] == names
    told = json.loads(Path("out.report.json").read_text())
    for number, path in enumerate(files, 1):
        with av.open(path) as file:
            tags = file.metadata | file.streams.audio[0].metadata
            assert file.duration / 1e6 == pytest.approx(
                told["chapters"][number - 1]["seconds"], abs=0.15
            )
        assert tags["title"] == path.stem[2:] and tags["album"] == "Another"
        assert tags["track"] == f"{number}/3"
    lines = Path("out/playlist.m3u8").read_text().splitlines()
    assert lines[0] == "#EXTM3U" and lines[2::2] == [path.name for path in files]
    assert Path("out/cover.jpg").read_bytes() == epubs.picture()


@pytest.mark.slow
def test_subtitles_follow_the_sound(book):
    assert book("x.epub", "-o", "out", "--audio=flac", "--subtitles=vtt")[0] == 0
    vtt = Path("out/1 The Bank.vtt").read_text()
    assert vtt.startswith("WEBVTT\n") and "The <" in vtt and "nobody" in vtt
    told = json.loads(Path("out.report.json").read_text())
    last = [line for line in vtt.splitlines() if "-->" in line][-1]
    minutes, seconds = last.split(" --> ")[1].split(":")[1:]
    end = 60 * int(minutes) + float(seconds)
    assert told["chapters"][0]["seconds"] - 3 < end < told["chapters"][0]["seconds"]


def test_an_epub_that_can_be_heard(book):
    assert book("x.epub", "-o", "out", "--epub=heard.epub")[0] == 0
    heard, told = epub.read(Path("heard.epub")), json.loads(Path("out.report.json").read_text())
    assert [c.title for c in heard.chapters] == ["The Bank", "The Boat", "The Sea"]
    assert (heard.title, heard.author) == ("The River", "Ann Author, Bo Other")
    said = ["The Boat", "Three boats came.", "Then he left."]
    assert [block.text for block in heard.chapters[1].blocks] == said
    with zipfile.ZipFile("heard.epub") as archive:
        assert archive.namelist()[0] == "mimetype" and archive.testzip() is None
        package = archive.read("book.opf").decode()
        for number, chapter in enumerate(told["chapters"], 1):
            page = ElementTree.fromstring(archive.read(f"{number}.xhtml"))
            spans = [e.get("id") for e in page.iter() if e.tag.endswith("}span")]
            smil = ElementTree.fromstring(archive.read(f"{number}.smil"))
            texts = [e.get("src") for e in smil.iter() if e.tag.endswith("}text")]
            assert texts == [f"{number}.xhtml#{span}" for span in spans]
            clips = [e for e in smil.iter() if e.tag.endswith("}audio")]
            times = [float(c.get(k)[:-1]) for c in clips for k in ("clipBegin", "clipEnd")]
            assert times == sorted(times) and 0 < times[-1] < chapter["seconds"]
            with av.open(io.BytesIO(archive.read(f"{number}.m4a"))) as file:
                assert file.duration / 1e6 == pytest.approx(chapter["seconds"], abs=0.15)
            assert f'refines="#smil{number}">{chapter["seconds"]:.3f}s<' in package
    code, _, err = book("x.epub", "-o", "out", "--epub=x.epub")
    assert code == 1 and "--epub x.epub: would overwrite what is read" in err


def test_a_plan_says_what_would_be_said(book):
    code, out, err = book("x.epub", "--plan")
    assert code == 0 and err == ""
    title, one, *_, total = out.splitlines()
    assert title == "The River" and one.split()[:4] == ["1", "The", "Bank", "3"]
    assert total.startswith("3 chapters, 37 words in ") and "left out: 1 listings, 1 notes" in total


def test_a_preview_and_then_the_book_say_nothing_twice(book, monkeypatch):
    assert book("x.epub", "-o", "x.m4b", "--preview=2")[0] == 0
    with av.open("x.m4b") as file:
        assert [c["metadata"]["title"] for c in file.chapters()] == ["The Boat"]
    asked = []
    speak = Speaker.speak

    def counted(self, lines, *how):
        asked.extend(line.text for line in lines)
        return speak(self, lines, *how)

    monkeypatch.setattr(Speaker, "speak", counted)
    code, _, err = book("x.epub", "-o", "x.m4b", "--keep_parts")
    assert code == 0 and "Three boats came." not in asked and "The Bank" in asked
    # The same again has nothing left to say, and gives the same file.
    before = Path("x.m4b").read_bytes()
    asked.clear()
    assert book("x.epub", "-o", "x.m4b")[0] == 0
    assert asked == [] and Path("x.m4b").read_bytes() == before


def test_dialogue_in_another_voice(book, model, monkeypatch):  # noqa: F811
    b = str(model / "b.safetensors")
    Path("map.txt").write_text(f"heading = {b}\n")
    seen = []
    monkeypatch.setattr(
        Speaker, "speak", lambda self, lines, keep, tell: seen.extend(lines) or sys.exit(7)
    )
    with pytest.raises(SystemExit):
        book("x.epub", "-o", "x.m4b", "--voices=map.txt", f"--dialogue={b}")
    voices = {line.text: Path(line.voice).stem for line in seen}
    assert voices["The Bank"] == "b" and voices["“nobody”"] == "b"
    assert voices["The river was wide, and"] == "a"


def test_mistakes_are_one_line(book, tmp_path):
    Path("map.txt").write_text("narator = alba\n")
    Path("file").touch()
    for words, said in (
        (["x.epub"], "-o: name a .m4b file, or a folder for chapters"),
        (["x.epub", "-o", "x.mp3"], "name a .m4b file, or a folder and --audio=mp3"),
        (["x.epub", "-o", "none/x.m4b"], "there is no folder"),
        (["x.epub", "-o", "file"], "it is a file; name a folder"),
        (["x.epub", "-o", "x.m4b", "--preview=9"], "--preview 9: there are 3 chapters"),
        (["x.epub", "-o", "x.m4b", "--voices=map.txt"], "'narator' is neither a chapter's number"),
        (["x.epub", "-o", "x.m4b", "--dialogue=none.wav"], "none.wav"),
        (["y.epub", "-o", "x.m4b"], "y.epub: No such file or directory"),
        (["x.epub", "-o", "x.m4b", "--loudness=3"], "loudness 3: give LUFS from -60 to -5"),
    ):
        code, _, err = book(*words)
        last = err.splitlines()[-1]
        assert code == 1 and last.startswith("error: ") and said in last, (words, err)
        assert not Path("x.m4b").exists() and not Path("x.m4b.parts").exists()


# The ledger.


def noted(ledger: Ledger, name: str, data: bytes) -> dict:
    import hashlib

    record = {"id": name, "sha256": hashlib.sha256(data).hexdigest()}
    ledger.note(record, ledger.keep(data))
    return record


def test_what_was_cut_off_is_not_there_and_the_rest_is(tmp_path):
    ledger = Ledger(tmp_path)
    records = {name: noted(ledger, name, name.encode() * 100) for name in "abc"}
    ledger.close()
    lines = (tmp_path / "sentences.jsonl").read_bytes()
    for cut in range(2, 60, 7):
        (tmp_path / "sentences.jsonl").write_bytes(lines[:-cut])
        ledger = Ledger(tmp_path)
        assert ledger.find("a", False) == records["a"] and ledger.find("c", False) is None
        assert ledger.audio("b") == b"b" * 100
        noted(ledger, "d", b"d")
        ledger.close()
        ledger = Ledger(tmp_path)
        assert ledger.find("d", False) and ledger.audio("d") == b"d"
        ledger.close()


def test_damaged_audio_is_spoken_again(tmp_path):
    ledger = Ledger(tmp_path)
    noted(ledger, "a", b"a" * 100)
    assert ledger.find("a", False) and ledger.find("a", words=True) is None
    with (tmp_path / "audio.bin").open("r+b") as file:
        file.write(b"x")
    assert ledger.find("a", False) is None
    ledger.close()


def test_one_process_makes_a_book(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from ptts_jax.book.ledger import opened\n"
        "with opened(Path(sys.argv[1])):\n print('here', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "parts")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "here\n"
        with (
            pytest.raises(ValueError, match="another process makes this book"),
            opened(tmp_path / "parts"),
        ):
            pass
        owner.kill()
        owner.wait()
        with opened(tmp_path / "parts") as ledger:
            assert ledger.find("a", False) is None


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(model, tmp_path):  # noqa: F811
    """And gives the same book as one that was not killed; only what was being said is repeated."""
    text = "".join(
        f"## Chapter {n}\n\n" + f"Sentence {n} of some. " * 40 + "\n\n" for n in range(5)
    )
    (tmp_path / "x.md").write_text(text)
    program = [
        sys.executable,
        "-m",
        "ptts_jax.book",
        f"--model={model / 'model.yaml'}",
        "--nocheck",
    ]
    program += [f"--voice={model / 'a.safetensors'}", "--audio=flac", "--keep_parts", "x.md", "-o"]
    how = {"cwd": tmp_path, "stderr": subprocess.DEVNULL}
    lines = tmp_path / "out.parts" / "sentences.jsonl"
    for count in (3, 12):
        with subprocess.Popen([*program, "out"], **how) as process:
            ends = time.monotonic() + 120
            while not lines.exists() or lines.read_bytes().count(b"\n") < count:
                assert time.monotonic() < ends and process.poll() is None
                time.sleep(0.002)
            process.kill()
    assert subprocess.run([*program, "out"], **how).returncode == 0
    assert subprocess.run([*program, "whole"], **how).returncode == 0
    spoken = [json.loads(line)["record"]["id"] for line in lines.open()]
    assert len(spoken) == len(set(spoken)), "nothing that was noted was said again"
    for path in sorted((tmp_path / "whole").glob("*.flac")):
        same = io.BytesIO((tmp_path / "out" / path.name).read_bytes())
        np.testing.assert_allclose(samples(path), samples(same), atol=1e-3)
