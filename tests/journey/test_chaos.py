import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.judge import Kill, Put, judge

ROOT = Path(__file__).resolve().parents[2]
FIRST = Put("erp-1", "ACME", "r2", 2, started=0.0, finished=1.0, acknowledged=True, doubt=None)
AGAIN = FIRST._replace(started=9.0, finished=10.0)
LOST = FIRST._replace(acknowledged=False, doubt="lost_answer")
THROTTLED = FIRST._replace(started=60.0, finished=60.0, acknowledged=False)
FREEZE = Kill(at=2.0, over=6.0, claimed={"erp-1": 1.5}, kind="freeze")
KILL = Kill(at=2.0, over=2.3, claimed={"erp-1": 1.5})


def _chaos(*options: str) -> tuple[int, dict[str, Any], str]:
    """The exit code of a run, its figures, and what it said of violations."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.chaos", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def test_nothing_is_lost_or_sent_without_need_whenever_it_is_killed():
    code, figures, stories = _chaos("--kills", "20")

    assert code == 0, stories
    assert figures["kills"] == 20
    # A run in which nothing was at stake would prove nothing.
    assert figures["in_doubt_at_kills"] > 0
    assert figures["source_crashes"] > 0
    assert figures["basis"] == "horizon"
    assert figures["full_scans"] == 1
    assert {"long", "overlapping", "prepared", "rolled_back"} <= figures["transactions"].keys()


def test_several_daemons_lose_and_repeat_nothing_when_they_or_their_state_die_or_freeze():
    code, figures, stories = _chaos("--daemons", "3", "--kills", "5")

    assert code == 0, stories
    assert (figures["kills"], figures["state_crashes"], figures["freezes"]) == (5, 1, 1)
    assert figures["in_doubt_at_kills"] > 0
    assert figures["full_scans"] == 1


@pytest.mark.parametrize("control", ["--naive-watermark", "--no-durable-ack"])
def test_a_run_without_one_guarantee_is_caught(control: str):
    # On a slow machine no poll may fall into the moment that it takes, so there are three storms.
    for seed in range(1, 4):
        code, figures, stories = _chaos(control, "--kills", "5", "--seed", str(seed))
        if code:
            break

    assert code == 1, figures
    assert figures["violations"]["lost"] + figures["violations"]["stale"] > 0, stories
    assert figures["violations"]["daemon_ended"] == 0, stories


@pytest.mark.quick
@pytest.mark.parametrize(
    ("second", "violation"),
    [
        (AGAIN, "needless"),
        (AGAIN._replace(payload="r1", revision=1), "backwards"),
        (AGAIN._replace(payload="r3", revision=3, started=0.5), "overlapping"),
        (AGAIN._replace(reference="erp-1-red"), "two_references"),
        (AGAIN._replace(reference="erp-2", account="Globex"), None),
        (AGAIN._replace(payload="r3", revision=3), None),
    ],
)
def test_the_judge_sees_in_the_log_what_may_not_be(second: Put, violation: str | None):
    violations = judge([FIRST, second], []).violations

    assert {kind for kind, stories in violations.items() if stories} == {violation} - {None}


@pytest.mark.quick
@pytest.mark.parametrize(
    ("woken", "explained"),
    [
        (FREEZE, 1),
        (FREEZE._replace(claimed={}), 0),
        (FREEZE._replace(over=3.5), 0),
    ],
)
def test_the_judge_lets_a_frozen_daemon_that_wakes_overlap_once(woken: Kill, explained: int):
    newer = FIRST._replace(payload="r3", revision=3, started=4.0, finished=5.0)
    late = FIRST._replace(started=4.5, finished=5.5)
    too_late = newer._replace(started=5.2, finished=5.8)
    findings = judge([FIRST, newer, late, too_late], [woken])

    assert findings.overlaps["freeze"] == explained
    assert len(findings.violations["overlapping"]) == 2 - explained


@pytest.mark.quick
@pytest.mark.parametrize(
    ("puts", "kills", "why"),
    [
        ([FIRST, AGAIN], [KILL], "kill"),
        ([FIRST, LOST._replace(payload="r3", started=2.0, finished=3.0), AGAIN], [], "lost_answer"),
        ([LOST, FIRST._replace(started=2.0), AGAIN._replace(started=60.0)], [], "confirm"),
        (
            [LOST, FIRST._replace(started=2.0), THROTTLED, AGAIN._replace(started=62.0)],
            [],
            "confirm",
        ),
        ([LOST, FIRST._replace(started=2.0), AGAIN], [], None),
        ([FIRST, AGAIN], [KILL._replace(at=20.0, over=20.3)], None),
    ],
)
def test_the_judge_lets_a_doubt_alone_justify_one_put_more(
    puts: list[Put], kills: list[Kill], why: str | None
):
    findings = judge(puts, kills)

    assert set(findings.repeats) == {why} - {None}
    assert len(findings.violations["needless"]) == (why is None)
