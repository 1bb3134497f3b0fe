"""The stream of events, as a browser reads it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from tests.support.bench import NOW
from tests.support.wait import wait_until

TOKEN = "correct-horse-battery"


@contextmanager
def stream(daemon, path: str, **headers: str) -> Iterator[Iterator[dict[str, str]]]:
    """The events of a stream, each as what has changed."""
    with requests.get(daemon.url + path, headers=headers, stream=True, timeout=20) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines(chunk_size=1, decode_unicode=True)
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: "))


def test_the_overviews_stream_begins_with_every_region_and_continues_with_changes(daemon):
    with stream(daemon, "/live?view=overview") as events:
        assert set(next(events)) == {"verdict", "statuses", "progress", "charts"}
        daemon.bench.source(f"UPDATE contracts SET account_name = 'Hooli', updated_at = {NOW} WHERE id = 4")  # fmt: skip
        found = next(e["statuses"] for e in events if "<b>4</b>" in e.get("statuses", ""))

    assert 'href="/contracts?status=synced"' in found


def test_only_who_may_act_is_sent_buttons(daemon):
    with stream(daemon, "/live?view=overview") as events:
        assert "<button" not in next(events)["verdict"]
    with stream(daemon, "/live?view=overview", Authorization=f"Bearer {TOKEN}") as events:
        assert "<button" in next(events)["verdict"]


def test_other_pages_are_notified_of_a_change(daemon):
    with stream(daemon, "/live") as events:
        wait_until(lambda: viewers(daemon) >= 1, "the stream has begun")
        daemon.bench.source(f"UPDATE contracts SET account_name = 'Hooli', updated_at = {NOW} WHERE id = 4")  # fmt: skip

        assert set(next(events)) == {"page"}


def viewers(daemon) -> int:
    return 1 if daemon.counts() else 0


def test_open_streams_do_not_delay_the_daemons_end(bench, start):
    with start(bench) as daemon, stream(daemon, "/live?view=overview") as events:
        next(events)
        # The end of `start` asserts that the daemon has stopped.


def test_a_stream_needs_the_right_to_read(daemon):
    answer = requests.get(f"{daemon.url}/live", headers={"Forwarded": "for=1.2.3.4"}, timeout=20)

    assert answer.status_code == 401


@pytest.mark.parametrize("window", ["day", "nonsense", "hour"])
def test_the_charts_are_of_the_window_that_is_asked_for(daemon, window):
    with stream(daemon, f"/live?view=overview&window={window}") as events:
        expected = "day" if window == "day" else "hour"
        assert f"Charts of the last {expected}" in next(events)["charts"]


def test_a_viewer_beyond_the_limit_is_told_so(daemon, monkeypatch):
    monkeypatch.setattr("cdc_sync.web.live.MOST_VIEWERS", 1)
    with stream(daemon, "/live?view=overview") as events:
        next(events)
        second = requests.get(f"{daemon.url}/live", timeout=20)

        assert second.text == "event: full\ndata: 1\n\n"


def test_the_watermarks_page_is_notified_of_a_new_horizon(daemon):
    with stream(daemon, "/live?view=watermark") as events:
        assert set(next(events)) == {"page"}
