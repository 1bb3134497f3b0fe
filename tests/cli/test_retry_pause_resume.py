"""retry, pause and resume, as a process."""

import pytest

from tests.support.bench import Bench
from tests.support.sandbox import Sandbox


@pytest.fixture
def refused(fresh: Bench, sandbox: Sandbox) -> Bench:
    sandbox.strike("status=422")
    fresh.sync_once()
    sandbox.strike()
    return fresh


def test_what_customergauge_refused_is_sent_again_after_a_retry(
    refused: Bench, sandbox: Sandbox
) -> None:
    ran = refused.run("retry", "erp-1", "2", "--json")
    refused.sync_once()

    assert ran.document == {"retried": 2}
    assert set(sandbox.contracts()) == {"erp-1", "erp-2"}


def test_retry_all_leaves_what_our_own_rules_refuse(refused: Bench) -> None:
    ran = refused.run("retry", "--all")

    assert ran.code == 0
    assert "3 contracts are due now." in ran.out
    assert refused.state("SELECT status FROM contract WHERE source_id = '4'") == [("rejected",)]


def test_a_retry_says_what_stays_as_it_is(refused: Bench) -> None:
    assert "1 contract is due now. 1 stays as it is" in refused.run("retry", "1", "4").out


def test_a_retry_makes_the_next_probe_due(refused: Bench) -> None:
    refused.run("retry", "--all")

    assert refused.state("SELECT count(*) FROM control WHERE key = 'resumed_at'") == [(1,)]


@pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["nobody"]])
def test_a_retry_needs_either_known_names_or_all(refused: Bench, arguments: list[str]) -> None:
    assert refused.run("retry", *arguments).code == 2


def test_nothing_is_sent_between_pause_and_resume(fresh: Bench, sandbox: Sandbox) -> None:
    first, second = fresh.run("pause"), fresh.run("pause")
    fresh.sync_once()
    sent_while_paused = len(sandbox.puts())
    resumed, again = fresh.run("resume"), fresh.run("resume")
    fresh.sync_once()

    assert [ran.code for ran in (first, second, resumed, again)] == [0, 0, 0, 0]
    assert "Delivery is paused" in first.out
    assert "paused already" in second.out
    assert "Delivery goes on." in resumed.out
    assert "not paused" in again.out
    assert (sent_while_paused, len(sandbox.puts())) == (0, 3)


def test_operating_needs_no_secret(fresh: Bench) -> None:
    text = fresh.config.read_text()
    fresh.config.write_text(
        text.replace('"client_secret": "sandbox"', '"client_secret": "${NOT_SET}"')
    )

    assert fresh.run("pause").code == 0
    assert fresh.run("resume", "--json").document == {"paused": False}
