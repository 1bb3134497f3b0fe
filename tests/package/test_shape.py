import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES = 600
FUNCTION_LINES = 60
TEXTS = (".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".service", ".sysusers", ".css", ".js")
# Hosts of a private network, and home folders: nothing of whoever wrote this belongs in it.
PRIVATE = re.compile(
    r"\b(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b"
    r"|\b[\w-]+\.(?:internal|intranet|corp|lan)\b"
    r"|(?:/root|/home/\w+)/"
)
MADE = {"dist", "build", "demo", "__pycache__"}

pytestmark = pytest.mark.quick


def _modules() -> list[Path]:
    return sorted([*(ROOT / "cdc_sync").rglob("*.py"), *(ROOT / "migrations").rglob("*.py")])


def _functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _texts() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") or part.endswith(".egg-info") for part in parts[:-1])
        made = parts[0] in MADE or "__pycache__" in parts
        wanted = path.suffix in TEXTS or path.name in {"Makefile", "run"}
        if path.is_file() and wanted and not made and (not hidden or parts[0] == ".ci"):
            yield path


def test_a_module_is_read_in_one_sitting():
    sizes = {m.relative_to(ROOT).as_posix(): len(m.read_text().splitlines()) for m in _modules()}

    assert {name: lines for name, lines in sizes.items() if lines > MODULE_LINES} == {}


def test_a_function_fits_a_screen():
    too_long = [
        f"{module.relative_to(ROOT)}: {function.name}"
        for module in _modules()
        for function in _functions(module)
        if function.end_lineno and function.end_lineno - function.lineno >= FUNCTION_LINES
    ]

    assert too_long == []


def test_a_module_opens_with_what_it_promises():
    silent = [m for m in _modules() if not ast.get_docstring(ast.parse(m.read_text()))]

    assert silent == []


def test_nothing_names_a_private_host_or_somebodys_home():
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in _texts()
        for match in PRIVATE.finditer(path.read_text())
    ]

    assert found == []


def test_pins_come_without_addresses():
    pins = (ROOT / "tests" / "requirements.txt").read_text().splitlines()

    assert [p for p in pins if not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", p)] == []
