"""Secrets never reach a log, a message, the state or the page: they are masked at the border."""

import re
from collections.abc import Iterable

MASK = "***"
_BEARER = re.compile(r"(?i)(bearer\s+)[^\s\"',;}]+")


class Redaction:
    """Masks the secrets it was told of, and whatever follows `Bearer`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= 4}, key=len, reverse=True)

    def learn(self, secret: str) -> None:
        """Adds a secret that came later: a token."""
        if secret not in self._secrets:
            # The last few tokens are enough; the configured secrets come first for ever.
            self._secrets = [*self._secrets[:64], secret]

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return _BEARER.sub(rf"\1{MASK}", text)
