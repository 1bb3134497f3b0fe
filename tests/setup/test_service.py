"""`service install` into the folder of an image, and back."""

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cdc_sync.cli import admin as command
from cdc_sync.config.load import load_config
from cdc_sync.errors import UserMistake
from cdc_sync.setup.host import Host, expect_runnable
from cdc_sync.setup.service import USER, Service, install, uninstall

PROGRAM = Path("/srv/cdc-sync/bin/cdc-sync")
UNIT = "etc/systemd/system/cdc-sync.service"
TEMPLATE = "etc/systemd/system/cdc-sync@.service"


def run_install(image: Path, name: str | None = None, *, dry: bool = False) -> str:
    """Installs, and returns the steps without the texts of files."""
    steps = list(install(Service(name), Host(image, dry), PROGRAM))
    return "\n".join(f"{step.name} {step.message}" for step in steps)


def run_uninstall(image: Path, name: str | None = None, *, dry: bool = False) -> str:
    steps = list(uninstall(Service(name), Host(image, dry)))
    return "\n".join(f"{step.name} {step.message}" for step in steps)


def files(image: Path) -> dict[str, str]:
    """Every file but the users' with its text."""
    found = [path for path in image.rglob("*") if path.is_file()]
    texts = {path.relative_to(image).as_posix(): path.read_text() for path in found}
    return {name: text for name, text in texts.items() if not name.startswith(("etc/g", "etc/.p"))}


def test_it_makes_the_user_the_unit_the_state_and_an_example(image: Path):
    steps = run_install(image)

    ids = Host(image).find_owner(USER)
    config, state = (image / "etc/cdc-sync/config.yaml"), (image / "var/lib/cdc-sync")
    assert ids is not None
    assert "user cdc-sync (created)" in steps
    assert "unit /etc/systemd/system/cdc-sync.service (written)   exposure 1." in steps
    assert (state.stat().st_uid, stat.S_IMODE(state.stat().st_mode)) == (ids.user, 0o750)
    assert (config.stat().st_gid, stat.S_IMODE(config.stat().st_mode)) == (ids.group, 0o640)
    unit = (image / UNIT).read_text()
    assert f"\nExecStart={PROGRAM} --config /etc/cdc-sync/config.yaml run\n" in unit
    assert "/opt/" not in unit


@pytest.mark.parametrize("name", [None, "crm"])
def test_the_example_is_a_configuration_that_reads_the_secrets(image: Path, name: str | None):
    run_install(image, name)
    prefix = "" if name is None else f"{name}."
    credentials = image / "credentials"
    credentials.mkdir()
    (credentials / f"{prefix}client_secret").write_text("hush\n")
    (credentials / f"{prefix}source_password").write_text("p@ss\n")

    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    config = load_config(image / f"etc/cdc-sync/{name or 'config'}.yaml", environ)

    assert config.customergauge.client_secret.get_secret_value() == "hush"
    assert ":p%40ss@" in config.source.url.get_secret_value()
    folder = "/var/lib/cdc-sync" if name is None else "/var/lib/cdc-sync/crm"
    assert config.state.url.get_secret_value() == f"sqlite:///{folder}/state.db"


def test_a_second_install_changes_nothing_and_reports_that(image: Path):
    run_install(image)
    before = files(image)

    steps = run_install(image)

    assert files(image) == before
    assert "user cdc-sync (unchanged)" in steps
    assert "cdc-sync.service (unchanged)" in steps
    assert "state /var/lib/cdc-sync (0750 cdc-sync, unchanged)" in steps
    assert "created" not in steps


def test_a_newer_program_brings_its_unit(image: Path):
    run_install(image)

    steps = list(install(Service(), Host(image), Path("/opt/new/bin/cdc-sync")))

    assert "ExecStart=/opt/new/bin/cdc-sync " in (image / UNIT).read_text()
    assert any(step.message.startswith(f"/{UNIT} (updated)") for step in steps)


