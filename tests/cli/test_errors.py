"""Mistakes and outages: one or two sentences with the fix, and an exit code."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.bench import Bench
from tests.support.commands import Ran
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.servers import MARIADB
from tests.support.warm import command

PASSWORD = "hunter2-of-the-source"
SECRET = "hunter2-of-the-client"

Edit = Callable[[str, str], None]


@pytest.fixture
def edit(fresh: Bench) -> Edit:
    """Changes the text of the configuration."""

    def edited(old: str, new: str) -> None:
        text = fresh.config.read_text()
        assert old in text
        fresh.config.write_text(text.replace(old, new))

    return edited


def told(ran: Ran, code: int) -> str:
    """The sentences of a command that did nothing, as a person should read them."""
    assert ran.code == code, ran
    assert ran.out == ""
    assert ran.err.startswith("cdc-sync: ")
    assert ran.err.count("\n") == 1
    assert len(ran.err) < 450
    for unwanted in ("Traceback", "sqlalchemy", "Error(", "please", PASSWORD, SECRET):
        assert unwanted not in ran.err
    return ran.err.removeprefix("cdc-sync: ").rstrip()


# The source


@pytest.mark.usefixtures("mariadb")
def test_a_wrong_password_names_its_user_and_not_itself(tmp_path: Path, sandbox: Sandbox):
    host, port, user, _ = MARIADB
    url = f"mysql+pymysql://{user}:{PASSWORD}@{host}:{port}/mysql"
    bench = Bench(tmp_path, sandbox, url)

    words = told(bench.run("once"), 1)
    assert words == (
        f'The source at {host}:{port} refused the password of "{user}". Check `source.url`.'
    )
    checked = bench.run("check")
    assert checked.code == 1
    assert f'WRONG source     The source at {host}:{port} refused the password of "' in checked.out
    assert "Not ready: 1 thing is wrong." in checked.out
    assert PASSWORD not in checked.out + checked.err


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_host_that_cannot_be_reached_is_named(tmp_path: Path, sandbox: Sandbox, driver: str):
    bench = Bench(tmp_path, sandbox, f"{driver}://reader:{PASSWORD}@127.0.0.1:1/erp")

    words = told(bench.run("once"), 1)
    assert words.startswith("The source at 127.0.0.1:1 cannot be reached. Check `source.url`")
    assert sandbox.puts() == []


@pytest.mark.parametrize("command", ["once", "plan", "reconcile"])
def test_a_missing_table_is_named(fresh: Bench, edit: Edit, command: str):
    edit('"table": "contracts"', '"table": "contract"')

    words = told(fresh.run(command), 2)
    assert words == "source.table: the source has no table contract. Did you mean contracts?"


@pytest.mark.parametrize(
    ("section", "key", "name", "near"),
    [
        ("source", "watermark", "update_at", "updated_at"),
        ("source", "id", "idd", "id"),
        ("mapping", "account", "acount_name", "account_name"),
        ("mapping", "end", "enddate", "end_date"),
        ("mapping", "description", "{id} {PLAN_}", "plan"),
    ],
)
def test_a_missing_column_is_named_with_its_key_and_the_nearest_one(
    tmp_path: Path, sandbox: Sandbox, source_url: str, section: str, key: str, name: str, near: str
):
    with Bench.with_table(tmp_path, sandbox, source_url, **{section: {key: name}}) as bench:
        missing = name.rpartition("{")[2].strip("}")
        says = f"{section}.{key}: contracts has no column {missing}. Did you mean {near}?"

        assert told(bench.run("once"), 2) == says
        checked = bench.run("check").out
        assert all(sentence in checked for sentence in says.split(". "))


def test_where_no_column_is_near_all_are_listed(tmp_path: Path, sandbox: Sandbox, source_url: str):
    query = "SELECT id, account_name, start_date, updated_at FROM contracts"
    source = {"table": None, "query": query}
    mapping = {"end": None, "description": "{ampersand}"}
    with Bench.with_table(tmp_path, sandbox, source_url, source=source, mapping=mapping) as bench:
        assert told(bench.run("plan"), 2) == (
            "mapping.description: the result of `source.query` has no column ampersand."
            " There are: account_name, id, start_date, updated_at."
        )


def test_a_watermark_column_must_hold_times_or_numbers(
    postgresql_url: str, tmp_path: Path, sandbox: Sandbox
):
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1})
    bench = Bench(tmp_path, sandbox, postgresql_url, source={"watermark": "plan"})

    words = told(bench.run("once"), 2)
    assert words == (
        "The column plan holds neither times nor whole numbers."
        " Name one in `source.watermark` that grows with every change."
    )
    assert sandbox.puts() == []


# The state


def test_a_state_folder_that_cannot_be_made_is_named(fresh: Bench, edit: Edit, sandbox: Sandbox):
    (fresh.folder / "a-file").write_text("")
    edit("sqlite:///state.db", "sqlite:///a-file/state.db")

    words = told(fresh.run("once"), 1)
    assert f"The state folder {fresh.folder / 'a-file'} cannot be used" in words
    assert "change `state.url`" in words
    checked = fresh.run("check")
    assert checked.code == 1
    assert f"cannot be made: in {fresh.folder / 'a-file'}, Not a directory" in checked.out
    assert sandbox.puts() == []


@pytest.mark.parametrize("command", ["once", "status", "plan"])
def test_a_state_file_that_is_no_database_is_named(fresh: Bench, command: str):
    state = fresh.folder / "state.db"
    state.write_text("This was a letter to the bank, and long enough to be none of our tables.")

    words = told(fresh.run(command), 1)
    assert f"The state database {state} does not work: file is not a database." in words
    assert state.read_text().startswith("This was a letter")


@pytest.mark.parametrize("command", ["once", "plan", "run"])
def test_a_state_of_another_platform_sends_nothing_and_names_both(
    synced: Bench, edit: Edit, sandbox: Sandbox, command: str
):
    with running_sandbox() as other:
        edit(sandbox.url, other.url)
        words = told(synced.run(command), 2)

        assert other.puts() == []
        assert sandbox.url in words
        assert other.url in words
        assert "nothing was sent" in words
        assert "cdc-sync db adopt" in words


@pytest.mark.parametrize("command", ["once", "status", "run", "pause"])
def test_a_state_of_a_newer_version_is_left_alone(synced: Bench, command: str):
    synced.state("UPDATE alembic_version SET version_num = '9999'")
    before = state_of(synced)

    words = told(synced.run(command), 2)
    assert "9999" in words or "newer" in words
    assert state_of(synced) == before


def state_of(bench: Bench) -> list[str]:
    with closing(sqlite3.connect(bench.folder / "state.db")) as state:
        return list(state.iterdump())


# The configuration


@pytest.mark.parametrize("command", ["check", "once", "run", "status", "contracts list"])
def test_broken_yaml_is_reported_with_its_line(fresh: Bench, command: str):
    fresh.config.write_text("source:\n  url: [\n")

    words = told(fresh.run(*command.split()), 2)
    assert words.startswith(f"{fresh.config}, line 3, column 1: this is not YAML")


@pytest.mark.parametrize("command", ["check", "once", "run"])
def test_a_missing_environment_variable_is_named(fresh: Bench, edit: Edit, command: str):
    edit('"client_secret": "sandbox"', '"client_secret": "${NOT_SET_ANYWHERE}"')

    words = told(fresh.run(command), 2)
    assert "`customergauge.client_secret` needs the environment variable NOT_SET_ANYWHERE" in words
    assert "Set it" in words


def test_an_unknown_key_names_the_nearest(fresh: Bench, edit: Edit):
    edit('"lookback"', '"lookbak"')

    words = told(fresh.run("once"), 2)
    assert words.endswith("`source.lookbak` is not a key. Did you mean `source.lookback`?")


def test_a_missing_configuration_is_an_error(fresh: Bench):
    fresh.config.unlink()

    words = told(fresh.run("status"), 2)
    assert words.startswith(f"{fresh.config}, which --config names, is not there.")


def test_a_refused_client_is_reported_without_its_secret(fresh: Bench, edit: Edit):
    edit('"client_secret": "sandbox"', f'"client_secret": "{SECRET}"')
    ran = fresh.run("once")
    checked, shown = fresh.run("check"), fresh.run("config", "show")

    assert (ran.code, checked.code, shown.code) == (1, 1, 0)
    assert "Nothing was sent, 3 wait." in ran.out
    assert "CustomerGauge refuses our client (401 " in ran.out
    assert "WRONG token      CustomerGauge refuses our client (401 " in checked.out
    for one in (ran, checked, shown):
        assert SECRET not in one.out + one.err
        assert "Traceback" not in one.err


# The sandbox


def test_a_port_that_is_taken_is_an_error(sandbox: Sandbox):
    address = sandbox.url.removeprefix("http://")
    ran = bare("sandbox", "--listen", address)

    assert told(ran, 2).startswith(f"Cannot listen on {address}: Address already in use. Choose ")


@pytest.mark.parametrize(("option", "word"), [("--listen", "host:port"), ("--fault", "status")])
def test_an_option_of_the_sandbox_that_makes_no_sense_is_an_error(option: str, word: str):
    words = told(bare("sandbox", option, "nonsense"), 2)

    assert "'nonsense' is no" in words
    assert word in words


def bare(*arguments: str) -> Ran:
    """A command that needs no configuration."""
    done = command(arguments, env=os.environ)
    return Ran(done.returncode, done.stdout, done.stderr)


def test_a_number_is_no_lookback_of_times(tmp_path: Path, sandbox: Sandbox) -> None:
    bench = Bench.with_contracts(tmp_path, sandbox, source={"lookback": 500})
    ran = bench.run("once")

    assert ran.code == 2
    assert "`source.lookback` is a number, and the column updated_at holds times." in ran.err
