"""The measurement of reading: what it says, and of what."""

import re

from ptts_jax.bench.text import command


def test_it_measures_every_language_it_is_asked_for(capfd, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("Zwölf 12.\n\n[pause 1] And 3 km.")
    words = ["text", f"--text_file={path}", "--languages=de,en"]
    assert command.main(words) == 0
    out = capfd.readouterr().out
    assert out.startswith("30 characters\n  marks: 0.")
    assert re.findall(r"numbers, (\w\w): \d+\.\d\d s", out) == ["de", "en"]
    assert re.findall(r"at speed ([\d.]+): \d+\.\d ms", out) == ["0.5", "0.8", "1.25", "2"]


def test_its_own_text_is_long_enough():
    assert len(command._material()) == command.SIZE


def test_mistakes(capfd):
    assert command.main(["text", "--languages=xx"]) == 1
    assert "language 'xx': give one of" in capfd.readouterr().err
    assert command.main(["text", "--text_file=none.txt"]) == 1
    assert capfd.readouterr().err.startswith("error: ")
