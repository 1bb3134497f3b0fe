"""db current, upgrade and adopt, as a process."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cdc_sync.state.tables import REVISION
from tests.support.bench import Bench


def test_a_state_that_is_not_there_is_not_made_by_looking(fresh: Bench) -> None:
    ran = fresh.run("db", "current", "--json")

    assert ran.document == {"current": None, "newest": REVISION}
    assert not (fresh.folder / "state.db").exists()


def test_an_upgrade_makes_the_tables_once(fresh: Bench) -> None:
    first, second = fresh.run("db", "upgrade"), fresh.run("db", "upgrade")

    assert (first.code, second.code) == (0, 0)
    assert f"to revision {REVISION}" in first.out
    assert "already" in second.out
    assert fresh.run("db", "current", "--json").document["current"] == REVISION


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_commands_that_meet_where_there_is_no_state_yet_all_succeed(
    fresh: Bench, backend: str, request: pytest.FixtureRequest
) -> None:
    """The first makes the tables, and the others wait for it."""
    if backend == "postgresql":
        fresh.configure(state={"url": request.getfixturevalue("postgresql_url")})
    commands = (["status"], ["db", "upgrade"], ["once"], ["status"], ["contracts", "list"])
    with ThreadPoolExecutor(len(commands)) as pool:
        ran = list(pool.map(lambda command: fresh.run(*command), commands))

    assert not [one.err for one in ran if "older version" in one.err or "at work" in one.err]
    assert [ran[1].code, ran[4].code] == [0, 0]
    assert len(fresh.sandbox.contracts()) == 3, "once has delivered"
    assert fresh.run("db", "current", "--json").document["current"] == REVISION


def test_a_state_from_a_newer_version_is_refused(synced: Bench) -> None:
    synced.state("UPDATE alembic_version SET version_num = '9999'")

    ran = synced.run("db", "upgrade")

    assert ran.code in {1, 2}
    assert "9999" in ran.err
    assert REVISION in ran.err


def test_a_state_is_adopted_by_another_client_of_the_same_platform(synced: Bench) -> None:
    text = synced.config.read_text()
    synced.config.write_text(text.replace('"client_id": "sandbox"', '"client_id": "renewed"'))

    asked = synced.run("db", "adopt")
    done = synced.run("db", "adopt", "--yes")

    assert asked.code == 2
    assert "(client sandbox)" in asked.out
    assert "(client renewed)" in asked.out
    assert done.code == 0
    assert "already" in synced.run("db", "adopt").out
