import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from cdc_sync import __version__

ROOT = Path(__file__).resolve().parents[2]
DATA = f"cdc_sync-{__version__}.data/data/share/cdc-sync"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel_names(built: Path) -> set[str]:
    (wheel,) = built.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_migrations(wheel_names: set[str]):
    expected = {p.relative_to(ROOT) for p in (ROOT / "migrations").rglob("*.py")}

    assert {f"cdc_sync/{path.as_posix()}" for path in expected} <= wheel_names
    assert "cdc_sync/migrations/script.py.mako" in wheel_names


def test_the_wheel_holds_the_page_of_the_sandbox(wheel_names: set[str]):
    assets = (ROOT / "cdc_sync" / "sandbox" / "assets").iterdir()

    assert {f"cdc_sync/sandbox/assets/{asset.name}" for asset in assets} <= wheel_names


def test_the_wheel_holds_the_status_page(wheel_names: set[str]):
    web = ROOT / "cdc_sync" / "web"
    files = [p for name in ("assets", "templates") for p in (web / name).rglob("*") if p.is_file()]

    assert {p.relative_to(ROOT).as_posix() for p in files} <= wheel_names


def test_the_wheel_says_that_it_is_typed(wheel_names: set[str]):
    assert "cdc_sync/py.typed" in wheel_names


def test_the_wheel_brings_the_example_and_the_units(wheel_names: set[str]):
    units = {f"{DATA}/systemd/{unit.name}" for unit in (ROOT / "systemd").iterdir()}

    assert {f"{DATA}/config.yaml", *units} <= wheel_names


def test_the_wheel_holds_no_test(wheel_names: set[str]):
    assert not [name for name in wheel_names if name.startswith(("tests/", "bench/"))]


def test_the_sdist_is_enough_to_build_from(built: Path):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}

    assert {"pyproject.toml", "README.md", "LICENSE", "config.yaml", "migrations/env.py"} <= names
