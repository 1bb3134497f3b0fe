"""A source that cannot be read is reported in one plain sentence, never with its password."""

from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from cdc_sync.errors import CdcSyncError, SourceMistake, SourceUnavailable
from cdc_sync.source.dialects.postgresql import PostgreSQL
from tests.support.rows import rows_in
from tests.support.servers import MARIADB

SECRET = "s3cret-word"


def error_of(open_source, url) -> CdcSyncError:
    with pytest.raises(SourceUnavailable) as raised, open_source(str(url)).scan():
        pass
    assert SECRET not in str(raised.value)
    assert raised.value.message.count("\n") == 0
    return raised.value


def test_a_user_that_postgresql_does_not_know_is_named(postgresql_url, open_source):
    url = make_url(postgresql_url).set(username="nobody", password=SECRET)
    error = error_of(open_source, url.render_as_string(hide_password=False))

    assert '"nobody"' in error.message


@pytest.mark.usefixtures("mariadb")
def test_a_wrong_password_on_mariadb_names_the_user(open_source):
    host, port, *_ = MARIADB
    error = error_of(open_source, f"mysql+pymysql://nobody:{SECRET}@{host}:{port}/erp")

    assert error.message == f'The source at {host}:{port} refused the password of "nobody".'


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_server_that_is_not_there_cannot_be_reached(open_source, driver, host):
    error = error_of(open_source, f"{driver}://reader:{SECRET}@{host}/erp")

    assert error.message == f"The source at {host} cannot be reached."


def test_a_column_that_is_not_there_is_an_error_and_never_a_text(source_url, open_source):
    with rows_in(source_url) as rows:
        rows.add({"id": 1})
        with (
            pytest.raises(SourceMistake, match="has no column Account Name"),
            open_source(rows.url, columns=("Account Name",)).scan() as scan,
        ):
            scan.full_page(None)


def test_an_unknown_database_is_named(postgresql_url, open_source):
    url = make_url(postgresql_url).set(database="nowhere").render_as_string(hide_password=False)
    error = error_of(open_source, url)

    assert 'has no database "nowhere"' in error.message


def test_a_missing_sqlite_file_is_an_error_and_not_made(tmp_path: Path, open_source):
    error = error_of(open_source, f"sqlite:///{tmp_path}/source.db")

    assert error.message == f"The SQLite source {tmp_path}/source.db does not exist."
    assert not (tmp_path / "source.db").exists()


def test_a_file_that_is_no_database_cannot_be_opened(tmp_path: Path, open_source):
    (tmp_path / "source.db").write_bytes(b"not a database at all " * 100)
    error = error_of(open_source, f"sqlite:///{tmp_path}/source.db")

    assert error.message == f"The file {tmp_path}/source.db cannot be opened as a SQLite database."


@pytest.mark.parametrize("name", ["50%20.db", "what#.db", "two words é.db"])
def test_a_sqlite_file_may_have_any_name(tmp_path: Path, open_source, name):
    url = f"sqlite:///{tmp_path / name}"
    with rows_in(url) as rows:
        rows.add({"id": 1})

    with open_source(url).scan() as scan:
        assert len(scan.full_page(None).rows) == 1


def test_a_source_cannot_be_written_to(source_url, open_source):
    with rows_in(source_url) as rows:
        rows.add({"id": 1})
    with (
        pytest.raises((SourceUnavailable, SourceMistake), match=r"(?i)read.?only|cannot execute"),
        open_source(source_url).scan() as scan,
    ):
        scan.connection.exec_driver_sql("DELETE FROM contracts")


def test_a_connection_that_cannot_be_prepared_is_closed(postgresql_url, open_source, monkeypatch):
    opened = []

    def break_off(_self, connection):
        opened.append(connection)
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(PostgreSQL, "prepare_session", break_off)
    error_of(open_source, postgresql_url)

    assert [connection.closed for connection in opened] == [True]


def test_a_column_that_changes_its_type_is_noticed(source_url, open_source):
    if "sqlite" in source_url:
        pytest.skip("columns have no type there")
    with rows_in(source_url) as rows:
        rows.add({"id": 1})
        source = open_source(source_url)
        with source.scan() as scan:
            scan.full_page(None)
        how = "ALTER COLUMN start_date TYPE" if "postgres" in source_url else "MODIFY start_date"
        rows.execute(f"ALTER TABLE contracts {how} varchar(40)")

        with pytest.raises(SourceMistake, match="start_date was a date and is of another type now"), source.scan():  # fmt: skip
            pass


def test_a_longer_text_column_does_not_stop_a_sync_that_runs(postgresql_url, open_source):
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1})
        source = open_source(postgresql_url)
        for _ in range(10):  # the driver would prepare a statement that it sees often
            with source.scan() as scan:
                scan.full_page(None)
        rows.execute("ALTER TABLE contracts ALTER COLUMN account_name TYPE varchar(1000)")

        with source.scan() as scan:
            assert len(scan.full_page(None).rows) == 1
