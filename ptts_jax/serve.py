"""python -m ptts_jax.serve: a local web server that speaks to many listeners at once.

Flags and messages; the server is in ptts_jax/server, the work is done by the engine.
"""

import contextlib
import importlib.util
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from absl import flags

import ptts_jax
from ptts_jax import bundled, command
from ptts_jax.engine import startup
from ptts_jax.messages import say
from ptts_jax.model import released
from ptts_jax.server import logs
from ptts_jax.store import quantization
from ptts_jax.store.hub import HubError
from ptts_jax.store.sources import is_name

if TYPE_CHECKING:
    from ptts_jax.server.models import Models
    from ptts_jax.tts import TTS

USAGE = """Serve speech to this machine: python -m ptts_jax.serve [FLAGS]

http://HOST:PORT/v1/audio/speech is the endpoint that clients of OpenAI know; /tts takes a form,
as the original has it; /v1/audio/speech/stream is a websocket for text that arrives piece by piece.
"""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LEVELS = ("debug", "info", "warning", "error")


def _define(values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, help: str) -> None:
        flags.DEFINE_string(name, default, help, flag_values=values)

    def whole(name: str, default: int, help: str, least: int, most: int) -> None:
        flags.DEFINE_integer(name, default, help, least, most, flag_values=values)

    text("host", "127.0.0.1", "the address to listen on; any but this machine's needs --api_key")
    whole("port", 8000, "the port; 0 takes a free one", 0, 65535)
    flags.DEFINE_multi_string(
        "model",
        [released.names()[0]],
        "a released model, bundled, a YAML path, or a converted file; if given more than once, or "
        "with commas, requests choose, and the others are loaded when one asks for them",
        flag_values=values,
    )
    text("idle_unload", None, "seconds after which a model that nobody uses is unloaded")
    text("max_memory", None, "megabytes that the models' weights may take together")
    flags.DEFINE_bool("int8", True, "8-bit weights: quicker, and half the memory", values)
    text("voices", None, "a folder of voices, to which clients may add theirs")
    text("slots", "8", "requests that are spoken side by side: 1, 2, 4 or 8")
    whole("waiting", 64, "requests that may wait", 1, 10_000)
    text("threads", None, "processors to use; all if not given")
    text("api_key", None, "what clients must know; or set PTTS_API_KEY")
    whole("max_text", 4096, "characters of a request", 1, 1_000_000)
    whole("drain", 30, "seconds that running requests have to end", 0, 3600)
    flags.DEFINE_bool(
        "allow_voice_urls", False, "clients may name voices by https addresses", values
    )
    text("wyoming", None, "a port, or tcp://HOST:PORT, for Home Assistant; it knows no keys")
    flags.DEFINE_enum("log_level", "info", LEVELS, "what is logged", flag_values=values)
    flags.DEFINE_enum("log_format", "plain", logs.FORMATS, "lines, or JSON", flag_values=values)


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv)


