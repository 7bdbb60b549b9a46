"""The house: imports point one way, no file is long, and every folder is a package."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import HERE, SLOW

ROOT = Path(__file__).parents[1]
LONGEST = 350  # lines
FOLDERS = ("int8", "convert", "ptts_jax", "tests")  # with files of ours
DEFINED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# From the ground up. A room imports itself and what stands before it in this list.
ROOMS = (
    "int8",
    "convert",
    "ptts_jax.messages",
    "ptts_jax.model",
    "ptts_jax.store",
    "ptts_jax.bundled",
    "ptts_jax.audio",
    "ptts_jax.text",
    "ptts_jax.engine",
    "ptts_jax.command",
    "ptts_jax.tts",
    "ptts_jax.speech_flags",
    "ptts_jax.speak",
    "ptts_jax.bulk",
    "ptts_jax.book",
    "ptts_jax.compat",
    "ptts_jax.server",
    "ptts_jax.serve",
    "ptts_jax.server.ray_app",
    "ptts_jax.mcp",
    "ptts_jax.bench",
    "ptts_jax.train",
    "ptts_jax.cli",
    "convert.__main__",
    "int8.__main__",
)


def modules(*packages: str) -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in packages
        for path in sorted((ROOT / package).rglob("*.py"))
    }


MODULES = modules("int8", "convert", "ptts_jax")


def room(module: str) -> str | None:
    """The room that a module stands in; None for the package itself, which imports by name."""
    inside = [r for r in ROOMS if module == r or module.startswith(f"{r}.")]
    return max(inside, key=len, default=None)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import in a file, those inside functions among them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in full]
        for name in names:
            if name in MODULES:
                yield node.lineno, name


def test_every_module_has_a_room():
    homeless = [name for name in MODULES if room(name) is None and name != "ptts_jax"]
    assert homeless == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    own = room(module)
    if own is None:
        return
    allowed = ROOMS[: ROOMS.index(own) + 1]
    upward = [
        f"line {line}: {name}"
        for line, name in imports(MODULES[module])
        if room(name) is not None and room(name) not in allowed
    ]
    assert upward == [], f"{module} imports what stands above it"


def named(path: Path) -> set[str]:
    """The names that a file defines or imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {n.name for n in nodes if isinstance(n, DEFINED)}
    names |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    aliases = (a for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names)
    return names | {alias.asname or alias.name for alias in aliases}


def test_what_is_imported_from_our_own_files_is_there():
    """In those too that no test imports: scripts, and tests that need what is not installed."""
    files = MODULES | modules("tests")
    there = {module: named(path) for module, path in files.items()}
    missing = [
        f"{module}: {node.module}.{alias.name}"
        for module, path in files.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in files
        for alias in node.names
        if alias.name not in there[node.module] and f"{node.module}.{alias.name}" not in files
    ]
    assert missing == []


def test_no_two_modules_import_each_other():
    graph = {name: {target for _, target in imports(path)} for name, path in MODULES.items()}
    del graph["ptts_jax"]
    while graph:  # take away what imports nothing that is left
        free = [name for name, targets in graph.items() if not targets & (graph.keys() - {name})]
        assert free, f"these import each other in a circle: {sorted(graph)}"
        for name in free:
            del graph[name]


def test_no_file_is_long():
    files = [p for p in ROOT.rglob("*") if p.suffix in (".py", ".h", ".inc", ".cc")]
    ours = [p for p in files if p.relative_to(ROOT).parts[0] in FOLDERS]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in ours}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_the_files_of_slow_tests_exist():
    assert [name for name in SLOW if not (HERE / f"{name}.py").is_file()] == []


def test_what_is_no_python_is_declared_and_so_installed():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    installed = {
        path
        for package, patterns in declared["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    files = (p for top in ("int8", "convert", "ptts_jax") for p in (ROOT / top).rglob("*"))
    ours = {p for p in files if p.is_file() and "__pycache__" not in p.parts}
    notes = {p for p in ours if p.suffix in (".md", ".sh")}  # for whoever reads the source
    missing = {p for p in ours - installed - notes if p.suffix != ".py"}
    assert sorted(str(p.relative_to(ROOT)) for p in missing) == []
