"""The log of the last hour, kept for the page."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from cdc_sync.log import KEPT, LONGEST, MOST_LINES, RecentLog, Redaction, configure_log

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.quick
def test_it_is_bounded_in_lines_in_time_and_in_length():
    now = [NOON]
    recent = RecentLog(lambda: now[0])
    recent(None, "info", {"event": "old", "level": "info"})
    now[0] += KEPT + timedelta(seconds=1)
    for number in range(MOST_LINES + 5):
        recent(None, "info", {"event": "new", "level": "info", "text": "x" * 10_000, "n": number})
    lines = recent.lines()

    assert len(lines) == MOST_LINES
    assert {line.event for line in lines} == {"new"}
    assert len(dict(lines[0].fields)["text"]) == LONGEST
    assert dict(lines[0].fields)["n"] == str(MOST_LINES + 4), "the newest is the first"
    assert recent.count == MOST_LINES + 6


@pytest.mark.quick
def test_of_a_traceback_only_the_end_is_kept():
    recent = RecentLog(lambda: NOON)
    trace = 'Traceback\n  File "/srv/x.py", line 1\nZeroDivisionError: division by zero'
    recent(None, "error", {"event": "daemon.thread_died", "level": "error", "exception": trace})

    assert dict(recent.lines()[0].fields) == {"exception": "ZeroDivisionError: division by zero"}


def test_it_keeps_from_info_on_without_secrets_also_where_less_is_printed(capsys, monkeypatch):
    recent = RecentLog()
    configure_log("error", "json", Redaction(["hush-hush"]), recent)
    try:
        log = structlog.get_logger()
        log.debug("too.much")
        log.info("token.recovered", says="it was hush-hush")
        log.error("state.unavailable")
    finally:
        structlog.reset_defaults()

    assert [line.event for line in recent.lines()] == ["state.unavailable", "token.recovered"]
    assert dict(recent.lines()[1].fields) == {"says": "it was ***"}
    printed = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert printed == ["state.unavailable"]


@pytest.mark.quick
@pytest.mark.parametrize("text", ["50%25 of %41", "C:\\u0061", "a+b & c", "Basic plan", "&#x41;"])
def test_encodings_without_a_secret_stay_as_they_are(text):
    assert Redaction(["hush-hush"])(text) == text


@pytest.mark.quick
@pytest.mark.parametrize("text", [" " * 50_000, "\\" * 50_000, "%25" * 50_000, "a \\ " * 20_000])
def test_no_text_makes_the_search_for_secrets_slow(text):
    assert Redaction(["a  b", "\\a/b c", "% a&b"])(text) == text
