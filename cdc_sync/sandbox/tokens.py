"""The access tokens that the sandbox has issued, each valid for its time."""

from secrets import token_urlsafe
from threading import Lock
from time import monotonic

VALID_MAX = 10_000  # tokens at once; beyond it the oldest ends early


class Tokens:
    """Issues bearer tokens and knows which are valid; any thread may use it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = Lock()
        self._ends: dict[str, float] = {}

    def issue(self) -> str:
        """Give a new token, valid from now on."""
        token = token_urlsafe(32)
        with self._lock:
            self._forget_ended()
            self._ends[token] = monotonic() + self.seconds
        return token

    def admits(self, authorization: bytes) -> bool:
        """Whether this Authorization header carries a valid token."""
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        end = self._ends.get(token.strip())
        return scheme.lower() == "bearer" and end is not None and monotonic() < end

    def revoke_all(self) -> None:
        """Let every token issued so far be worth nothing."""
        with self._lock:
            self._ends.clear()

    def _forget_ended(self) -> None:
        now = monotonic()
        kept = [(token, end) for token, end in self._ends.items() if now < end]
        self._ends = dict(kept[1 - VALID_MAX :])
