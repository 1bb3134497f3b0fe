"""The units under a real systemd, with every option of theirs in force."""

import re
from collections.abc import Callable

import pytest

from tests.support.sandbox import Sandbox
from tests.support.service import COMMAND, Service, owner
from tests.support.systemd import Lab
from tests.support.wait import wait_until

Serve = Callable[..., Service]

STATUS = re.compile(r"synced 3, rejected 1; last poll \d+ s ago; lag \d+ s")

# A worker that hangs when a file is there, in a program that else is the command.
HANGING = """#!/opt/cdc-sync/bin/python
import threading
from pathlib import Path
from cdc_sync.capture import loop
from cdc_sync.cli.app import main
from cdc_sync.daemon import daemon

polls = loop.poll

def poll(capture, stop, progress):
    if Path("/opt/source/hang").exists():
        threading.Event().wait()
    return polls(capture, stop, progress)

loop.poll, daemon.HUNG_AFTER_SECONDS = poll, 1.0
main()
"""


def delivered(sandbox: Sandbox, plan: str) -> bool:
    return {one["description"] for one in sandbox.contracts().values()} == {plan}


def in_process(service: Service, field: str) -> str:
    """One line of /proc/PID/status of the daemon."""
    text = service.lab.path(f"/proc/{service.shows('MainPID')}/status").read_text()
    found = re.search(rf"^{field}:\s*(\S+)", text, re.MULTILINE)
    return found[1] if found else ""


@pytest.mark.parametrize("name", [None, "crm"])
def test_it_syncs_confined_with_its_secret_from_systemd(
    serve: Serve, sandbox: Sandbox, name: str | None
):
    service = serve(name)
    service.change("Silver")
    wait_until(lambda: delivered(sandbox, "Silver"), "a change is delivered")

    wait_until(lambda: STATUS.fullmatch(service.shows("StatusText")), "its status line is there")
    assert (in_process(service, "NoNewPrivs"), in_process(service, "Seccomp")) == ("1", "2")
    assert in_process(service, "CapBnd") == "0" * 16
    assert in_process(service, "Uid") == service.lab.run("id", "-u", "cdc-sync").stdout.strip()


def test_commands_run_by_root_leave_its_files_to_it(serve: Serve):
    service = serve("beside")

    status = service.cdc_sync("status")
    once = service.cdc_sync("once")

    assert "4 rows = 3 synced" in status
    assert "rejected" in once
    folder = service.lab.path(service.state).parent
    assert {owner(path) for path in (folder, *folder.iterdir())} == {owner(folder)} != {0}


def test_a_reload_changes_what_may_change_and_refuses_what_is_wrong(serve: Serve, sandbox: Sandbox):
    service = serve("reload")
    pid = service.shows("MainPID")

    service.edit(schedule={"poll": "2s"}, mapping={"account": "plan"})
    assert service.lab.systemctl("reload", service.unit).returncode == 0
    wait_until(lambda: "config.reloaded" in service.log(), "the configuration is read again")
    wait_until(lambda: "config.needs_restart" in service.log(), "the other key is told")
    assert '"changed": ["schedule.poll"]' in service.log()
    assert '"keys": ["mapping.account"]' in service.log()

    service.edit(schedule={"pol": "2s"})
    assert service.lab.systemctl("reload", service.unit).returncode == 0
    wait_until(lambda: "config.refused" in service.log(), "a wrong configuration is refused")
    wait_until(lambda: "is wrong" in service.shows("StatusText"), "the status line says so")
    service.change("Bronze")
    wait_until(lambda: delivered(sandbox, "Bronze"), "the old one goes on")
    assert (service.shows("MainPID"), service.shows("ActiveState")) == (pid, "active")