def test_a_dry_run_has_the_same_steps_and_writes_nothing(image: Path):
    steps = run_install(image, dry=True)

    assert files(image) == {}
    assert list((image / "etc").iterdir()) == []
    assert [line.split()[0] for line in steps.splitlines()] == [
        "user",
        "config",
        "unit",
        "secrets",
        "state",
    ]


def test_a_configuration_that_is_there_is_kept_and_can_be_read_by_the_service(image: Path):
    config = image / "etc/cdc-sync/config.yaml"
    config.parent.mkdir()
    config.write_text("source: {}\n")
    config.chmod(0o600)

    steps = run_install(image)

    assert config.read_text() == "source: {}\n"
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert "config /etc/cdc-sync/config.yaml (kept; 0640 root:cdc-sync)" in steps


def test_secrets_beside_the_configuration_are_handed_over(image: Path):
    folder = image / "etc/cdc-sync"
    folder.mkdir()
    for name, mode in (("client_secret", 0o600), ("state_password", 0o600), ("notes", 0o644)):
        (folder / name).write_text("x")
        (folder / name).chmod(mode)

    steps = run_install(image)

    dropped_in = (image / "etc/systemd/system/cdc-sync.service.d/credentials.conf").read_text()
    assert "LoadCredential from /etc/cdc-sync/{client_secret,state_password}" in steps
    assert "\nLoadCredential=state_password:/etc/cdc-sync/state_password\n" in dropped_in
    assert "client_secret" not in dropped_in  # the unit itself names it


def test_an_instance_takes_its_own_secrets_and_state(image: Path):
    folder = image / "etc/cdc-sync"
    folder.mkdir()
    for name in ("client_secret", "crm.client_secret", "crm.web_token"):
        (folder / name).touch(0o600)

    steps = run_install(image, "crm")

    dropped_in = image / "etc/systemd/system/cdc-sync@crm.service.d/credentials.conf"
    assert "LoadCredential from /etc/cdc-sync/{crm.client_secret,crm.web_token}" in steps
    assert "LoadCredential=crm.web_token:" in dropped_in.read_text()
    assert (image / "var/lib/cdc-sync/crm").is_dir()
    assert (image / TEMPLATE).is_file()
    assert not (image / UNIT).exists()


def test_a_state_that_root_has_made_before_becomes_the_services_own(image: Path):
    state = image / "var/lib/cdc-sync"
    state.mkdir(parents=True)
    (state / "state.db").touch(0o600)

    run_install(image)

    ids = Host(image).find_owner(USER)
    assert ids is not None
    assert (state / "state.db").stat().st_uid == ids.user


def test_a_state_where_the_service_may_not_write_is_reported(image: Path):
    run_install(image)
    config = image / "etc/cdc-sync/config.yaml"
    text = config.read_text().replace("# state:", "state:")
    text = text.replace("#   url: sqlite:////var/lib/cdc-sync/", "  url: sqlite:////srv/")
    config.write_text(text)

    steps = run_install(image)

    assert "NOTE /srv/state.db is not below /var/lib/cdc-sync" in steps
    assert "change state.url" in steps


def test_the_proxy_of_the_shell_is_handed_over_out_of_sight(image: Path):
    password = 'p"a$s'
    shell = {"HTTPS_PROXY": f"http://anna:{password}@proxy.example.com:3128", "LANG": "C"}
    steps = list(install(Service(), Host(image), PROGRAM, {**shell, "NO_PROXY": "db.example.com"}))

    folder = image / f"{UNIT}.d"
    file = folder / "proxy.env"
    said = "\n".join(f"{step.name} {step.message} {step.text}" for step in steps)
    assert "proxy HTTPS_PROXY, NO_PROXY of this shell: /etc/systemd/system" in said
    assert password not in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert 'HTTPS_PROXY="http://anna:p\\"a\\$s@proxy.example.com:3128"\n' in file.read_text()
    assert "LANG" not in file.read_text()
    assert f"EnvironmentFile=/{UNIT}.d/proxy.env" in (folder / "proxy.conf").read_text()

    run_install(image)
    assert file.exists(), "a shell without a proxy takes nothing away"
    run_uninstall(image)
    assert not folder.exists()


