"""What people are told, over real HTTP: Apprise's json:// and a webhook."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from cdc_sync.alerts import notifier
from cdc_sync.alerts.notifier import Notifier, receivers
from cdc_sync.config.load import load_config
from cdc_sync.config.model import Config
from cdc_sync.errors import UserMistake
from cdc_sync.state.database import open_state
from cdc_sync.sync import redaction_of
from tests.alerts.conftest import SECRET, Webhook
from tests.support.bench import NOW, Bench
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until

AFTER = timedelta(minutes=10)

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # Apprise's own import


class Watch:
    """The alerts of one process, with a clock that a test moves."""

    def __init__(self, bench: Bench) -> None:
        self._config = load_config(bench.config, os.environ)
        self.now = datetime.now(UTC)
        self.captures = True
        self._alerts = self._made()

    def restart(self) -> None:
        self._alerts = self._made()

    def look(self, later: timedelta = timedelta()) -> None:
        self.now += later
        self._alerts.check()

    def _made(self) -> Notifier:
        state = open_state(self._config.state.url.get_secret_value())
        return Notifier(
            self._config, state, redaction_of(self._config), lambda: self.now, lambda: self.captures
        )


def at(webhook: Webhook, *more: str) -> dict[str, object]:
    return {"urls": [webhook.url, *more], "after": "10m"}


@pytest.fixture
def bench(tmp_path: Path, sandbox: Sandbox, webhook: Webhook) -> Bench:
    made = Bench.with_contracts(tmp_path, sandbox, alerts=at(webhook))
    made.source("DELETE FROM contracts WHERE id = 4")  # the one that is rejected
    return made


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as events:
        yield events


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_standstill_is_alerted_once_despite_a_restart_and_once_when_over(
    bench: Bench, sandbox: Sandbox, webhook: Webhook
):
    sandbox.strike("status=404")
    bench.sync_once()
    watch = Watch(bench)
    watch.look()
    assert webhook.told == []
    watch.look(AFTER)
    watch.restart()
    for _ in range(3):
        watch.look(AFTER)

    assert len(webhook.told) == 1
    assert webhook.says()[0].startswith("Delivery stands still since ")
    assert "(misconfigured)" in webhook.says()[0]
    assert webhook.told[0]["title"] == "cdc-sync needs a look"
    assert webhook.told[0]["message"].endswith(f"{socket.gethostname()}, {bench.folder}/state.db")  # fmt: skip

    sandbox.strike()
    bench.run("resume")
    bench.sync_once()
    watch.look()
    watch.look(timedelta(minutes=1))
    watch.look(AFTER)
    assert len(webhook.told) == 2
    assert webhook.says()[1].startswith("Over: Delivery stands still")
    assert webhook.told[1]["title"] == "cdc-sync is well again"


def test_new_refusals_are_alerted_and_old_ones_not_repeated(bench: Bench, webhook: Webhook):
    bench.source("UPDATE contracts SET account_name = '' WHERE id = 1")
    bench.sync_once()
    watch = Watch(bench)
    watch.look()
    watch.look(AFTER)
    for _ in range(20):
        watch.look(AFTER)
    assert [says.partition(":")[0] for says in webhook.says()] == ["1 contract is rejected"]

    bench.source(f"UPDATE contracts SET account_name = '', updated_at = {NOW} WHERE id = 2")
    bench.sync_once()
    watch.look()
    watch.look(AFTER)
    assert webhook.says()[1].startswith("2 contracts are rejected: cdc-sync contracts list")


def test_an_accepted_rejection_is_alerted_only_once_its_row_changes(bench: Bench, webhook: Webhook):
    bench.source("UPDATE contracts SET account_name = '' WHERE id = 1")
    bench.sync_once()
    assert bench.run("contracts", "accept", "1", "--reason", "a test row").code == 0
    watch = Watch(bench)
    for _ in range(3):
        watch.look(AFTER)
    assert webhook.says() == []

    bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 1")
    bench.sync_once()
    watch.look()
    watch.look(AFTER)
    assert [says.partition(":")[0] for says in webhook.says()] == ["1 contract is rejected"]


def test_held_and_unexplained_rows_are_alerted_but_not_a_pause(bench: Bench, webhook: Webhook):
    bench.sync_once()
    bench.run("pause")
    bench.state("UPDATE contract SET status = 'held' WHERE source_id = '1'")
    bench.state(
        "UPDATE control SET value = json_set(value, '$.unexplained', 7) WHERE key = 'balance'"
    )
    watch = Watch(bench)
    watch.look()
    watch.look(AFTER)

    held = "1 contract is held by the guard: cdc-sync approve, or cdc-sync discard"
    assert webhook.says() == [held, "Unexplained: 7 rows of the source."]


def test_an_alert_that_cannot_be_sent_is_logged_and_retried(
    bench: Bench, sandbox: Sandbox, webhook: Webhook, logged: list[dict[str, object]]
):
    sandbox.strike("status=404")
    bench.sync_once()
    webhook.status = 500
    watch = Watch(bench)
    watch.look()
    watch.look(AFTER)
    tries = webhook.tries
    watch.look()  # no earlier than its back-off says
    assert (webhook.told, webhook.tries) == ([], tries)
    (warning,) = [event for event in logged if event["event"] == "alert.not_sent"]
    assert warning["receiver"] == "1 json"
    assert "500" in str(warning["reason"])

    webhook.status = 200
    watch.restart()
    for _ in range(3):
        watch.look(timedelta(minutes=1))
    assert len(webhook.told) == 1


def test_an_unreachable_receiver_does_not_block_the_others(
    tmp_path: Path, sandbox: Sandbox, webhook: Webhook
):
    dead = f"json://127.0.0.1:{free_port()}"
    bench = Bench.with_contracts(tmp_path, sandbox, alerts=at(webhook, dead, "nonsense://x/y"))
    bench.sync_once()
    watch = Watch(bench)
    watch.look()
    for _ in range(4):
        watch.look(AFTER)

    assert len(webhook.told) == 1


def test_an_unreadable_state_is_alerted_and_ends_no_other_problem(
    bench: Bench, sandbox: Sandbox, webhook: Webhook
):
    sandbox.strike("status=404")
    bench.sync_once()
    watch = Watch(bench)
    watch.look()
    watch.look(AFTER)
    bench.state("ALTER TABLE contract RENAME TO elsewhere")
    watch.look()
    watch.look(AFTER)
    assert ["state database" in says for says in webhook.says()] == [False, True]

    bench.state("ALTER TABLE elsewhere RENAME TO contract")
    watch.look()
    watch.look(AFTER)
    assert [says.startswith("Over") for says in webhook.says()] == [False, False, True]


def test_only_the_daemon_that_captures_alerts_and_its_successor_repeats_nothing(
    bench: Bench, sandbox: Sandbox, webhook: Webhook
):
    sandbox.strike("status=404")
    bench.sync_once()
    first, second = Watch(bench), Watch(bench)
    second.captures = False
    for watch in (first, second, first, second):
        watch.look()
        watch.look(AFTER)
    assert len(webhook.told) == 1

    first.captures, second.captures = False, True
    for watch in (first, second, first, second):
        watch.look(2 * AFTER)
    assert len(webhook.told) == 1

    sandbox.strike()
    bench.run("resume")
    bench.sync_once()
    for watch in (first, second, first, second):
        watch.look(2 * AFTER)
    assert [says.startswith("Over") for says in webhook.says()] == [False, True]


def test_a_standby_alerts_to_an_unreadable_state_alone(bench: Bench, webhook: Webhook):
    bench.sync_once()
    bench.state("UPDATE contract SET status = 'held' WHERE source_id = '1'")
    watch = Watch(bench)
    watch.captures = False
    watch.look()
    watch.look(AFTER)
    assert webhook.told == []

    bench.state("ALTER TABLE contract RENAME TO elsewhere")
    watch.look()
    watch.look(AFTER)
    bench.state("ALTER TABLE elsewhere RENAME TO contract")
    watch.look()
    watch.look(AFTER)
    assert [says.partition("The")[0] for says in webhook.says()] == ["", "Over: "]


def test_check_counts_the_receivers(bench: Bench):
    findings = bench.run("check", "--json").document["findings"]
    (found,) = [finding for finding in findings if finding["name"] == "alerts"]

    assert found["ok"]
    assert found["says"] == "1 receiver; to try: cdc-sync alerts test"


def told(webhook: Webhook, words: str) -> Callable[[], bool]:
    return lambda: any(words in says for says in webhook.says())


def test_the_daemon_alerts_to_an_unreachable_source_and_keeps_the_urls_secret(
    tmp_path: Path, sandbox: Sandbox, webhook: Webhook, logged: list[dict[str, object]]
):
    urls = [webhook.url, f"json://127.0.0.1:{free_port()}/{SECRET}"]
    bench = Bench.with_contracts(
        tmp_path, sandbox, schedule={"poll": "1s"}, alerts={"urls": urls, "after": "1s"}
    )
    with bench.open(), bench.daemon_thread():
        wait_until(lambda: len(sandbox.contracts()) == 3, "the first run is delivered")
        bench.source("ALTER TABLE contracts RENAME TO elsewhere")
        wait_until(told(webhook, "The last poll failed: "), "people are told")
        bench.source("ALTER TABLE elsewhere RENAME TO contracts")
        wait_until(told(webhook, "Over: The last poll failed"), "people are told that it is over")
        bench.source(f"UPDATE contracts SET plan = 'New', updated_at = {NOW} WHERE id = 1")  # fmt: skip
        wait_until(lambda: sandbox.contracts()["erp-1"]["description"] == "New", "it goes on")

    assert sum("The last poll failed" in says for says in webhook.says()) == 2
    assert [event for event in logged if event["event"] == "alert.not_sent"]
    assert SECRET not in json.dumps(logged, default=str)
    assert SECRET not in str(bench.state("SELECT value FROM control"))


def config_with(**alerts: Any) -> Config:
    """A configuration with these alerts."""
    gauge = {"region": "eu", "client_id": "us", "client_secret": SECRET}
    source = {"url": "sqlite:///a.db", "table": "t", "id": "id", "watermark": "w"}
    mapping = {"reference": "erp-{id}", "account": "a", "start": "s"}
    sections = {"source": source, "mapping": mapping, "customergauge": gauge, "alerts": alerts}
    return Config.model_validate(sections)


@pytest.mark.quick
def test_without_apprise_the_hint_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notifier, "find_spec", lambda _name: None)
    with pytest.raises(UserMistake) as said:
        receivers(config_with(urls=["json://127.0.0.1"]))

    assert said.value.exit_code == 2
    assert said.value.hint == "Install it: pip install 'cdc-sync[alerts]'"
    assert receivers(config_with(urls=[])) == []


def test_alerts_test_reports_each_url(tmp_path: Path, sandbox: Sandbox, webhook: Webhook):
    dead = f"json://127.0.0.1:{free_port()}/{SECRET}?token=hunter2secret"
    good = Bench.with_contracts(tmp_path, sandbox, alerts=at(webhook))
    assert good.run("alerts", "test").out.split() == ["ok", "1", "json", "sent"]
    assert good.run("alerts", "test", "--json").document == {
        "ok": True,
        "receivers": [{"receiver": "1 json", "ok": True, "says": None}],
    }

    (tmp_path / "other").mkdir()
    mixed = Bench.with_contracts(
        tmp_path / "other", sandbox, alerts=at(webhook, dead, f"slack://{SECRET}")
    ).run("alerts", "test")
    assert mixed.code == 1
    assert [line.split()[:3] for line in mixed.out.splitlines()] == [
        ["ok", "1", "json"],
        ["FAIL", "2", "json"],
        ["FAIL", "3", "slack"],
    ]
    assert SECRET not in mixed.out + mixed.err
    assert "hunter2secret" not in mixed.out + mixed.err
    assert mixed.err == ""
    assert len(webhook.told) == 3


def test_alerts_test_without_urls_is_a_user_mistake(tmp_path: Path, sandbox: Sandbox):
    ran = Bench.with_contracts(tmp_path, sandbox).run("alerts", "test")

    assert ran.code == 2
    assert "`alerts.urls` is empty" in ran.err
