"""One configured sync: its parts, built and closed together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cdc_sync.capture.page import Capture
from cdc_sync.clock import steady_clock, utc_now
from cdc_sync.config.model import Config
from cdc_sync.config.urls import secrets_in_url
from cdc_sync.customergauge.connection import proxy_secrets
from cdc_sync.customergauge.token import TokenKeeper
from cdc_sync.delivery.loop import Delivery
from cdc_sync.files import is_hidden_or
from cdc_sync.log import Redaction
from cdc_sync.measures import Measures
from cdc_sync.source.reader import source_of
from cdc_sync.state.database import Database, open_memory, open_state, state_file
from cdc_sync.state.lease import Lease
from cdc_sync.state.outbox import free_claims_at_start
from cdc_sync.state.schema import (
    current_revision,
    expect_current,
    expect_own,
    take_lease,
    upgrade_tables,
)


@dataclass(slots=True)
class Sync:
    """A sync that may capture and deliver: it holds the instance lock of its state."""

    config: Config
    state: Database
    capture: Capture
    delivery: Delivery
    lease: Lease
    measures: Measures

    def apply_config(self, config: Config) -> None:
        """Applies a configuration in which only keys that may change at once have changed."""
        self.config = self.capture.config = config


@contextmanager
def open_sync(
    config: Config,
    redact: Redaction,
    token_folder: Path | None = None,
    *,
    standby: bool = False,
) -> Iterator[Sync]:
    """Opens everything, in order: state, lock, tables, whom the state belongs to, delivery.

    Raises InstanceRunning where another process captures (with `standby` only on SQLite),
    StateUnavailable, StateRefused.
    """
    state = open_state(config.state.url.get_secret_value())
    try:
        with take_lease(state, standby=standby) as lease:
            expect_own(state, config.customergauge)
            measures = Measures()
            file = token_file(config, token_folder)
            tokens = TokenKeeper(config.customergauge, file, utc_now, measures.record_token_request)
            delivery = Delivery(
                state, config.customergauge, tokens, redact, now=utc_now, measures=measures
            )
            free_claims_at_start(state, utc_now())
            capture = capture_of(config, state.fenced(lease.fence))
            capture = replace(capture, measures=measures)
            try:
                yield Sync(config, state, capture, delivery, lease, measures)
            finally:
                delivery.close()
                capture.source.close()
    finally:
        state.close()


def capture_of(config: Config, state: Database) -> Capture:
    """Returns what scans the source of a configuration into a state."""
    steady_now = steady_clock(utc_now)
    return Capture(config, source_of(config), state, utc_now, steady_now=steady_now)


def token_file(config: Config, folder: Path | None) -> Path | None:
    """Where the token is kept: in `folder` ($STATE_DIRECTORY), else beside the SQLite state."""
    state = state_file(config.state.url.get_secret_value())
    if folder is None and state is None:
        return None
    return (folder or (state or Path()).parent) / "token.json"


def redaction_of(config: Config) -> Redaction:
    """Masks every secret of a configuration."""
    secrets = [config.customergauge.client_secret.get_secret_value()]
    if config.web.token is not None:
        secrets.append(config.web.token.get_secret_value())
    secrets += [url.get_secret_value() for url in config.alerts.urls]
    secrets += proxy_secrets(config.customergauge)
    for url in (config.source.url, config.state.url):
        if text := url.get_secret_value():
            secrets += secrets_in_url(text)
    return Redaction(secrets)


@contextmanager
def open_for_plan(config: Config) -> Iterator[Capture]:
    """Opens the state as it is; where there is none yet, an empty one that is gone afterwards.

    Raises StateUnavailable, StateRefused.
    """
    url = config.state.url.get_secret_value()
    file = state_file(url)
    state = open_memory() if file is not None and not is_hidden_or(file.exists) else open_state(url)
    try:
        if state.file is None and file is not None:
            upgrade_tables(state)
        elif current_revision(state) is None:
            state.close()
            state = open_memory()
            upgrade_tables(state)
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
