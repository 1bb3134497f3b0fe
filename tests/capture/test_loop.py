"""Polls are repeated on schedule."""

import threading

from cdc_sync.capture.loop import PollLoop
from tests.support.there import There
from tests.support.wait import wait_until


def test_polls_go_on_by_themselves_whatever_the_wall_clock_does(there: There):
    stop = threading.Event()
    with there.open(schedule={"poll": "1s"}) as sync:
        loop = PollLoop(sync.capture, lambda: None)
        polls = threading.Thread(target=loop.run, args=(stop,), daemon=True)
        polls.start()
        try:
            wait_until(lambda: loop.last, "the first poll")
            there.rows.add({"id": 1})
            wait_until(lambda: loop.last and loop.last.run.changed, "a poll that nobody woke")
        finally:
            stop.set()
            polls.join(10)
