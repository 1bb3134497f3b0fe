"""What only the source can say, asked so that a source that is slow holds up no page."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from cdc_sync.errors import SourceUnavailable

ANSWERS_WITHIN = 5.0  # seconds that a person is left waiting
AT_A_TIME = 2  # questions on their way: each is a connection to the source

T = TypeVar("T")


class Asking:
    """Asks in threads of its own: a few at once, and none is waited for longer than a while."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(AT_A_TIME)

    def ask(self, question: Callable[[], T]) -> T:
        """Its answer. Raises what it raises, and SourceUnavailable where none comes in time."""
        if not self._free.acquire(blocking=False):
            raise SourceUnavailable("The source has not answered what it was asked before.")
        answer: Future[T] = Future()
        # Not the interpreter's own pool: that one waits at the end for what hangs.
        threading.Thread(target=self._wait, args=(question, answer), daemon=True).start()
        try:
            return answer.result(ANSWERS_WITHIN)
        except TimeoutError:
            says = f"The source does not answer within {ANSWERS_WITHIN:g} s."
            raise SourceUnavailable(says) from None

    def _wait(self, question: Callable[[], T], answer: Future[T]) -> None:
        try:
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001 (it is raised where it was asked)
            answer.set_exception(error)
        finally:
            self._free.release()
