"""python -m tests.make_first_cells: writes the badge and the first code cell of every notebook.

A notebook that stands alone must know where its repository is, so each holds a copy of the address.
pyproject.toml has the only one that anybody edits.
"""

import json
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = {"train": "[train]"}  # of the package, by the name of the notebook that needs them
BRANCH = "main"
ICON = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
FORM = {"cellView": "form"}  # Colab shows the title, the marked lines and the choice

CELL = """\
# @title Install, and choose what computes
# @markdown A GPU or a TPU also needs a machine that has one: Runtime > Change runtime type.
# @markdown int8 has kernels for CPUs alone: on a GPU or a TPU, XLA multiplies the same integers,
# @markdown which are as small there, but need not be faster than floats.
import os
import subprocess
import sys
from pathlib import Path

DEVICE = "CPU"  # @param ["CPU", "GPU", "TPU"]
PACKAGE = "ptts_jax{extras}"
ADDRESS = "{address}"  # asked only where there is no checkout

CHOICES = {{  # what pip installs, and the platforms of JAX, the first of which computes
    "CPU": ("jax", "cpu"),
    "GPU": ("jax[cuda12]", "cuda,cpu"),
    "TPU": ("jax[tpu]", "tpu,cpu"),
}}
if DEVICE not in CHOICES:
    raise SystemExit(f"DEVICE {{DEVICE!r}}: choose CPU, GPU or TPU")
jax_package, platforms = CHOICES[DEVICE]
if "jax" in sys.modules and sys.modules["jax"].config.jax_platforms != platforms:
    raise SystemExit(f"DEVICE {{DEVICE!r}}: JAX is in use; restart, and run this cell first")
os.environ["JAX_PLATFORMS"] = platforms  # JAX reads it when it is imported

folders = (Path.cwd(), *Path.cwd().parents)
parts = ("pyproject.toml", "ptts_jax", "colab")
checkout = next((f for f in folders if all((f / part).exists() for part in parts)), None)
source = checkout.as_uri() if checkout else f"git+{{ADDRESS}}"
install = [sys.executable, "-m", "pip", "install", "-q", f"{{PACKAGE}} @ {{source}}", jax_package]
# Nobody is there whom git could ask for a password.
if subprocess.run(install, env=os.environ | {{"GIT_TERMINAL_PROMPT": "0"}}).returncode:
    raise SystemExit(f"{{PACKAGE}} could not be installed from {{source}}: see what pip says above")

# Looked for in another process, which then leaves the device to what follows.
look = [sys.executable, "-c", "import jax; print(jax.default_backend(), *jax.devices())"]
found = subprocess.run(look, capture_output=True, text=True)
if found.stdout.split()[:1] != [DEVICE.lower()]:
    why = (found.stderr + found.stdout).strip().rpartition("\\n")[2]
    raise SystemExit(f"DEVICE {{DEVICE!r}}: JAX finds none here; choose another. It says: {{why}}")
print("JAX computes on", found.stdout.strip())"""


def address() -> str:
    """Where the repository is, without a slash at the end."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["tool"]["colab"]["repository"].rstrip("/")


def badge(name: str, address: str) -> str:
    """The line of Markdown that opens the notebook colab/NAME.ipynb in Colab."""
    repository = address.removeprefix("https://github.com/")
    if repository == address:
        raise ValueError(f"{address}: Colab opens what is on https://github.com/ alone")
    opener = "https://colab.research.google.com/github"
    return f"{ICON}({opener}/{repository}/blob/{BRANCH}/colab/{name}.ipynb)"


def written(name: str, text: str, address: str) -> str:
    """The text of the notebook NAME with its badge and its first code cell."""
    notebook = json.loads(text)
    title, first = notebook["cells"][:2]
    assert (title["cell_type"], first["cell_type"]) == ("markdown", "code"), name
    said = "".join(title["source"])
    if said.startswith("[!["):
        said = said.partition("\n\n")[2]
    said = f"{badge(name, address)}\n\n{said}"
    code = CELL.format(extras=EXTRAS.get(name, ""), address=address)
    title["source"] = said.splitlines(keepends=True)
    first["source"] = code.splitlines(keepends=True)
    first["metadata"] = FORM
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main(folder: Path, address: str) -> None:
    for path in sorted(folder.glob("*.ipynb")):
        path.write_text(written(path.stem, path.read_text(), address))


if __name__ == "__main__":
    main(ROOT / "colab", address())
