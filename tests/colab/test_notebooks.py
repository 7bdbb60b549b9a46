"""How every notebook begins: its badge, and a first cell that works in a checkout and alone.

Nothing is installed here: pip has a stand-in. The cells are run whole, top to bottom and with the
real pip, by `tests.readme`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests import make_first_cells
from tests.make_first_cells import ROOT

NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
ADDRESS = make_first_cells.address()
TEXTS = {".py", ".md", ".toml", ".ipynb", ".sh", ".yaml", ".yml", ".html", ".js", ".json", ""}
PACKAGES = {"CPU": "jax", "GPU": "jax[cuda12]", "TPU": "jax[tpu]"}

# It tells what it was asked to install, and with what status it ends.
PIP = """
import json, os, sys
print(json.dumps(sys.argv[1:]))
print("password:", os.environ["GIT_TERMINAL_PROMPT"])
sys.exit(int(os.environ["STATUS_OF_PIP"]))
"""
# It computes on what $THERE names. As the real one does, it passes over a GPU that is missing, and
# refuses to go on without a TPU.
JAX = """
import os
from types import SimpleNamespace
config = SimpleNamespace(jax_platforms=os.environ.get("JAX_PLATFORMS"))
def default_backend():
    first = config.jax_platforms.split(",")[0].replace("cuda", "gpu")
    if first == "tpu" and first not in os.environ["THERE"]:
        raise RuntimeError("no libtpu.so")
    return first if first in os.environ["THERE"] else "cpu"
def devices():
    return [default_backend() + ":0"]
"""
AFTER = """
import os, sys
print("chosen:", os.environ["JAX_PLATFORMS"], "jax" in sys.modules)
"""

every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def cells(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text())["cells"]


def first_cell(notebook: Path, device: str = "CPU") -> str:
    """The first cell of code, as if somebody had chosen a device."""
    code = next(c for c in cells(notebook) if c["cell_type"] == "code")
    before, line, after = "".join(code["source"]).partition('\nDEVICE = "CPU"  # @param ')
    assert line, "the choice is not where Colab finds it"
    return f'{before}\nDEVICE = "{device}"  # @param {after}'


def run(
    code: str, here: Path, standins: Path, there: str = "cpu", status: int = 0
) -> subprocess.CompletedProcess:
    """Code in a process of its own, in the folder `here`, with the stand-ins for pip and JAX."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    environment |= {"PYTHONPATH": str(standins), "THERE": there, "STATUS_OF_PIP": str(status)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)


def asked(done: subprocess.CompletedProcess) -> list[str]:
    """What pip was asked to install."""
    assert done.returncode == 0, done.stderr
    install, quiet, *what = json.loads(done.stdout.splitlines()[0])
    assert (install, quiet) == ("install", "-q")
    return what


def refused(done: subprocess.CompletedProcess) -> str:
    """The one line that a cell ends with."""
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def standins(tmp_path) -> Path:
    folder = tmp_path / "standins"
    (folder / "pip").mkdir(parents=True)
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(PIP)
    (folder / "jax.py").write_text(JAX)
    return folder


@pytest.fixture
def alone(tmp_path) -> Path:
    """A folder that is in no checkout."""
    (folder := tmp_path / "content").mkdir()
    return folder


@every_notebook
def test_the_badge_opens_this_notebook(notebook):
    first = cells(notebook)[0]
    assert first["cell_type"] == "markdown"
    badge, space, title = "".join(first["source"]).split("\n")[:3]
    icon, opened = re.fullmatch(r"\[!\[Open in Colab\]\((\S+)\)\]\((\S+)\)", badge).groups()
    assert icon == "https://colab.research.google.com/assets/colab-badge.svg"
    assert space == "" and title.startswith("# ")
    repository = ADDRESS.removeprefix("https://github.com/")
    path = notebook.relative_to(ROOT).as_posix()
    assert opened == f"https://colab.research.google.com/github/{repository}/blob/main/{path}"


def test_only_one_file_that_people_edit_has_the_address():
    tops = (".ci", "colab", "convert", "int8", "ptts_jax", "tests")
    files = [p for top in tops for p in (ROOT / top).rglob("*")] + list(ROOT.iterdir())
    holders = {
        p.relative_to(ROOT).as_posix()
        for p in files
        if p.is_file() and p.suffix in TEXTS and ADDRESS in p.read_text(errors="ignore")
    }
    made = {p.relative_to(ROOT).as_posix() for p in NOTEBOOKS}
    assert holders == {"pyproject.toml"} | made


def test_the_first_cells_are_those_of_the_command(tmp_path):
    copies = [Path(shutil.copy(path, tmp_path)) for path in NOTEBOOKS]
    make_first_cells.main(tmp_path, ADDRESS)
    for path, copy in zip(NOTEBOOKS, copies, strict=True):
        assert copy.read_text() == path.read_text(), "run python -m tests.make_first_cells"


