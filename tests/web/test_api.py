"""What machines read: /api/status, /healthz and /metrics."""

import json
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cdc_sync.web.context import Health, unhealthy_reason
from tests.support.wait import wait_until

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
PROMISED = {
    "contracts", "last_poll_timestamp_seconds", "watermark_lag_seconds", "horizon_in_force",
    "unexplained_rows", "polls", "poll_seconds", "source_rows_read", "unchanged_rows", "puts",
    "put_seconds", "change_to_ack_seconds", "token_requests", "api_state",
    "reconcile_found_missed", "held_contracts", "build_info",
}  # fmt: skip


def measured(daemon) -> dict[tuple, float]:
    """Every sample by its name and labels."""
    text = daemon.visit().text("/metrics")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_status_is_that_of_the_command(daemon):
    command = daemon.bench.run("status", "--json").document
    served = daemon.visit().get("/api/status").json()

    assert served.keys() == command.keys()
    steady = ["contracts", "totals", "paused", "balance", "instances"]
    assert [served[name] for name in steady] == [command[name] for name in steady]
    assert served["daemon"]["running"] is True


def test_every_promised_metric_is_there(daemon):
    daemon.await_poll()
    text = daemon.visit().get("/metrics")
    names = {family.name for family in text_string_to_metric_families(text.text)}

    assert text.headers["content-type"].startswith("text/plain; version=")
    assert {f"cdc_sync_{name}" for name in PROMISED} <= names


@pytest.mark.parametrize("name", ["prometheus-alerts.yml", "grafana-dashboard.json"])
def test_the_alerts_and_the_dashboard_ask_for_metrics_that_are_there(daemon, name):
    daemon.await_poll()
    served = {name for name, *_ in measured(daemon)}
    text = (DOCS / name).read_text()
    asked = set(re.findall(r"\bcdc_sync_\w+", text))

    assert len(asked) > 5
    assert asked - served == set()


def test_the_dashboard_shows_every_metric(daemon):
    asked = set(re.findall(r"\bcdc_sync_(\w+)", (DOCS / "grafana-dashboard.json").read_text()))
    shown = {re.sub(r"_(total|bucket)$", "", name) for name in asked}

    assert PROMISED - shown == {"build_info"}


def test_what_was_sent_is_counted_and_timed(daemon):
    before = measured(daemon)
    daemon.bench.source("UPDATE contracts SET plan = 'Silver', updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = 2")  # fmt: skip
    wait_until(
        lambda: daemon.sandbox.contracts()["erp-2"]["description"] == "Silver", "it is delivered"
    )
    wait_until(lambda: measured(daemon) != before, "it is measured")
    after = measured(daemon)

    assert before["cdc_sync_puts_total", "201"] == 3
    assert after["cdc_sync_puts_total", "200"] == 1
    assert after["cdc_sync_put_seconds_count",] == 4
    assert after["cdc_sync_put_seconds_bucket", "+Inf"] == 4
    assert after["cdc_sync_change_to_ack_seconds_count",] == 4
    assert after["cdc_sync_token_requests_total", "ok"] == 1
    assert after["cdc_sync_polls_total", "ok"] >= 2
    assert after["cdc_sync_source_rows_read_total",] >= 5
    assert after["cdc_sync_contracts", "rejected"] == 1
    assert after["cdc_sync_api_state", "ok"] == 1
    assert after["cdc_sync_api_state", "forbidden"] == 0


def test_a_resent_contract_has_no_time_to_acknowledgement(daemon):
    assert daemon.bench.run("contracts", "resend", "1").code == 0
    wait_until(lambda: len(daemon.sandbox.puts("erp-1")) == 2, "it is sent once more")
    wait_until(lambda: measured(daemon)["cdc_sync_put_seconds_count",] == 4, "it is measured")

    assert measured(daemon)["cdc_sync_change_to_ack_seconds_count",] == 3


def test_the_daemon_is_healthy_while_polls_succeed(daemon):
    answer = daemon.visit().get("/healthz")

    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_the_daemon_is_unhealthy_while_the_source_is_away(daemon, monkeypatch):
    daemon.bench.source("ALTER TABLE contracts RENAME TO elsewhere")
    visit = daemon.visit()
    monkeypatch.setattr("cdc_sync.web.context.SHORTEST_PATIENCE", timedelta())
    wait_until(lambda: visit.get("/healthz").status_code == 503, "it is not healthy")

    assert "No poll has ended well for" in visit.get("/healthz").text
    daemon.bench.source("ALTER TABLE elsewhere RENAME TO contracts")
    wait_until(lambda: visit.get("/healthz").status_code == 200, "it is healthy again")


def test_a_taken_port_does_not_stop_delivery(tmp_path, sandbox, bench, start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = json.loads(bench.config.read_text())
        config["web"]["listen"] = f"127.0.0.1:{port}"
        bench.config.write_text(json.dumps(config))
        taken.listen()
        ran = bench.run("status")
        assert ran.code == 0, ran.err
        _expect_delivery_without_a_page(bench, sandbox)


def _expect_delivery_without_a_page(bench, sandbox):
    import os
    import signal
    import subprocess
    import sys

    command = [sys.executable, "-m", "cdc_sync", "--config", str(bench.config), "run"]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: len(sandbox.contracts()) == 3, "it delivers all the same")
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert '"event": "page.unavailable"' in log
    assert "Address already in use" in log


@pytest.mark.quick
@pytest.mark.parametrize(
    ("age", "quiet", "is_well"),
    [(0, 0, True), (44, 1, True), (46, 1, False), (-3600, 0, True), (0, 61, False)],
)
def test_health_depends_on_polls_and_on_the_progress_of_delivery(age, quiet, is_well):
    health = Health(NOON - timedelta(seconds=age), None, quiet)

    assert (unhealthy_reason(health, timedelta(seconds=15), NOON) is None) == is_well


@pytest.mark.quick
def test_a_standby_is_healthy_without_polls_of_its_own():
    health = Health(NOON - timedelta(days=1), None, 0, is_capturing=False)

    assert unhealthy_reason(health, timedelta(seconds=15), NOON) is None
