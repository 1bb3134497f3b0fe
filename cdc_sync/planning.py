"""A capture that may only look: for `plan`, which writes nothing, not even a new state."""

from collections.abc import Iterator
from contextlib import contextmanager

from cdc_sync.capture.page import Capture
from cdc_sync.config.model import Config
from cdc_sync.ownership import expect_own
from cdc_sync.state.database import open_memory, open_state, state_file
from cdc_sync.state.migrate import current, expect_current, upgrade
from cdc_sync.sync import capture_of


@contextmanager
def open_for_plan(config: Config) -> Iterator[Capture]:
    """Opens the state as it is; where there is none yet, an empty one that is gone afterwards.

    Raises StateUnavailable, StateRefused.
    """
    url = config.state.url.get_secret_value()
    file = state_file(url)
    state = open_memory() if file is not None and not file.exists() else open_state(url)
    try:
        if state.file is None and file is not None:
            upgrade(state)
        elif current(state) is None:
            state.close()
            state = open_memory()
            upgrade(state)
        else:
            expect_current(state)
            expect_own(state, config.customergauge, adopting=False)
        capture = capture_of(config, state)
        try:
            yield capture
        finally:
            capture.source.close()
    finally:
        state.close()