def test_another_address_goes_everywhere_and_nothing_else_changes(tmp_path):
    copies = [Path(shutil.copy(path, tmp_path)) for path in NOTEBOOKS]
    make_first_cells.main(tmp_path, "https://github.com/somebody/voices")
    for path, copy in zip(NOTEBOOKS, copies, strict=True):
        assert ADDRESS not in copy.read_text()
        assert copy.read_text().count("somebody/voices") == 2  # the badge and the first cell
        assert cells(copy)[2:] == cells(path)[2:]
    make_first_cells.main(tmp_path, ADDRESS)  # and back
    assert [c.read_text() for c in copies] == [p.read_text() for p in NOTEBOOKS]


def test_colab_opens_what_is_on_github_alone():
    with pytest.raises(ValueError, match=r"^https://else.example/a/b: .*https://github.com/"):
        make_first_cells.badge("speak", "https://else.example/a/b")


@every_notebook
def test_in_a_checkout_it_installs_the_checkout(notebook, standins):
    code = first_cell(notebook) + AFTER
    for here in (notebook.parent, ROOT):
        done = run(code, here, standins)
        package, jax = asked(done)
        assert re.fullmatch(r"ptts_jax(\[\w+\])? @ " + re.escape(ROOT.as_uri()), package)
        assert jax == "jax" and "chosen: cpu False" in done.stdout


@every_notebook
def test_alone_it_installs_from_the_address(notebook, alone, standins):
    done = run(first_cell(notebook) + AFTER, alone, standins)
    package, jax = asked(done)
    assert re.fullmatch(r"ptts_jax(\[\w+\])? @ git\+" + re.escape(ADDRESS), package)
    assert jax == "jax" and "chosen: cpu False" in done.stdout
    assert "password: 0" in done.stdout  # nobody would see the question


@pytest.mark.parametrize(("device", "first"), [("CPU", "cpu"), ("GPU", "cuda"), ("TPU", "tpu")])
def test_the_choice_is_jaxs_before_it_is_imported(device, first, alone, standins):
    done = run(first_cell(NOTEBOOKS[0], device) + AFTER, alone, standins, there="cpu gpu tpu")
    assert asked(done)[1] == PACKAGES[device]
    platforms = "cpu" if device == "CPU" else f"{first},cpu"
    assert f"chosen: {platforms} False" in done.stdout
    assert f"JAX computes on {device.lower()} {device.lower()}:0" in done.stdout


@pytest.mark.parametrize("device", ["GPU", "TPU"])
def test_a_device_that_is_missing_is_one_line(device, alone, standins):
    said = refused(run(first_cell(NOTEBOOKS[0], device), alone, standins))
    assert said.startswith(f"DEVICE '{device}': JAX finds none here; choose another.")
    assert ("no libtpu.so" in said) == (device == "TPU")


def test_a_device_that_nobody_knows_is_one_line(alone, standins):
    said = refused(run(first_cell(NOTEBOOKS[0], "NPU"), alone, standins))
    assert said == "DEVICE 'NPU': choose CPU, GPU or TPU\n"


@pytest.mark.parametrize("where", ["alone", "checkout"])
def test_an_installation_that_fails_is_one_line(where, alone, standins):
    here, source = {"alone": (alone, ADDRESS), "checkout": (ROOT, ROOT.as_uri())}[where]
    said = refused(run(first_cell(NOTEBOOKS[0]), here, standins, status=1))
    assert "could not be installed from" in said and source in said


def test_another_choice_needs_a_restart_and_the_same_one_none(alone, standins):
    again = f"{first_cell(NOTEBOOKS[0])}\nimport jax\n{first_cell(NOTEBOOKS[0])}"
    assert run(again, alone, standins).returncode == 0
    other = f"{first_cell(NOTEBOOKS[0])}\nimport jax\n{first_cell(NOTEBOOKS[0], 'GPU')}"
    assert "restart" in refused(run(other, alone, standins, there="gpu"))


def test_the_real_jax_computes_where_it_shall(alone, standins):
    (standins / "jax.py").unlink()
    after = "\nimport jax, jax.numpy as jnp\nprint(jnp.ones(2).devices())"
    done = run(first_cell(NOTEBOOKS[0]) + after, alone, standins)
    assert asked(done) and "JAX computes on cpu" in done.stdout
    assert "cpu" in done.stdout.splitlines()[-1].lower()


def test_the_extras_that_are_asked_for_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {f"[{name}]" for name in project["optional-dependencies"]}
    assert set(make_first_cells.EXTRAS.values()) <= ours
    assert set(make_first_cells.EXTRAS) <= {path.stem for path in NOTEBOOKS}
    theirs = {f"jax[{name}]" for name in metadata.metadata("jax").get_all("Provides-Extra")}
    assert set(PACKAGES.values()) - {"jax"} <= theirs


@every_notebook
def test_nothing_else_installs_the_package_or_chooses_a_device(notebook):
    _, first, *others = ("".join(c["source"]) for c in cells(notebook))
    assert first_cell(notebook) == first
    for text in others:
        assert not re.search(r"pip install|JAX_PLATFORMS|jax_platforms|device=", text)
