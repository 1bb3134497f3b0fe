"""What is slow behind the page, a source or a locked state, holds up nobody who asks for else."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.support.wait import wait_until

ALWAYS_ANSWERED = ["/healthz", "/metrics", "/login", "/", "/api/status", "/contract?id=1"]


class Hanging:
    """Stands for a call that does not come back before it is let go."""

    def __init__(self) -> None:
        self.begun, self._go = 0, threading.Event()

    def __call__(self, *_: object, **__: object) -> str:
        self.begun += 1
        self._go.wait(60)
        return "at last"

    def let_go(self) -> None:
        self._go.set()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.let_go()


def at_once(many: int, ask: Callable[[], object]) -> tuple[ThreadPoolExecutor, list[Future]]:
    pool = ThreadPoolExecutor(many)
    return pool, [pool.submit(ask) for _ in range(many)]


def test_a_source_that_does_not_answer_holds_up_no_other_page(daemon, monkeypatch, hanging):
    monkeypatch.setattr("cdc_sync.web.pages.explain_unknown", hanging)
    monkeypatch.setattr("cdc_sync.web.context.ANSWERS_WITHIN", 1.5)
    pool, told = at_once(4, lambda: daemon.visit().get("/contract?id=nobody"))
    with pool:
        wait_until(lambda: hanging.begun, "the source is asked")
        answers = [daemon.visit().get(path).status_code for path in ALWAYS_ANSWERED]
        texts = [one.result().text for one in told]
        hanging.let_go()

    assert answers == [200] * len(ALWAYS_ANSWERED)
    assert sum("The source does not answer within 1.5 s." in text for text in texts) == 2
    assert sum("The source has not answered what it was asked before." in t for t in texts) == 2
    wait_until(lambda: "at last" in daemon.visit().get("/contract?id=nobody").text, "it answers")


def test_a_rewind_that_the_source_does_not_answer_moves_nothing(daemon, monkeypatch, hanging):
    monkeypatch.setattr("cdc_sync.operations.watermark.plan_move", hanging)
    monkeypatch.setattr("cdc_sync.web.context.ANSWERS_WITHIN", 0.2)
    answer = daemon.visit(logged_in=True).post("/watermark/rewind", {"to": "2020-01-01T00:00:00Z"})

    assert answer.status_code == 503
    assert "The source does not answer within 0.2 s." in answer.text
    assert daemon.moves() == []


def test_actions_that_wait_for_the_state_hold_up_no_page_and_no_log_in(
    daemon, monkeypatch, hanging
):
    visit = daemon.visit(logged_in=True)
    monkeypatch.setattr("cdc_sync.operations.actions.pause", hanging)
    pool, told = at_once(4, lambda: visit.post("/pause"))
    with pool:
        wait_until(lambda: hanging.begun == 4, "four actions wait")
        answers = [daemon.visit().get(path).status_code for path in ALWAYS_ANSWERED]
        logged_in = daemon.visit().log_in().status_code
        hanging.let_go()

    assert answers == [200] * len(ALWAYS_ANSWERED)
    assert logged_in == 303
    assert [one.result().status_code for one in told] == [303] * 4
