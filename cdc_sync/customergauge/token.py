"""The one current token: renewed a minute early, by one thread, kept in a 0600 file."""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.errors import TokenRefused, TokenUnavailable
from cdc_sync.files import open_private

if TYPE_CHECKING:
    from cdc_sync.customergauge.token_request import Issued

RENEW_BEFORE = timedelta(minutes=1)
DEFAULT_LIFE = timedelta(hours=1)  # documented; used where `expires_in` is missing or absurd


@dataclass(frozen=True, slots=True)
class Token:
    """An access token; its secret is in no repr."""

    secret: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at})"

    def usable(self, now: datetime) -> bool:
        """Whether it may still be sent."""
        return now < self.expires_at

    def stale(self, now: datetime) -> bool:
        """Whether it ends so soon that another should take its place."""
        return now >= self.expires_at - RENEW_BEFORE


class TokenKeeper:
    """Gives the current token, and fetches a new one in a thread of its own."""

    def __init__(
        self,
        config: CustomerGaugeConfig,
        file: Path | None,
        now: Callable[[], datetime],
        told: Callable[[str], None] = lambda _result: None,
    ) -> None:
        self._config = config
        self._file = file
        self._now = now
        self._told = told
        self._lock = threading.Lock()
        self._token = self._from_file()
        self._renew_at = _renewal_of(self._token, now())
        self._refused: str | None = None
        self._thread: threading.Thread | None = None
        self.failure: TokenUnavailable | None = None

    def current(self) -> Token | None:
        """The token to send now, or None; starts no request."""
        with self._lock:
            token = self._token
        return token if token is not None and token.usable(self._now()) else None

    def wants_renewal(self) -> bool:
        """Whether a new token should be asked for, and none is under way."""
        with self._lock:
            token, busy = self._token, self._thread is not None and self._thread.is_alive()
        return not busy and (token is None or self._now() >= self._renew_at)

    def refused(self, token: Token) -> bool:
        """CustomerGauge refuses this token: drop it. False where it was replaced already."""
        with self._lock:
            if self._token is None or self._token.secret != token.secret:
                return False
            self._token, self._refused = None, token.secret
            return True

    def renew(self, done: Callable[[], None]) -> None:
        """Asks for a new token in a thread of its own and calls `done` at its end."""

        def work() -> None:
            try:
                self.fetch()
                self.failure = None
            except TokenUnavailable as error:
                self.failure = error
            except Exception as error:  # noqa: BLE001  # without a failure it would be asked for at once
                self.failure = TokenUnavailable(f"Our own defect: {type(error).__name__}.")
            finally:
                self._thread = None
                done()

        self._thread = threading.Thread(target=work, name="token", daemon=True)
        self._thread.start()

    def fetch(self) -> Token:
        """A usable token: from the file where another process left one, else a new one.

        Raises TokenUnavailable, or TokenRefused for a client that the endpoint does not take.
        """
        with self._between_processes():
            found = self._from_file()
            if found is None or found.secret == self._refused or found.stale(self._now()):
                found = self._requested()
                self._to_file(found)
        with self._lock:
            self._token, self._renew_at = found, _renewal_of(found, self._now())
        return found

    def _requested(self) -> Token:
        # Its libraries cost 70 ms, and most commands find a token in the file.
        from cdc_sync.customergauge.token_request import request_token  # noqa: PLC0415

        try:
            token = self._issued(request_token(self._config, self._now()))
        except TokenUnavailable as error:
            self._told("refused" if isinstance(error, TokenRefused) else "unavailable")
            raise
        self._told("ok")
        return token

    def _issued(self, issued: "Issued") -> Token:
        life = issued.expires_in
        sound = life is not None and 0 < life < 10 * 365 * 24 * 3600
        return Token(
            issued.secret,
            self._now() + (timedelta(seconds=life) if sound and life else DEFAULT_LIFE),
        )

    def _from_file(self) -> Token | None:
        if self._file is None:
            return None
        try:
            document = json.loads(self._file.read_text())
            if document["for"] != self._owner():
                return None
            expires = datetime.fromisoformat(document["expires_at"]).astimezone(UTC)
            return Token(str(document["access_token"]), expires)
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None  # an unreadable token file counts as none

    def _to_file(self, token: Token) -> None:
        if self._file is None:
            return
        document = {
            "for": self._owner(),
            "access_token": token.secret,
            "expires_at": token.expires_at.isoformat(),
        }
        try:
            _replace(self._file, json.dumps(document))
        except OSError:
            return  # the token works all the same; the next process asks for one of its own

    def _owner(self) -> list[str]:
        return [self._config.token_endpoint, self._config.client_id]

    @contextmanager
    def _between_processes(self) -> Iterator[None]:
        """Two processes with one file ask one after the other, and the second finds the first's."""
        if self._file is None:
            yield
            return
        try:
            handle: IO[str] | None = open(f"{self._file}.lock", "a", opener=open_private)  # noqa: SIM115
        except OSError:
            handle = None
        try:
            if handle is not None:
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            if handle is not None:
                handle.close()


def _renewal_of(token: Token | None, now: datetime) -> datetime:
    """When to ask for the next: a minute before the end, but never at once for one so short."""
    if token is None:
        return now
    return max(token.expires_at - RENEW_BEFORE, now + (token.expires_at - now) / 2)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(open_private(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(path)
