"""The command on a tiny model: what it writes is what each line would sound like alone."""

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pyarrow import parquet

import ptts_jax
from ptts_jax.bulk import shards, speaking
from ptts_jax.bulk.lines import Line
from ptts_jax.bulk.models import Models, voice_key
from ptts_jax.bulk.speaking import Speaker
from ptts_jax.engine.core import Core
from tests.bulk.conftest import TEXTS, index, write


def heard(out: Path, format: str = "tar") -> dict[str, np.ndarray]:
    """The audio of all lines by their ids."""
    waves = {}
    for folder in sorted(out.glob("shard-*")):
        for name, data in files(format, folder):
            waves[name.partition(".")[0]] = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    return waves


def files(format: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """The audio files of a shard with their names."""
    if format == "tar":
        with tarfile.open(folder / "audio.tar") as tar:
            sounds = [member for member in tar if member.name.endswith(".flac")]
            yield from ((member.name, tar.extractfile(member).read()) for member in sounds)
    elif format == "parquet":
        rows = parquet.read_table(folder / "audio.parquet").column("audio").to_pylist()
        yield from ((row["path"], row["bytes"]) for row in rows)
    else:
        yield from ((path.name, path.read_bytes()) for path in folder.glob("*.flac"))


def lines() -> list[dict]:
    return [{"text": text, "id": f"t{n}", "seed": n} for n, text in enumerate(TEXTS)]


@pytest.mark.parametrize("format", shards.FORMATS)
def test_each_line_sounds_as_it_does_alone(bulk, model, tmp_path, format):
    path = write(tmp_path / "lines.jsonl", lines())
    code, err = bulk(str(path), "out", f"--format={format}")
    assert code == 0 and "7 lines done, 7 of them now, " in err and err.endswith("-> out\n")
    found = index(tmp_path / "out")
    assert [(r["id"], r["line"], r["text"]) for r in found] == [
        (f"t{n}", n + 1, text) for n, text in enumerate(TEXTS)
    ]
    tts = ptts_jax.load(model / "model.yaml")
    waves = heard(tmp_path / "out", format)
    assert waves.keys() == {r["id"] for r in found}
    for record in found:
        how = {"normalize": True, "markup": True, "seed": record["seed"]}
        alone = tts.generate(record["text"], model / "a.safetensors", **how)
        np.testing.assert_allclose(waves[record["id"]], alone, atol=1e-4)  # 16 bits
        assert record["duration"] == pytest.approx(len(alone) / 24000, abs=1e-3)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"job.json", ".claims", ".unfinished", *(f"shard-00000{n}" for n in range(3))}
    assert not any((tmp_path / "out" / ".claims").iterdir())
    assert not any((tmp_path / "out" / ".unfinished").iterdir())


def test_a_tar_is_as_webdataset_wants_it(bulk, tmp_path):
    write(tmp_path / "lines.jsonl", lines())
    assert bulk("lines.jsonl", "out", "--audio=wav")[0] == 0
    with tarfile.open(tmp_path / "out/shard-000001/audio.tar") as tar:
        names = tar.getnames()
        assert names == ["t3.wav", "t3.json", "t4.wav", "t4.json", "t5.wav", "t5.json"]
        about = json.load(tar.extractfile("t4.json"))
    assert about["text"] == TEXTS[4] and about["audio"] == "t4.wav"


