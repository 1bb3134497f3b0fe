"""Opening a state: made where it is missing, refused where it is not ours."""

import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.errors import CdcSyncError, InstanceRunning, StateRefused, StateUnavailable
from cdc_sync.state.database import open_state
from cdc_sync.state.lease import instance_lock
from cdc_sync.state.schema import (
    adopt,
    current_revision,
    expect_current,
    expect_own,
    upgrade_tables,
)
from cdc_sync.state.tables import REVISION, contract, metadata

# Of an expression, which each database writes in its own way: tests/state/test_lookup.py sees it used.
BY_HAND = "ix_contract_account"


@pytest.mark.filterwarnings(f"ignore:Skipped unsupported reflection.*{BY_HAND}")
def test_the_migrations_leave_the_tables_that_the_program_uses(state):
    with state.begin() as tx:
        found = compare_metadata(MigrationContext.configure(tx), metadata)
    differences = [change for change in found if getattr(change[1], "name", None) != BY_HAND]
    with state.read() as tx:
        indexes = {i["name"]: i for t in metadata.tables for i in sa.inspect(tx).get_indexes(t)}

    assert differences == []
    assert {i.name for t in metadata.tables.values() for i in t.indexes} <= set(indexes)


def test_an_upgrade_is_done_once(state_url):
    state = open_state(state_url)
    try:
        assert current_revision(state) is None
        assert [upgrade_tables(state), upgrade_tables(state)] == [True, False]
        assert current_revision(state) == REVISION
        expect_current(state)
    finally:
        state.close()


def test_a_state_from_a_newer_version_is_refused(state):
    with state.begin() as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    for look in (upgrade_tables, expect_current):
        with pytest.raises(StateRefused, match="from a newer cdc-sync"):
            look(state)


def _try_lock(url: str, told: multiprocessing.Queue) -> None:
    state = open_state(url)
    try:
        with instance_lock(state):
            told.put("held")
    except InstanceRunning as error:
        told.put(str(error))
    finally:
        state.close()


def locked_elsewhere(url: str) -> str:
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=_try_lock, args=(url, told))
    process.start()
    try:
        return told.get(timeout=30)
    finally:
        process.join(10)


def test_a_second_process_is_refused_until_the_first_has_ended(state, state_url):
    with instance_lock(state):
        assert locked_elsewhere(state_url).startswith("Another cdc-sync is at work on the state")

    assert locked_elsewhere(state_url) == "held"


def test_a_state_file_and_its_folder_are_for_their_owner_alone(tmp_path: Path):
    state = open_state(f"sqlite:///{tmp_path}/made/state.db")
    state.close()

    assert oct((tmp_path / "made").stat().st_mode)[-3:] == "700"
    assert oct((tmp_path / "made" / "state.db").stat().st_mode)[-3:] == "600"


def told_by(url: str) -> CdcSyncError:
    with pytest.raises(StateUnavailable) as told:
        upgrade_tables(open_state(url))
    assert told.value.message.count("\n") == 0
    return told.value


def test_a_file_that_is_no_database_is_told(tmp_path: Path):
    (tmp_path / "state.db").write_bytes(b"nothing that SQLite knows " * 100)
    told = told_by(f"sqlite:///{tmp_path}/state.db")

    assert "not a database" in told.message
    assert told.hint


def test_a_python_with_an_old_sqlite_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 1))
    with pytest.raises(StateUnavailable, match="which is too old"):
        open_state(f"sqlite:///{tmp_path}/state.db")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "made").write_text("a file in its place")
    told = told_by(f"sqlite:///{tmp_path}/made/state.db")

    assert f"{tmp_path}/made" in told.message
    assert told.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_belongs_to_another_is_told(tmp_path: Path):
    tmp_path.chmod(0o500)
    told = told_by(f"sqlite:///{tmp_path}/state.db")

    assert told.hint


def test_a_state_server_that_is_away_is_told_without_its_password():
    told = told_by("postgresql+psycopg://me:s3cret@127.0.0.1:1/state")

    assert "s3cret" not in str(told)


def config(base_url: str) -> CustomerGaugeConfig:
    return CustomerGaugeConfig.model_validate(
        {"base_url": base_url, "token_url": base_url, "client_id": "me", "client_secret": "s3"}
    )


ROW = {
    "source_id": "1",
    "payload": "{}",
    "status": "pending",
    "attempts": 0,
    "first_seen_at": datetime(2026, 1, 1, tzinfo=UTC),
    "changed_at": datetime(2026, 1, 1, tzinfo=UTC),
}


def test_a_state_of_which_nothing_was_ever_sent_follows_the_configuration(state):
    with state.begin() as tx:
        tx.execute(contract.insert(), ROW)
    expect_own(state, config("https://mistyped.example"))

    expect_own(state, config("https://a.example"))


def test_a_state_belongs_to_one_customergauge_until_a_person_says_otherwise(state):
    ours, theirs = config("https://a.example"), config("https://b.example")
    expect_own(state, ours)
    with state.begin() as tx:
        tx.execute(contract.insert(), {**ROW, "acknowledged": "{}"})
    expect_own(state, ours)
    with pytest.raises(StateRefused, match=r"belongs to https://a\.example \(client me\)"):
        expect_own(state, theirs)
    adopt(state, theirs)

    expect_own(state, theirs)