def test_uninstall_removes_the_files_that_install_wrote(image: Path):
    run_install(image)

    steps = run_uninstall(image)

    assert set(files(image)) <= {"etc/passwd", "etc/shadow"}
    assert not (image / "etc/cdc-sync").exists()
    assert not (image / "var/lib/cdc-sync").exists()
    assert "unit /etc/systemd/system/cdc-sync.service (removed)" in steps
    assert "userdel cdc-sync" in steps


def test_uninstall_keeps_files_that_were_changed(image: Path):
    run_install(image)
    mine = ("etc/cdc-sync/config.yaml", UNIT, "etc/cdc-sync/client_secret", "var/lib/cdc-sync/a.db")
    for name in mine:
        with (image / name).open("a") as file:
            file.write("# mine\n")

    steps = run_uninstall(image)

    assert [name for name in mine if not (image / name).exists()] == []
    assert steps.count("kept: it was changed") == 2
    assert "state /var/lib/cdc-sync (kept" in steps


def test_an_instance_leaves_the_unit_to_the_others(image: Path):
    run_install(image, "crm")
    run_install(image, "erp")
    wants = image / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "cdc-sync@erp.service").symlink_to("../cdc-sync@.service")

    steps = run_uninstall(image, "crm")

    assert (image / TEMPLATE).exists()
    assert "cdc-sync@.service (kept: cdc-sync@erp)" in steps
    assert not (image / "etc/cdc-sync/crm.yaml").exists()
    assert (image / "etc/cdc-sync/erp.yaml").exists()


def test_an_instance_that_is_not_yet_enabled_keeps_its_unit(image: Path):
    run_install(image, "crm")
    run_install(image, "erp")

    assert "cdc-sync@.service (kept: cdc-sync@erp)" in run_uninstall(image, "crm")
    assert (image / TEMPLATE).exists()
    assert "cdc-sync@.service (removed)" in run_uninstall(image, "erp")


def test_uninstall_without_an_install_finds_nothing(image: Path):
    assert run_uninstall(image) == "unit /etc/systemd/system/cdc-sync.service (not there)"


def test_a_unit_that_something_else_wrote_is_not_overwritten(image: Path):
    unit = image / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")

    with pytest.raises(UserMistake, match="Move it away") as refused:
        run_install(image)

    assert refused.value.exit_code == 2
    assert set(files(image)) == {UNIT}


@pytest.mark.parametrize(
    "part",
    [Path("/", *parts) for parts in (("root", "v"), ("home", "anna", "v"), ("tmp", "v"))],
    ids=str,
)
def test_a_program_in_a_hidden_folder_is_refused_with_the_fix(part: Path):
    with pytest.raises(UserMistake, match="203/EXEC") as refused:
        expect_runnable([PROGRAM, part / "bin" / "cdc-sync"])

    assert str(part) in refused.value.message
    assert "-m venv /opt/cdc-sync" in (refused.value.hint or "")


@pytest.mark.parametrize("name", ["config", "a/b", "", "-x", "a b"])
def test_a_wrong_instance_name_is_refused(name: str):
    with pytest.raises(UserMistake, match="name of an instance"):
        Service(name)


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_without_root_it_is_refused_in_one_sentence(verb: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    ended = CliRunner().invoke(command.service_app, [verb])

    assert isinstance(ended.exception, UserMistake)
    assert str(ended.exception) == (
        f"This writes below /etc and needs root. Run: sudo cdc-sync service {verb}"
    )


def test_a_dry_run_prints_the_texts_for_anybody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("cdc_sync.setup.host.expect_runnable", lambda _parts: None)

    ended = CliRunner().invoke(
        command.service_app, ["install", "--dry-run", "--root", str(tmp_path)]
    )

    assert ended.exit_code == 0, ended.output
    assert "            | SystemCallFilter=@system-service" in ended.output
    assert "            | u cdc-sync - " in ended.output
    assert ended.output.endswith("Nothing was done (--dry-run).\n")
    assert list(tmp_path.iterdir()) == []