def _run(options: flags.FlagValues, _: list[str]) -> int:
    api_key = options.api_key or os.environ.get("PTTS_API_KEY") or None
    if options.host not in LOOPBACK and api_key is None:
        raise ValueError(f"--host {options.host}: others can reach it, so give an --api_key")
    if options.slots not in ("1", "2", "4", "8"):
        raise ValueError(f"--slots {options.slots}: give 1, 2, 4 or 8")
    sources = _sources(options.model)
    idle = _number("idle_unload", options.idle_unload)
    most = _number("max_memory", options.max_memory)
    folder = voices_folder(options.voices)
    _limit_threads(options.threads)
    logs.start(options.log_level, options.log_format)
    try:
        from ptts_jax.server.context import Context
        from ptts_jax.server.run import process
    except ImportError as error:
        words = f"{error.name} is not installed; run pip install 'ptts_jax[serve]'"
        raise ValueError(f"the server needs more packages: {words}") from None
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(options.host, options.port))
        wyoming = _wyoming(options.wyoming)
        if wyoming is not None:
            stack.enter_context(wyoming)
        startup.use_one_heap()
        ptts_jax.use_compilation_cache()
        models = _models(options, sources, folder, idle, most)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        say(f"{models.names[0]}: http://{shown}:{port} (ready when /ready says so)")
        if wyoming is not None:
            say("Wyoming: tcp://{}:{}".format(*wyoming.getsockname()))
        server = Context(
            models,
            api_key=api_key,
            max_text=options.max_text,
            wyoming=wyoming,
            hosts=LOOPBACK if options.host in LOOPBACK else None,
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn ends its work, then raises it
            process(server, options.drain).run(sockets=[listener])
    say("ended")
    return 0


def load_model(model: str, int8: bool) -> "TTS":
    """The model; without the network the one in the package, and a line that says so."""
    quantise = int8 and quantization.parse(True) or None
    try:
        return ptts_jax.load(model, int8=None if _converted(model) else quantise)
    except HubError as error:
        if error.reason != "unreachable" or not bundled.available():
            raise
        say(f"{error}: serving the bundled model instead")
        return ptts_jax.load(bundled.NAME)


def _models(
    options: flags.FlagValues,
    sources: list[str],
    folder: Path | None,
    idle: float | None,
    most: float | None,
) -> "Models":
    """The models of the server; the first is loaded, so that what is wrong with it is said now."""
    from ptts_jax.engine.service import Engine
    from ptts_jax.server.models import Loaded, Models
    from ptts_jax.server.voices import Voices

    first = load_model(sources[0], options.int8)
    names, early = [first.name, *map(_name, sources[1:])], {first.name: first}
    if len(set(names)) < len(names):
        raise ValueError(f"--model {','.join(sources)}: two models have the same name")
    del first  # it must go from memory when it is unloaded

    def load(name: str) -> Loaded:
        tts = early.pop(name, None)
        loaded_before = tts is not None
        if tts is None:
            tts = load_model(sources[names.index(name)], options.int8)
        engine = Engine(tts, int(options.slots), options.waiting, words=True)
        loaded = Loaded(engine, Voices(tts, folder, options.allow_voice_urls))
        if not loaded_before:  # somebody waits: what they don't need is compiled meanwhile
            threading.Thread(target=loaded.warm, daemon=True).start()
        return loaded

    models = Models(names, load, idle, None if most is None else int(most * 1e6))
    with models.lent(names[0]):
        return models


def _sources(given: list[str]) -> list[str]:
    """The models by what they were asked for, checked as far as that goes without loading."""
    sources = [s for some in given for s in ([some] if Path(some).exists() else some.split(","))]
    for source in sources:
        if source in (bundled.NAME, *released.names()):
            continue
        if is_name(source):
            released.check_model(source)
        elif not source or (
            "://" not in source and not is_name(source) and not Path(source).is_file()
        ):
            raise ValueError(f"--model {source}: there is no such file")
    return sources


def _name(source: str) -> str:
    """What clients call a model."""
    return Path(source).stem if Path(source).suffix else source


def _number(flag: str, given: str | None) -> float | None:
    try:
        number = None if given is None else float(given)
    except ValueError:
        number = -1.0
    if number is not None and not 0 < number < 1e9:
        raise ValueError(f"--{flag} {given}: give a number above 0")
    return number


def _converted(model: str) -> bool:
    """Whether a model's own file says how it is quantised."""
    return model == bundled.NAME or Path(model).suffix == ".safetensors"


def voices_folder(voices: str | None) -> Path | None:
    if voices is None:
        return None
    folder = Path(voices).expanduser()
    if not folder.is_dir():
        raise ValueError(f"--voices {voices}: there is no such folder; create it first")
    return folder


def _limit_threads(threads: str | None) -> None:
    """The first so many of the processors that this process may use. JAX counts them at start."""
    if threads is None:
        return
    if not threads.isdecimal() or int(threads) < 1:
        raise ValueError(f"--threads {threads}: give a whole number from 1 up")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])


def _wyoming(given: str | None) -> socket.socket | None:
    """Where Home Assistant is answered; a port alone is one of this machine."""
    if given is None:
        return None
    try:
        place = urlsplit(f"tcp://127.0.0.1:{given}" if given.isdecimal() else given)
        host, port = place.hostname, place.port
    except ValueError:
        host = port = None
    if not host or port is None or place.scheme != "tcp":
        raise ValueError(f"--wyoming {given}: give a port, or tcp://HOST:PORT")
    if importlib.util.find_spec("wyoming") is None:
        raise ValueError("--wyoming: run pip install 'ptts_jax[wyoming]'")
    return _listen(host, port)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # from here on it is ours, and whoever calls waits
        return listener
    except OSError as error:
        fix = "is another server running? give another --port"
        raise ValueError(f"cannot listen on {host}:{port}: {error.strerror}; {fix}") from None


if __name__ == "__main__":
    command.start(main)
