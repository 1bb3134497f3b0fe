"""db copy, backup and restore, as a process."""

import os
import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from cdc_sync.clock import utc_now
from cdc_sync.errors import InstanceRunning
from cdc_sync.operations import copying
from cdc_sync.state import control
from cdc_sync.state.database import open_state
from cdc_sync.state.lease import instance_lock
from cdc_sync.state.tables import REVISION, metadata
from cdc_sync.state.values import Presence
from tests.support.bench import NOW, Bench
from tests.support.servers import reader_of
from tests.support.wait import wait_until
from tests.support.warm import ForkedProcess

FIRST_VERSION = Path(__file__).parents[1] / "state" / "first_version.sql"
MANY = 20_000  # contracts, more than a database keeps in memory before it writes them
SPOIL = """
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.acknowledged := replace(NEW.acknowledged, 'Globex', 'Glob3x'); RETURN NEW; END $$;
CREATE FUNCTION add_trigger() RETURNS event_trigger LANGUAGE plpgsql AS
$$ BEGIN
  IF to_regclass('contract') IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'spoil') THEN
    CREATE TRIGGER spoil BEFORE INSERT ON contract FOR EACH ROW EXECUTE FUNCTION spoil();
  END IF;
END $$;
CREATE EVENT TRIGGER added ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
  EXECUTE FUNCTION add_trigger();
"""


def everything(url: str) -> dict[str, list[Any]]:
    """All rows of a state."""
    with closing(open_state(url)) as state, state.read() as tx:
        return {
            name: sorted(map(tuple, tx.execute(sa.select(table))), key=repr)
            for name, table in metadata.tables.items()
        }


def tables_of(url: str) -> list[str]:
    with closing(open_state(url)) as state, state.read() as tx:
        return sa.inspect(tx).get_table_names()


def file_url(bench: Bench, name: str = "state.db") -> str:
    return f"sqlite:///{bench.folder / name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_url")
    return f"sqlite:///{tmp_path / 'new' / 'state.db'}"


@pytest.fixture
def rich(synced: Bench) -> Bench:
    """Delivered, rejected and in doubt, paused, and with a history."""
    assert synced.run("watermark", "rewind", "1h", "--yes", "--reason", "Ünïcode").code == 0
    assert synced.run("pause").code == 0
    assert synced.run("contracts", "resend", "2").code == 0
    synced.new_puts()
    return synced


def test_a_state_is_copied_to_a_server_and_back(rich: Bench, postgresql_url: str) -> None:
    before = everything(file_url(rich))
    there = rich.run("db", "copy", postgresql_url)

    assert (there.code, there.err) == (0, "")
    assert "4 contracts and" in there.out
    assert f"Next: give `state.url` in {rich.config} this URL" in there.out
    assert everything(postgresql_url) == before
    assert before["watermark_move"], "there is something to number"

    rich.configure(state={"url": postgresql_url})
    rich.run("once")
    assert rich.new_puts() == 0, "it is paused there, too"
    rich.run("watermark", "rewind", "1h", "--yes")  # both are numbered after what was copied
    rich.run("resume")
    rich.run("once")
    sent = rich.new_puts()
    assert [put.reference for put in rich.sandbox.puts()[-sent:]] == ["erp-2"], "in doubt"

    before = everything(postgresql_url)
    back = rich.run("db", "copy", file_url(rich, "back.db"), "--json")

    assert back.document["tables"]["contract"] == 4
    # A number that only states on a server have is taken with the lease, before all is read.
    after = everything(file_url(rich, "back.db"))
    assert {name for name in after if after[name] != before[name]} <= {"control"}
    assert len(after["watermark_move"]) == 2
    rich.configure(state={"url": file_url(rich, "back.db")})
    assert rich.run("once", "--json").document["rejected"] == 1
    assert rich.new_puts() == 0
    rich.source(f"UPDATE contracts SET plan = 'Lead', updated_at = {NOW} WHERE id = 1")
    rich.run("once")
    assert rich.new_puts() == 1


def test_a_copy_goes_into_an_empty_database_only(
    synced: Bench, target: str, postgresql_url: str
) -> None:
    assert synced.run("db", "copy", target).code == 0
    before = everything(target)

    again = synced.run("db", "copy", target)
    onto_itself = synced.run("db", "copy", file_url(synced))
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as other:
        other.execute("DROP SCHEMA public CASCADE")
        other.execute("CREATE SCHEMA public CREATE TABLE run (id INTEGER)")
    into_anothers = synced.run("db", "copy", postgresql_url)

    for refused, what in ((again, "contract"), (onto_itself, "contract"), (into_anothers, "run")):
        assert refused.code == 2
        assert f"is not empty: it has {what}" in refused.err
        assert "Traceback" not in refused.err
    if "postgresql" not in target:
        assert everything(target) == before
    assert tables_of(postgresql_url) == ["run"]


