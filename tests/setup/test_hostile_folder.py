"""Root works in a folder of the service's user, who leaves links there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_sync.errors import UserMistake
from cdc_sync.setup.host import Host
from cdc_sync.setup.service import Service, install
from tests.support.bench import Bench
from tests.support.sandbox import Sandbox, running_sandbox

SERVICE = 65534
ENDS = ("", "-wal", "-shm", "-journal", ".lock")
COMMANDS = ("once", "status", "check")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led astray")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder of the service's user."""
    made = tmp_path / "state"
    made.mkdir(mode=0o750)
    os.chown(made, SERVICE, SERVICE)
    return made


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that only root may read."""
    file = tmp_path / "shadow"
    file.write_text("root's")
    file.chmod(0o600)
    return file


def link(place: Path, target: Path, *, hard: bool) -> None:
    if hard:
        place.hardlink_to(target)
    else:
        place.symlink_to(target)
        os.chown(place, SERVICE, SERVICE, follow_symlinks=False)


def is_untouched(victim: Path) -> bool:
    found = victim.stat()
    return (victim.read_text(), found.st_uid, found.st_mode & 0o777) == ("root's", 0, 0o600)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(
    "name",
    [*(f"state.db{end}" for end in ENDS), "token.json", "token.json.lock", "token.json.new"],
)
def test_no_command_of_root_follows_a_link(folder, victim, tmp_path, sandbox, name, hard):
    bench = Bench.with_contracts(
        tmp_path, sandbox, state={"url": f"sqlite:///{folder / 'state.db'}"}
    )
    for command in COMMANDS:
        (folder / name).unlink(missing_ok=True)
        link(folder / name, victim, hard=hard)
        ran = bench.run(*command.split())

        assert is_untouched(victim), command
        assert "Traceback" not in ran.err


@pytest.mark.parametrize("name", ["state.db", "state.db.lock", "token.json.lock", "token.json.new"])
def test_no_command_of_root_makes_a_file_where_a_link_leads(folder, tmp_path, sandbox, name):
    link(folder / name, tmp_path / "made", hard=False)
    bench = Bench.with_contracts(
        tmp_path, sandbox, state={"url": f"sqlite:///{folder / 'state.db'}"}
    )
    for command in COMMANDS:
        bench.run(*command.split())

    assert not (tmp_path / "made").exists()


def test_a_state_folder_that_is_a_link_of_another_user_is_refused(folder, tmp_path, sandbox):
    (tmp_path / "roots").mkdir()
    link(folder / "crm", tmp_path / "roots", hard=False)
    bench = Bench.with_contracts(
        tmp_path, sandbox, state={"url": f"sqlite:///{folder / 'crm' / 'state.db'}"}
    )
    ran = bench.run("status")

    assert ran.code == 1
    assert "crm is a link" in ran.err
    assert not list((tmp_path / "roots").iterdir())


def test_what_root_makes_is_the_owners_of_the_folder(folder, tmp_path, sandbox):
    bench = Bench.with_contracts(
        tmp_path, sandbox, state={"url": f"sqlite:///{folder / 'state.db'}"}
    )
    bench.run("once")

    made = list(folder.iterdir())
    assert {"state.db", "state.db.lock", "token.json"} <= {file.name for file in made}
    assert {file.stat().st_uid for file in made} == {SERVICE}


def test_an_install_gives_away_no_folder_and_no_file_that_a_link_leads_to(image, victim):
    steps = install(Service("crm"), Host(image), Path("/opt/cdc-sync/bin/cdc-sync"))
    list(steps)
    state = image / "var/lib/cdc-sync/crm"
    for number, hard in enumerate((False, True)):
        link(state / f"{number}", victim, hard=hard)
    list(install(Service("crm"), Host(image), Path("/opt/cdc-sync/bin/cdc-sync")))
    assert is_untouched(victim)

    for file in state.iterdir():
        file.unlink()
    state.rmdir()
    link(state, victim.parent, hard=False)
    with pytest.raises(UserMistake, match="is a link"):
        list(install(Service("crm"), Host(image), Path("/opt/cdc-sync/bin/cdc-sync")))
    assert victim.parent.stat().st_uid == 0
    assert is_untouched(victim)
