"""Mistakes on the command line: one line each, and nothing is left behind."""

import re
from pathlib import Path

import numpy as np
import soundfile

import ptts_jax
from tests.support import tiny_files
from tests.support.mistakes import mistakes
from tests.support.speaking import piped


@mistakes(
    """
    --lst_models                       | unknown flag --lst_models; did you mean list_models
    -Hello                             | a text that begins with a dash goes behind --
    Hello --temprature=3               | unknown flag --temprature; did you mean temperature
    Hello --output                     | Missing value for flag --output
    --seed=abc x                       | --seed=abc
    --seed=1.5 x                       | --seed=1.5
    --temperature=warm x               | --temperature=warm
    --temperature=nan x                | temperature nan: give a number
    --temperature -1 x                 | temperature -1.0: give a number
    --steps=0 x                        | steps 0: give a whole number
    --noise_clamp=0 x                  | noise_clamp 0.0: give a number
    --eos_threshold=nan x              | eos_threshold nan: give a number
    --frames_after_eos=99999999999 x   | frames_after_eos 99999999999: give
    --max_tokens=0 x                   | max_tokens 0: give a whole number from 1 to 500
    --quiet=perhaps x                  | --quiet=perhaps: give true or false
    --best_of=9 x                      | best_of 9: give a whole number from 1 to 8
    --int8=atention x                  | did you mean attention
    --flagfile=none x                  | none
    ''                                 | the text is empty
    '  '                               | the text is empty
    ... ?!                             | no letter or digit: there is nothing to say
    🙂🎉                                 | no letter or digit: there is nothing to say
    --text_file=none.txt               | --text_file none.txt: No such file
    --text_file=.                      | --text_file .: Is a directory
    --text_file=none.txt x             | a text is given besides
    --output=. x                       | cannot write .: it is a folder
    --output=none/out.wav x            | there is no folder .*none
    --output=out.txt x                 | unknown kind of file '.txt'; name it .wav, .flac, .ogg
    --output=out x                     | unknown kind of file
    --output= x                        | cannot write
    --export_voice=me.wav              | --export_voice me.wav: name a .safetensors file
    --export_voice=none/me.safetensors | name a file in a folder that exists
    --export_voice= x                  | name a .safetensors file
    --model=none.yaml x                | cannot fetch none.yaml: no such file
    --model=. x                        | '.' is not a model
    --model= x                         | '' is not a model
    --model=Englisch x                 | unknown model 'Englisch'; did you mean english
    --model=ftp://host/model.yaml x    | use a path, https://
    --model=http://host/model.yaml x   | use https://
    --voice= x                         | the voice has no name
    --voice=none.wav x                 | cannot fetch none.wav: no such file
    --voice=. x                        | cannot fetch .: it is a folder
    --voice=alba x                     | 'alba' belongs to the released models
    --voice=hf://kyutai x              | hf://owner/repo/path@revision
    """
)
def test_mistakes_in_words(words, said, refuse):
    assert re.search(said, refuse(*words))


def test_mistakes_in_files(refuse, place, files, folder, me):
    sound = tiny_files.speech(1.0)
    soundfile.write("short.wav", sound[:240], 24000)
    soundfile.write("empty.wav", sound[:0], 24000)
    soundfile.write("nan.wav", sound * np.nan, 24000, subtype="FLOAT")
    Path("text.wav").write_text("not audio")
    Path("latin.txt").write_bytes(b"\xe9t\xe9 1")
    Path("blank.txt").write_text(" \n")
    Path("typo.yaml").write_text(files.yaml.read_text().replace("num_heads", "num_head"))
    Path("broken.yaml").write_text("a: [1\nb: {")
    Path("cut.safetensors").write_bytes(files.weights.read_bytes()[:-3])
    wide = files.yaml.read_text().replace("dim: 16", "dim: 24", 1)
    Path("wide.yaml").write_text(wide)
    for name in ("cut", "none"):
        text = files.yaml.read_text().replace(str(files.weights), str(place / name))
        Path(f"{name}.yaml").write_text(text.replace(name, f"{name}.safetensors"))
    for words, problem in {
        ("--voice=short.wav", "x"): "short.wav has only 0.01 s of sound",
        ("--voice=empty.wav", "x"): "empty.wav: it holds no audio",
        ("--voice=nan.wav", "x"): "nan.wav: it holds NaN",
        ("--voice=text.wav", "x"): "text.wav: not readable as audio",
        (f"--voice={files.weights}", "x"): "not a voice for this model",
        ("--voice=cut.safetensors", "x"): "cut.safetensors: the file is cut short",
        ("--text_file=latin.txt",): "latin.txt: not UTF-8 text",
        ("--text_file=blank.txt",): "blank.txt is empty",
        ("--model=typo.yaml", "x"): "typo.yaml: .*num_head: unknown field; did you mean num_heads",
        ("--model=broken.yaml", "x"): "broken.yaml: not valid YAML",
        ("--model=wide.yaml", "x"): "do not fit the model's config",
        ("--model=cut.yaml", "x"): "cut.safetensors: the file is cut short",
        ("--model=none.yaml", "x"): "none.safetensors: no such file",
        (f"--model={files.weights}", "x"): "not a converted model",
        (f"--output={me}", "x"): "would overwrite what is read",
        ("--voice=short.wav", "--output=./short.wav", "x"): "would overwrite what is read",
    }.items():
        assert re.search(problem, refuse(*words)), words
    assert soundfile.info(me).frames == 1.3 * 16000


def test_mistakes_on_standard_input(refuse, monkeypatch):
    for payload, problem in {b"": "empty", b" \n": "empty", b"\xff\xfe": "not UTF-8"}.items():
        piped(monkeypatch, payload)
        assert f"standard input{' is' if problem == 'empty' else ':'} {problem}" in refuse("-")


def test_interrupted_before_it_spoke(run, place, monkeypatch):
    def press(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ptts_jax.TTS, "stream", press)
    assert run("--quiet", "Hello.") == (130, "", "")
    assert run("Hello.") == (130, "", "interrupted\n")
    monkeypatch.setattr(ptts_jax, "load", press)
    assert run("Hello.") == (130, "", "interrupted\n")
    assert not list(place.iterdir())


def test_a_failure_while_speaking_leaves_nothing(run, place, monkeypatch):
    def stream(*_, **__):
        yield np.zeros(1920, np.float32)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ptts_jax.TTS, "stream", stream)
    code, out, err = run("Hello.")
    assert code == 1 and re.search("^error: .*No space left on device", err, re.M)
    assert not list(place.iterdir())