def test_tables_without_rows_are_empty(synced: Bench, target: str) -> None:
    synced.configure(state={"url": target})
    assert synced.run("db", "upgrade").code == 0
    synced.configure(state={"url": file_url(synced)})

    assert synced.run("db", "copy", target).code == 0
    assert everything(target) == everything(file_url(synced))


def test_where_there_is_no_state_nothing_is_copied_or_made(fresh: Bench) -> None:
    for command in (["copy", file_url(fresh, "new.db")], ["backup", str(fresh.folder / "new.db")]):
        ran = fresh.run("db", *command)

        assert ran.code == 2
        assert f"There is no state in {fresh.folder / 'state.db'}" in ran.err
    assert not (fresh.folder / "state.db").exists()
    assert not (fresh.folder / "new.db").exists()


def test_beside_a_daemon_nothing_is_copied(synced: Bench, target: str) -> None:
    with synced.daemon_process():
        ran = synced.run("db", "copy", target)

    assert ran.code == 1
    assert "is at work on the state" in ran.err
    assert synced.run("db", "copy", target).code == 0


def test_beside_a_daemon_that_delivers_alone_nothing_is_copied(
    synced: Bench, postgresql_url: str
) -> None:
    assert synced.run("db", "copy", postgresql_url).code == 0
    synced.configure(state={"url": postgresql_url})
    deliver_elsewhere(postgresql_url)

    ran = synced.run("db", "copy", file_url(synced, "back.db"))

    assert ran.code == 1
    assert "A daemon runs on the state" in ran.err
    assert "elsewhere (pid 4711)" in ran.err


def deliver_elsewhere(url: str) -> None:
    """A daemon on another machine, as the state tells of it."""
    now = utc_now()
    with closing(open_state(url)) as state, state.begin() as tx:
        control.save(tx, Presence(4711, "elsewhere", now, now, "standby"), "elsewhere:4711")


def test_a_daemon_that_begins_during_a_copy_undoes_it(synced: Bench, postgresql_url: str) -> None:
    assert synced.run("db", "copy", postgresql_url).code == 0
    back = file_url(synced, "back.db")

    with pytest.raises(InstanceRunning, match="A daemon runs on the state"):
        copying.copy_to(postgresql_url, back, lambda *_: deliver_elsewhere(postgresql_url))

    assert tables_of(back) == []


def test_into_a_state_where_a_daemon_runs_nothing_is_copied(
    synced: Bench, postgresql_url: str
) -> None:
    """It has made its tables, and may write the first row at any moment."""
    with closing(open_state(postgresql_url)) as state, instance_lock(state):
        ran = synced.run("db", "copy", postgresql_url)

    assert ran.code == 1
    assert "is at work on the state" in ran.err


def test_a_copy_that_comes_out_different_is_found_and_taken_back(
    synced: Bench, postgresql_url: str
) -> None:
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(SPOIL)

    ran = synced.run("db", "copy", postgresql_url)

    assert ran.code == 1
    assert "gives back of the table contract is not what was written" in ran.err
    assert tables_of(postgresql_url) == []


def test_a_copy_that_is_killed_leaves_an_empty_database(synced: Bench, target: str) -> None:
    synced.state(
        f"WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY})"
        " INSERT INTO contract SELECT i, 'erp-' || i, payload, acknowledged, status, attempts,"
        " NULL, 200, NULL, NULL, NULL, NULL, NULL, first_seen_at, changed_at, acknowledged_at, NULL"
        " FROM n, contract WHERE source_id = '1'"
    )
    with Path(os.devnull).open("r+") as nothing:
        arguments = ["--config", str(synced.config), "db", "copy", target]
        process = ForkedProcess(arguments, os.environ, (nothing, nothing, nothing))
        wait_until(lambda: is_being_written(target), "rows are written")
        process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL

    wait_until(lambda: is_writable(target), "the server has noticed")
    assert tables_of(target) == []
    assert synced.run("db", "copy", target).code == 0
    assert everything(target) == everything(file_url(synced))


def is_being_written(url: str) -> bool:
    if "postgresql" not in url:
        with suppress(FileNotFoundError):
            return Path(f"{make_url(url).database}-wal").stat().st_size > 1_000_000
        return False
    with psycopg.connect(url.replace("+psycopg", "")) as server:
        inserts = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO contract%'"
        return server.execute(inserts).fetchone() is not None


