"""From a source's URL to a configuration that works: in a conversation, or by options alone."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from cdc_sync.config.load import load_config
from tests.support.bench import Bench
from tests.support.commands import Ran, run_command
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox
from tests.support.servers import reader_of
from tests.support.talk import talk
from tests.support.warm import command

SECRET = "sandbox"


@pytest.fixture
def source(source_url: str):
    with rows_in(source_url) as rows, rows_in(source_url, name="contract_archive"):
        rows.add({"id": 1, "account_name": "ACME Industries"}, {"id": 2, "account_name": "Globex"})
        yield source_url


def platform(sandbox: Sandbox) -> list[str]:
    return ["--base-url", sandbox.url, "--token-url", f"{sandbox.url}/oauth2/token"]


def by_options(folder: Path, source: str, sandbox: Sandbox, *more: str) -> Ran:
    (folder / "given_secret").write_text(f"{SECRET}\n")
    options = ["--output", "made/config.yaml", "--source-url", source, *platform(sandbox)]
    options += ["--client-id", "sandbox", "--client-secret-file", "given_secret"]
    return alone(folder, *options, *more)


def alone(folder: Path, *options: str, answer: str = "") -> Ran:
    """The command where nobody can be asked."""
    with tempfile.TemporaryFile("w+") as stdin:
        stdin.write(answer)
        stdin.seek(0)
        env = {**os.environ, "TZ": "UTC"}
        done = command(["init", *options], cwd=folder, env=env, stdin=stdin)
    return Ran(done.returncode, done.stdout, done.stderr)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_conversation_ends_in_a_configuration_that_works(
    source: str, tmp_path: Path, sandbox: Sandbox
):
    file = tmp_path / "made" / "config.yaml"
    user = make_url(source).username
    answers = [
        ("Source database URL: ", make_url(source)._replace(password=None).render_as_string()),
        *([(f"Password for {user}: ", make_url(source).password or "")] if user else []),
        ("Table [1]: ", ""),
        ("Reference: a prefix keeps two systems apart   [", "erp-{id}"),
        ("end [end_date], description [leave alone]: ", ""),
        ("Client id: ", "sandbox"),
        ("Client secret: ", SECRET),
    ]
    ran = talk(tmp_path, ["init", "--output", str(file), *platform(sandbox)], answers)

    assert ran.code == 0, ran.out
    wrote = f"Wrote {file}: 17 lines that matter, the rest commented with its default."
    for line in (
        "Tables with a key and a time column:",
        "  erp-1  ACME Industries  2024-01-01 … open",
        f"  → {file.parent / 'client_secret'} (0600)",
        wrote,
    ):
        assert line in ran.out.splitlines()
    assert "  1  contracts         2 rows  id, updated_at (indexed)  ← looks right" in ran.out
    assert "Ready" in ran.out.splitlines()[-1]
    assert mode_of(file.parent / "client_secret") == 0o600
    assert SECRET not in ran.out.replace(": sandbox", "").replace("sandbox\n", "")
    assert run_command(["--config", str(file), "once"]).out.startswith("2 created.")
    assert sandbox.contracts()["erp-2"]["account"] == "Globex"


def test_options_alone_make_the_same(source: str, tmp_path: Path, sandbox: Sandbox):
    ran = by_options(tmp_path, source, sandbox, "--reference", "erp-{id}")
    file = tmp_path / "made" / "config.yaml"

    assert (ran.code, ran.err) == (0, ""), ran
    config = load_config(file, os.environ)
    assert (config.source.table, config.source.id) == ("contracts", ("id",))
    assert config.source.watermark == "updated_at"
    assert (config.mapping.account, config.mapping.start) == ("account_name", "start_date")
    assert (config.mapping.end, config.mapping.description) == ("end_date", None)
    assert config.customergauge.client_secret.get_secret_value() == SECRET
    assert SECRET not in file.read_text().replace("client_id: sandbox", "")
    assert run_command(["--config", str(file), "once"]).out.startswith("2 created.")


def test_the_password_is_never_shown_and_never_in_the_configuration(
    postgresql_url: str, tmp_path: Path, sandbox: Sandbox
):
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1})
    reader = make_url(reader_of(postgresql_url, privileged=True))
    password = "p@ss/w:rd%"
    rows.execute(f"ALTER ROLE {reader.username} PASSWORD '{password.replace('%', '%%')}'")
    bare = reader._replace(password=None).render_as_string()
    answers = [
        ("Source database URL: ", bare),
        (f"Password for {reader.username}: ", password),
        ("Table [1]: ", ""),
        ("]: ", ""),
        ("description [leave alone]: ", "description={plan}"),
        ("Client id: ", "sandbox"),
        ("Client secret: ", SECRET),
    ]
    ran = talk(tmp_path, ["init", *platform(sandbox)], answers)

    assert ran.code == 0, ran.out
    file = tmp_path / "source_password"
    assert (file.read_text(), mode_of(file)) == (password, 0o600)
    assert f"  → {file} (0600)\n" in ran.out
    assert "Next: cdc-sync check" not in ran.out  # it was made already
    text = (tmp_path / "config.yaml").read_text()
    assert f"${{file:${{CREDENTIALS_DIRECTORY:-{tmp_path}}}/source_password}}@" in text
    assert password not in ran.out + text
    config = load_config(tmp_path / "config.yaml", os.environ)
    assert make_url(config.source.url.get_secret_value()).password == password
    assert config.mapping.description == "{plan}"


def test_a_password_in_the_url_goes_to_its_file(
    postgresql_url: str, tmp_path: Path, sandbox: Sandbox
):
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1})
    ran = by_options(tmp_path, reader_of(postgresql_url, privileged=True), sandbox)

    assert ran.code == 0, ran
    assert (tmp_path / "made" / "source_password").read_text() == "reader"
    assert ":reader@" not in (tmp_path / "made" / "config.yaml").read_text()


def test_the_secrets_are_found_as_credentials_of_the_unit(
    source: str, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
):
    by_options(tmp_path, source, sandbox, "--no-check")
    handed = tmp_path / "credentials"
    handed.mkdir()
    for name in ("client_secret", "source_password"):
        (handed / name).write_text("as-handed-over\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))

    config = load_config(tmp_path / "made" / "config.yaml", os.environ)
    assert config.customergauge.client_secret.get_secret_value() == "as-handed-over"


@pytest.mark.parametrize("name", ["config.yaml", "client_secret", "source_password"])
def test_nothing_is_overwritten_without_force(
    postgresql_url: str, tmp_path: Path, sandbox: Sandbox, name: str
):
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1})
    source = reader_of(postgresql_url, privileged=True)
    made = tmp_path / "made"
    made.mkdir()
    (made / name).write_text("mine")
    (made / name).chmod(0o644)
    ran = by_options(tmp_path, source, sandbox)

    path = made / name if name != "config.yaml" else Path("made") / name
    assert (ran.code, ran.err) == (
        2,
        f"cdc-sync: {path} is there already. Add --force to overwrite it.\n",
    )
    assert [(file.name, file.read_text()) for file in made.iterdir()] == [(name, "mine")]
    assert by_options(tmp_path, source, sandbox, "--force").code == 0
    assert mode_of(made / "client_secret") == 0o600


def test_what_no_option_says_is_named_where_nobody_can_be_asked(tmp_path: Path, fresh: Bench):
    nothing = alone(tmp_path, "--output", "made.yaml")
    some = alone(tmp_path, "--output", "made.yaml", "--source-url", "sqlite:///source.db")

    assert (nothing.code, nothing.out) == (2, "")
    assert nothing.err == (
        "cdc-sync: This asks for what no option says, and there is no terminal."
        " Add --source-url, --region, --client-id, --client-secret-file.\n"
    )
    assert "Add --region, --client-id, --client-secret-file." in some.err
    assert not (tmp_path / "made.yaml").exists()


def test_what_cannot_be_guessed_is_named(tmp_path: Path, fresh: Bench, sandbox: Sandbox):
    fresh.source(
        "CREATE TABLE odd (number INTEGER PRIMARY KEY, who TEXT, stamp INTEGER)",
        "CREATE TABLE more_contracts AS SELECT * FROM contracts",
        "CREATE UNIQUE INDEX one ON more_contracts (id)",
    )
    url = "sqlite:///source.db"

    assert "Add --watermark." in by_options(tmp_path, url, sandbox, "--table", "odd").err
    ran = by_options(tmp_path, url, sandbox, "--table", "odd", "--watermark", "stamp")
    assert "Add --account, --start." in ran.err
    assert by_options(tmp_path, url, sandbox, "--table", "nothing").err.startswith(
        "cdc-sync: There is no table nothing. There are: contracts, more_contracts, odd"
    )
    ran = by_options(tmp_path, url, sandbox, "--table", "contracts", "--account", "nobody")
    assert "There is no column nobody for account. There are: id, account_name" in ran.err
    assert not (tmp_path / "made").exists()


def test_a_wrong_answer_is_asked_for_again(tmp_path: Path, fresh: Bench, sandbox: Sandbox):
    answers = [
        ("Source database URL: ", "informix://db/erp"),
        ("Source database URL: ", "sqlite:///nowhere.db"),
        ("Source database URL: ", "sqlite:///source.db"),
        ("Table [1]: ", "nothing"),
        ("Table [1]: ", "contracts"),
        ("]: ", "erp-{nothing}"),
        ("]: ", ""),
        ("[leave alone]: ", "account=nobody"),
        ("[leave alone]: ", "account_name, plan"),
        ("[leave alone]: ", ", , -"),
        ("(eu, us, au) [eu]: ", "mars"),
        ("(eu, us, au) [eu]: ", "US"),
        ("Client id: ", "${me}"),
        ("Client secret: ", SECRET),
    ]
    ran = talk(tmp_path, ["init", "-o", "made.yaml", "--no-check"], answers)

    assert ran.code == 0, ran.out
    for words in (
        "begins with `informix://`",
        "The SQLite source",
        "There is no table nothing.",
        "There is no column nothing for reference.",
        "There is no column nobody for account.",
        "None of these is a contract that CustomerGauge takes.",
        "There is no region mars.",
    ):
        assert words in ran.out
    config = load_config(tmp_path / "made.yaml", os.environ)
    assert config.mapping.end is None
    assert config.customergauge.region == "us"
    assert config.customergauge.client_id == "${me}"
    assert (tmp_path / "made.client_secret").exists()
    assert config.state.url.get_secret_value() == f"sqlite:///{tmp_path}/made.state.db"


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--state-url", "mysql://db/state", "`state.url` begins with `mysql://`"),
        ("--base-url", "http://example.com", "would send secrets unencrypted to example.com"),
        ("--time-zone", "Moon", "`source.time_zone`: `Moon` is not a time zone"),
        ("--client-secret-file", "nowhere", "nowhere cannot be read (No such file or directory)"),
        ("--output", "source.db/config.yaml", "source.db is not a folder"),
    ],
)
def test_an_option_that_cannot_work_is_an_error_and_writes_nothing(
    tmp_path: Path, fresh: Bench, sandbox: Sandbox, option: str, value: str, says: str
):
    ran = by_options(tmp_path, "sqlite:///source.db", sandbox, option, value)

    assert (ran.code, "Traceback" in ran.err) == (2, False)
    assert says in ran.err
    assert not (tmp_path / "made").exists()


def test_a_conversation_that_is_broken_off_leaves_nothing(tmp_path: Path, fresh: Bench):
    before = sorted(tmp_path.iterdir())
    answers = [("Source database URL: ", "sqlite:///source.db"), ("Table [1]: ", "\x04")]
    ran = talk(tmp_path, ["init", "--output", "made.yaml"], answers)

    assert ran.code == 1
    assert "Traceback" not in ran.out
    assert sorted(tmp_path.iterdir()) == before


def test_a_source_that_refuses_us_names_the_option_for_the_password(
    postgresql_url: str, tmp_path: Path, sandbox: Sandbox
):
    nobody = make_url(postgresql_url)._replace(username="nobody", password=None)
    ran = by_options(tmp_path, nobody.render_as_string(), sandbox)

    assert ran.code == 2
    assert "--source-password-file" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://me:once@127.0.0.1:1/erp", "has a password, too"),
        ("sqlite:///source.db", "names no user who could have it"),
    ],
)
def test_a_password_is_given_once(url: str, why: str, tmp_path: Path, sandbox: Sandbox):
    (tmp_path / "password").write_text("twice")
    ran = by_options(tmp_path, url, sandbox, "--source-password-file", str(tmp_path / "password"))

    assert ran.code == 2
    assert why in ran.err
    assert not (tmp_path / "made" / "config.yaml").exists()


def test_a_valid_configuration_that_cannot_work_is_reported_by_the_check_at_the_end(
    tmp_path: Path, fresh: Bench, sandbox: Sandbox
):
    swapped = ["--start", "end_date", "--end", "start_date"]
    ran = by_options(tmp_path, "sqlite:///source.db", sandbox, *swapped)

    assert ran.code == 1
    assert "WRONG dates      end is before start in" in ran.out
    assert "Swap `mapping.start` and `mapping.end`." in ran.out
