import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = ("cdc-sync.service", "cdc-sync@.service")
# An instance has its secrets by their files' names, too.
BY_FILE = re.compile(r"(?:Load|Set)Credential=%i\.|# Under their files' names")
THRESHOLD = 12  # of an exposure from 0 to 100: the network is needed, and little else


@pytest.fixture(autouse=True)
def systemd_analyze() -> None:
    if shutil.which("systemd-analyze") is None and not os.environ.get("CI"):
        pytest.skip("systemd-analyze is not here; CI installs it")


def _runnable(name: str, folder: Path) -> Path:
    """The unit with a program that exists here; of a template one instance."""
    text = (ROOT / "systemd" / name).read_text()
    unit = folder / name.replace("@.", "@erp.")
    unit.write_text(text.replace("ExecStart=/opt/cdc-sync/bin/cdc-sync ", "ExecStart=/bin/true "))
    return unit


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_the_unit(name: str, tmp_path: Path):
    unit = _runnable(name, tmp_path)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )

    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, complaints) == (0, [])


@pytest.mark.parametrize("name", UNITS)
def test_the_service_is_confined_to_what_it_needs(name: str, tmp_path: Path):
    unit = _runnable(name, tmp_path)

    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--threshold={THRESHOLD}", unit],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_the_page_cannot_take_the_files_that_delivery_needs(name: str):
    assert "\nLimitNOFILE=65536\n" in (ROOT / "systemd" / name).read_text()


def test_an_instance_differs_from_the_single_service_in_its_paths_alone():
    single, instance = ((ROOT / "systemd" / name).read_text() for name in UNITS)

    both = [line for line in instance.splitlines(keepends=True) if not BY_FILE.match(line)]
    named = "".join(both).replace("/etc/cdc-sync/%i.yaml", "/etc/cdc-sync/config.yaml")
    named = named.replace("/etc/cdc-sync/%i.", "/etc/cdc-sync/").replace(
        "=cdc-sync/%i", "=cdc-sync"
    )
    assert named.replace("=cdc-sync %i:", "=cdc-sync:") == single


def test_a_mistake_in_the_configuration_is_not_restarted_for_ever():
    from cdc_sync.errors import ConfigMistake

    for name in UNITS:
        unit = (ROOT / "systemd" / name).read_text()
        assert f"RestartPreventExitStatus={ConfigMistake.exit_code}\n" in unit