def is_writable(url: str) -> bool:
    if "postgresql" not in url:
        return True
    with psycopg.connect(url.replace("+psycopg", "")) as server:
        others = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'cdc-sync%'"
        return server.execute(others).fetchone() is None


def test_secrets_of_a_url_are_not_shown(synced: Bench, postgresql_url: str) -> None:
    secret = synced.folder / "secret"
    secret.write_text("reader\n")
    url = make_url(reader_of(postgresql_url, privileged=False)).set(password=None)
    # A role that may not make tables.
    text = url.render_as_string().replace("@", f":${{file:{secret}}}@")
    refused = synced.run("db", "copy", text)
    away = synced.run("db", "copy", "postgresql://anna:hidden@127.0.0.1:1/x?password=hidden")
    wrong = synced.run("db", "copy", "mysql://anna:hidden@127.0.0.1:1/x")

    assert [refused.code, away.code, wrong.code] == [1, 1, 2]
    assert "***" in away.err
    assert "mysql://" in wrong.err
    for ran in (refused, away, wrong):
        assert "hidden" not in ran.err
        assert ":reader@" not in ran.err
        assert "Traceback" not in ran.err


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_during_deliveries_can_be_restored(
    bench: Bench, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "postgresql":
        bench.configure(state={"url": request.getfixturevalue("postgresql_url")})
    bench.configure(customergauge={"rate_limit": "200/s"})
    bench.rows.add(*({"id": number} for number in range(1, 401)))
    file = bench.folder / "backup.db"
    with bench.daemon_process():
        wait_until(lambda: len(bench.sandbox.puts()) > 50, "it delivers")
        ran = bench.run("db", "backup", str(file))
        wait_until(lambda: len(bench.sandbox.puts()) >= 400, "all is delivered")
    assert ran.code == 0, ran.err
    assert "400 contracts and" in ran.out
    known = {row[1] for row in everything(f"sqlite:///{file}")["contract"] if row[4] == "synced"}
    assert 0 < len(known) < 400

    bench.configure(state={"url": file_url(bench, "restored.db")})
    bench.rows.change(1, plan="Lead")
    bench.new_puts()
    restored = bench.run("db", "restore", str(file))
    assert bench.run("once").code == 0

    assert restored.code == 0, restored.err
    assert "contracts resend --all" in restored.out
    sent = [put.reference for put in bench.sandbox.puts()[-bench.new_puts() :]]
    assert len(sent) == len(set(sent)) == 400 - len(known) + ("erp-1" in known)
    assert set(sent) & known <= {"erp-1"}
    assert bench.sandbox.contracts()["erp-1"]["description"] == "Lead"


def test_a_backup_is_a_file_that_only_its_owner_reads(synced: Bench) -> None:
    file = synced.folder / "backup.db"
    assert synced.run("db", "backup", str(file)).code == 0
    first = file.read_bytes()

    again = synced.run("db", "backup", str(file))
    assert (again.code, file.read_bytes() == first) == (2, True)
    assert "is there already" in again.err
    assert synced.run("db", "backup", "--force", str(file)).code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in synced.folder.iterdir() if "cdc-sync" in path.name} == set()
    assert everything(f"sqlite:///{file}") == everything(file_url(synced))


def test_a_backup_goes_through_no_link_and_onto_no_state(synced: Bench) -> None:
    (synced.folder / "link.db").symlink_to(synced.folder / "elsewhere.db")
    before = everything(file_url(synced))
    for name in ("link.db", "state.db", "no/folder.db", "."):
        ran = synced.run("db", "backup", "--force", str(synced.folder / name))

        assert ran.code == 2, name
        assert "Traceback" not in ran.err
    assert not (synced.folder / "elsewhere.db").exists()
    assert everything(file_url(synced)) == before


def test_a_restore_goes_into_an_empty_state_only(synced: Bench) -> None:
    file, nothing = synced.folder / "backup.db", synced.folder / "nothing.db"
    assert synced.run("db", "backup", str(file)).code == 0

    assert "is not empty" in synced.run("db", "restore", str(file)).err
    ran = synced.run("db", "restore", str(nothing))
    assert ran.code == 2
    assert f"There is no state in {nothing}" in ran.err
    assert not nothing.exists()


def test_a_backup_of_an_older_version_is_upgraded_and_restored(fresh: Bench) -> None:
    file = fresh.folder / "backup.db"
    with closing(sqlite3.connect(file)) as old:
        old.executescript(FIRST_VERSION.read_text())

    assert fresh.run("db", "restore", str(file)).code == 0
    assert fresh.run("db", "current", "--json").document["current"] == REVISION
    assert everything(file_url(fresh)) == everything(f"sqlite:///{file}")
    assert file.with_name("backup.db.before-0001").exists()