def test_a_killed_daemon_is_restarted_and_goes_on(serve: Serve, sandbox: Sandbox):
    service = serve("killed")

    service.lab.systemctl("kill", "-s", "KILL", service.unit)
    service.change("Gold plus")

    wait_until(lambda: service.shows("NRestarts") == "1", "it is restarted")
    wait_until(lambda: delivered(sandbox, "Gold plus"), "the change is delivered")
    assert "ended: signal" in service.log()


def test_a_hung_worker_is_ended_by_the_watchdog(serve: Serve, lab: Lab, sandbox: Sandbox):
    program = lab.path(f"{COMMAND}-hanging")
    program.write_text(HANGING)
    program.chmod(0o755)
    start = f"{COMMAND}-hanging --config /etc/cdc-sync/hung.yaml run"
    service = serve("hung", "WatchdogSec=3", "ExecStart=", f"ExecStart={start}")
    hang = lab.path("/opt/source/hang")

    hang.touch()
    wait_until(lambda: "ended: watchdog" in service.log(), "the watchdog ends it", 30)
    hang.unlink()

    service.change("Silver")
    wait_until(lambda: delivered(sandbox, "Silver"), "the next one goes on", 30)
    assert service.shows("ActiveState") == "active"


def test_it_stops_in_time_while_the_api_hangs(serve: Serve, sandbox: Sandbox):
    service = serve("stopped")
    sandbox.strike("hang")
    service.change("Silver")
    wait_until(lambda: service.counts().get("pending"), "something is on its way")

    stopped = service.lab.systemctl("stop", service.unit)

    assert stopped.returncode == 0
    assert "ended: success" in service.log()
    assert "ended: timeout" not in service.log()
    assert service.shows("Result") == "success"


def test_a_wrong_configuration_is_reported_and_not_retried_for_ever(prepare: Serve):
    service = prepare("wrong")
    service.edit(schedule={"pol": "2s"})

    started = service.lab.systemctl("start", service.unit)

    assert started.returncode != 0
    assert "`schedule.poll`" in service.log()
    assert service.shows("ExecMainStatus") == "2"
    assert (service.shows("ActiveState"), service.shows("NRestarts")) == ("failed", "0")


def test_an_unavailable_source_shows_in_the_status_line(serve: Serve, sandbox: Sandbox):
    service = serve("away")
    source = service.lab.path(f"/opt/source/{service.unit}/source.db")
    source.rename(source.with_name("gone.db"))

    service.lab.systemctl("restart", service.unit)

    wait_until(lambda: "source.db" in service.shows("StatusText"), "the source is named")
    assert service.shows("ActiveState") == "active"


def test_it_gets_the_proxy_of_the_shell_that_installed_it(serve: Serve):
    service = serve(None)
    proxy = """http://anna:p"a$s%20'w@proxy.example.com:3128"""
    installed = service.lab.run("env", "-i", f"HTTPS_PROXY={proxy}", COMMAND, "service", "install")
    service.lab.systemctl("restart", service.unit)

    pid = service.shows("MainPID")
    environment = service.lab.run("cat", f"/proc/{pid}/environ").stdout.split("\0")
    assert "HTTPS_PROXY of this shell" in installed.stdout
    assert [line for line in environment if "PROXY" in line] == [f"HTTPS_PROXY={proxy}"]
    assert "anna" not in service.lab.systemctl("show", service.unit).stdout
    assert "anna" not in service.lab.systemctl("cat", service.unit).stdout


def test_uninstall_stops_it_and_removes_the_unit_but_not_the_state(serve: Serve):
    service = serve(None)
    service.lab.systemctl("enable", service.unit)

    again = service.install()
    said = service.install("uninstall")

    assert "Next: systemctl restart cdc-sync\n" in again
    assert "cdc-sync.service (removed)" in said
    assert "/var/lib/cdc-sync (kept" in said
    assert service.shows("ActiveState") == "inactive"
    assert service.lab.path(service.config).exists()
    assert service.lab.path(service.state).exists()
    assert not list(service.lab.path("/etc/systemd/system").glob("*.wants/*"))
