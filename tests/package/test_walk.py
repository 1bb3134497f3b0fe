"""One changed row takes the way that CONTRIBUTING prints, through few modules."""

import contextlib
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from cdc_sync.capture.loop import Loops
from tests.support.bench import NEVER, Bench
from tests.support.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
#: What each step may use, and what differs from database to database.
SHARED = {"config", "errors", "clock", "contract", "measures", "log", "wording"}
MOST_MODULES = 20
CHANGED = "Globex"


class Walk:
    """The modules of ours that were entered, and those that were handed the changed value."""

    def __init__(self) -> None:
        self.entered: dict[str, None] = {}
        self.handed: dict[str, None] = {}  # in this order
        self.is_recording = False

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or not self.is_recording:
            return
        name = str(frame.f_globals.get("__name__", ""))
        package, _, module = name.partition(".")
        if package != "cdc_sync" or module.split(".")[0] in SHARED:
            return
        module = "source.dialects" if module.startswith("source.dialects") else module
        self.entered.setdefault(module)
        if any(map(_has_the_change, frame.f_locals.values())):
            self.handed.setdefault(module)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Records in this thread, and in those that were started under `traced`."""
        self.is_recording = True
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            self.is_recording = False


def _has_the_change(value: object) -> bool:
    with contextlib.suppress(Exception):  # an object that is still being made
        return CHANGED in repr(value)
    return False


@contextlib.contextmanager
def traced() -> Iterator[Walk]:
    """Lets the threads that are started in the meantime be recorded, too."""
    walk = Walk()
    threading.setprofile(walk)
    try:
        yield walk
    finally:
        threading.setprofile(None)


def test_one_changed_row_takes_the_way_that_is_printed(bench: Bench, sandbox: Sandbox) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## The walk of one contract")[1].split("\n## ")[0]
    drawn, _, explained = section.partition("\n1. ")
    printed = [path.replace("/", ".") for path in re.findall(r"(?<= )[a-z]+/[a-z_]+", drawn)]
    named = {path.replace("/", ".") for path in re.findall(r"`([a-z]+/[a-z_]+)\.py`", explained)}

    with traced() as walk:
        bench.add_contracts(3)  # what is compiled and asked once is done
        bench.deliver()
        loops = Loops(bench.sync.capture, bench.sync.delivery.wake)
        bench.rows.change(2, account_name=CHANGED)
        with walk.recording():
            loops.polls.poll(NEVER)
            bench.deliver()

    assert sandbox.puts("erp-2")[-1].body["account"] == CHANGED
    assert list(walk.handed) == printed
    assert len(printed) <= MOST_MODULES
    assert named <= set(walk.entered)
