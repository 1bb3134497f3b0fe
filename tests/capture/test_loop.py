"""Polls are repeated on schedule."""

import threading

from cdc_sync.capture.loop import PollLoop
from tests.support.bench import Bench
from tests.support.wait import wait_until


def test_polls_go_on_by_themselves_whatever_the_wall_clock_does(bench: Bench):
    stop = threading.Event()
    with bench.open(schedule={"poll": "1s"}) as sync:
        loop = PollLoop(sync.capture, lambda: None)
        polls = threading.Thread(target=loop.run, args=(stop,), daemon=True)
        polls.start()
        try:
            wait_until(lambda: loop.last, "the first poll")
            bench.rows.add({"id": 1})
            wait_until(lambda: loop.last and loop.last.run.changed, "a poll that nobody woke")
        finally:
            stop.set()
            polls.join(10)