def test_a_parquet_file_is_as_datasets_want_it(bulk, tmp_path):
    from pyarrow import parquet

    write(tmp_path / "lines.jsonl", lines())
    assert bulk("lines.jsonl", "out", "--format=parquet")[0] == 0
    table = parquet.read_table(tmp_path / "out/shard-000000/audio.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["audio"] == {"_type": "Audio"} and set(features) == set(table.column_names)
    [first, *_] = table.to_pylist()
    assert first["audio"]["path"] == "t0.flac" and first["text"] == TEXTS[0]
    wave, rate = soundfile.read(io.BytesIO(first["audio"]["bytes"]))
    assert rate == 24000 and len(wave) / rate == pytest.approx(first["duration"], abs=1e-3)


def test_ids_are_of_all_that_decides_the_sound(bulk, model, tmp_path):
    b = str(model / "b.safetensors")
    asked = [
        {"text": "Hello."},
        {"text": "Hello.", "seed": 3},
        {"text": "Hello.", "voice": b},
        {"text": "Hello.", "speed": 1.5},
        {"text": "Hello.", "temperature": 0.9},
        {"text": "Hello!"},
        {"text": "Hello."},  # in another shard
        {"text": "Hello."},
    ]
    write(tmp_path / "lines.jsonl", asked)
    assert bulk("lines.jsonl", "out")[0] == 0
    found = index(tmp_path / "out")
    assert len({record["id"] for record in found[:6]}) == 6
    assert found[6]["id"] == found[0]["id"] and found[7]["id"] == found[0]["id"] + "-2"
    waves = heard(tmp_path / "out")
    np.testing.assert_allclose(waves[found[0]["id"]], waves[found[7]["id"]], atol=1e-4)
    assert {record["seed"] for record in found} >= {3} and found[0]["seed"] == found[6]["seed"]
    # A copy of the voice elsewhere is the same voice.
    (tmp_path / "copy.safetensors").write_bytes((model / "a.safetensors").read_bytes())
    assert voice_key("copy.safetensors") == voice_key(str(model / "a.safetensors"))
    assert voice_key("copy.safetensors:0.5,alba:0.5") == voice_key("copy.safetensors") + (
        ":0.5,alba:0.5"
    )


def test_lines_that_fail_are_recorded_and_the_others_spoken(bulk, tmp_path):
    asked = [*lines()[:4], "{", {"text": "Hi.", "voice": "nobody/there.wav"}]
    asked += [{"text": "[rate 9] Hi."}, {"text": "Hi.", "id": "x"}, {"text": "Bye.", "id": "x"}]
    write(tmp_path / "lines.jsonl", asked)
    code, err = bulk("lines.jsonl", "out")
    assert code == 0 and "9 lines done" in err and ", 4 failed" in err
    # What could be known before was said before.
    assert err.splitlines()[0].startswith("warning: lines.jsonl: line 5: not JSON: ")
    assert "line 6: voice nobody/there.wav: there is no such file" in err.splitlines()[1]
    found = index(tmp_path / "out")
    errors = {record["line"]: record["error"] for record in found if "error" in record}
    assert errors.keys() == {5, 6, 7, 9} and "nobody/there.wav" in errors[6]
    assert "rate" in errors[7] and errors[9] == "id 'x' is an earlier line's too"
    assert len(heard(tmp_path / "out")) == 5
    # The same command has nothing left to do.
    code, err = bulk("lines.jsonl", "out")
    assert code == 0 and "9 lines done, 0 of them now" in err


def test_strict_ends_at_the_first(bulk, tmp_path):
    write(tmp_path / "lines.jsonl", [*lines()[:5], {"text": "Hi.", "voice": "none/x.wav"}])
    code, err = bulk("lines.jsonl", "out", "--strict")
    assert code == 1 and not (tmp_path / "out").exists()
    assert err == "error: lines.jsonl: line 6: voice none/x.wav: there is no such file\n"
    write(tmp_path / "lines.jsonl", [*lines()[:5], {"text": "[rate 9] Hi."}])
    code, err = bulk("lines.jsonl", "out", "--strict")
    assert code == 1 and "error: lines.jsonl: line 6: " in err.splitlines()[-1]
    assert [path.name for path in (tmp_path / "out").glob("shard-*")] == ["shard-000000"]
    assert not any((tmp_path / "out/.unfinished").iterdir())


@pytest.mark.slow
def test_words_and_checks_are_in_the_index(bulk, tmp_path):
    write(tmp_path / "lines.jsonl", lines()[:3])
    assert bulk("lines.jsonl", "out", "--words", "--check")[0] == 0
    for record in index(tmp_path / "out"):
        assert [word["word"] for word in record["words"]] == record["text"].split()
        ends = [word["end"] for word in record["words"]]
        assert ends == sorted(ends) and ends[-1] <= record["duration"] + 0.1
        assert 1 <= record["checks"]["tries"] <= 4 and isinstance(record["checks"]["faults"], list)


def test_loudness_is_of_each_whole_line(bulk, tmp_path):
    from ptts_jax.audio.loudness import measure

    write(tmp_path / "lines.jsonl", lines()[:2])
    assert bulk("lines.jsonl", "out", "--loudness=-20")[0] == 0
    for wave in heard(tmp_path / "out").values():
        assert measure(wave, 24000) == pytest.approx(-20, abs=0.2)


def test_a_folder_of_another_job_is_refused(bulk, model, tmp_path):
    write(tmp_path / "lines.jsonl", lines()[:4])
    assert bulk("lines.jsonl", "out")[0] == 0
    for words, said in (
        (["--temperature=0.9"], "--temperature was null, and is 0.9 now"),
        (["--shard=4"], "--shard was 3, and is 4 now"),
        (["--audio=wav"], '--audio was "flac", and is "wav" now'),
        (["--int8"], "the model's weights was"),
    ):
        code, err = bulk("lines.jsonl", "out", *words)
        last = err.splitlines()[-1]
        assert code == 1 and last.startswith("error: out: it holds another job: ") and said in last
        assert last.endswith("; name another folder")
    assert bulk("lines.jsonl", "out", voice="b")[0] == 1
    write(tmp_path / "lines.jsonl", lines()[:5])
    code, err = bulk("lines.jsonl", "out")
    assert code == 1 and "another job: the input was" in err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    code, err = bulk("lines.jsonl", "full")
    assert code == 1 and err == "error: full: it holds other things; name a new folder\n"
    code, err = bulk("lines.jsonl", "lines.jsonl")
    assert code == 1 and err.endswith("name a folder\n") or "Not a directory" in err


def test_standard_input(bulk, tmp_path, monkeypatch):
    def piped(asked):
        data = "".join(json.dumps(line) + "\n" for line in asked).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return bulk("-", "out")

    assert piped(lines())[0] == 0
    assert [record["id"] for record in index(tmp_path / "out")] == [f"t{n}" for n in range(7)]
    code, err = piped(lines())
    assert code == 0 and "7 lines done, 0 of them now" in err
    code, err = piped(lines()[1:])
    assert code == 1
    said = "from line 1 on standard input differs from what it was made of; name another folder"
    assert err == f"error: out: {said}\n"


def test_several_models(bulk, model, tmp_path):
    """A line may name a model; one that cannot be had is those lines' mistake."""
    other = str(model / "model.yaml")
    asked = [{"text": "One."}, {"text": "Two.", "model": other}, {"text": "Three.", "model": "x"}]
    write(tmp_path / "lines.jsonl", asked)
    code, err = bulk("lines.jsonl", "out")
    one, two, three = index(tmp_path / "out")
    assert code == 0 and one["revision"] == two["revision"] and "'x'" in three["error"]


def test_many_lines_go_side_by_side(model, tmp_path, monkeypatch):
    """More lines than rows are with the engine, and not many more."""
    most = 0
    submit = Core.submit

    def counted(core, *args, **how):
        nonlocal most
        most = max(most, sum(core.busy.values()) + 1)
        return submit(core, *args, **how)

    monkeypatch.setattr(Core, "submit", counted)
    voice = str(model / "a.safetensors")
    asked = [Line(n, f"Number {n}.", voice=voice) for n in range(60)]
    kept, told = [], []
    with Models(str(model / "model.yaml")) as models:
        speaker = Speaker(models, ".wav")

        def keep(data: bytes) -> tuple[int, int]:
            kept.append(data)
            return len(kept) - 1, len(data)

        done = speaker.speak(asked, keep, lambda line, _: told.append(line.number))
        slots = models.get().engine.slots
    assert [one.record["line"] for one in done] == list(range(60)) == sorted(told)
    assert slots < most <= speaking.WAITING * slots


def test_an_engine_that_fails_at_everything_is_not_the_lines_fault(bulk, tmp_path, monkeypatch):
    from ptts_jax.engine.rows import Rows

    def broken(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr(Rows, "open", broken)
    write(tmp_path / "lines.jsonl", [{"text": f"Line {n}."} for n in range(9)])
    with pytest.raises(RuntimeError, match="no memory"):
        bulk("lines.jsonl", "out", "--shard=9")
    assert index(tmp_path / "out") == []


def test_mistakes_of_flags_are_one_line(bulk, tmp_path):
    write(tmp_path / "lines.jsonl", lines()[:1])
    for words, said in (
        (["lines.jsonl"], "1 words where 2 are needed"),
        (["none.jsonl", "out"], "none.jsonl: No such file or directory; check the path"),
        (["lines.jsonl", "out", "--keep=text"], "--keep=text: that field is known"),
        (["lines.jsonl", "out", "--voice=none.wav"], "none.wav"),
        (["lines.jsonl", "out", "--verify"], "out: there is no job in it"),
        (["lines.jsonl", "out", "--speed=9"], "speed 9.0: give a number from 0.25 to 4"),
    ):
        code, err = bulk(*words)
        assert code == 1 and err.startswith("error: ") and said in err and err.count("\n") == 1
        assert not (tmp_path / "out").exists()
