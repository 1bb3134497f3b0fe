"""What stands behind the API's paths: the token endpoint, PUT /contracts and PUT /accounts."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import parse_qs

from cdc_sync.sandbox.exchange import Answer, Request, json_answer
from cdc_sync.sandbox.ledger import Arrival, Entry, Ledger
from cdc_sync.sandbox.tokens import Tokens

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class TokenService:
    """POST /oauth2/token: OAuth2 client credentials, sent in the form body (RFC 6749, 4.4)."""

    tokens: Tokens
    ledger: Ledger
    client_id: str
    client_secret: str

    def apply(self, request: Request, _fault: str | None) -> Answer:
        """Issue a token to our client."""
        form = _form(request)
        if form.get("grant_type") != "client_credentials":
            known = "grant_type" in form
            return _refusal(400, "unsupported_grant_type" if known else "invalid_request")
        if (form.get("client_id"), form.get("client_secret")) != (
            self.client_id,
            self.client_secret,
        ):
            return _refusal(401, "invalid_client")
        self.ledger.count_token()
        token = {"access_token": self.tokens.issue(), "token_type": "Bearer"}
        return json_answer(200, token | {"expires_in": int(self.tokens.seconds)}, NO_STORE)

    def turn_away(self, request: Request, status: int | None, fault: str | None) -> None:
        """Nothing to note: only tokens that were issued count."""

    def expire(self) -> None:
        """End the tokens so far; the one that is asked for is good."""
        self.tokens.revoke_all()


@dataclass(frozen=True, slots=True)
class PutService:
    """PUT /contracts or PUT /accounts."""

    path: str
    put: Callable[[Arrival], Entry]
    tokens: Tokens
    ledger: Ledger

    def apply(self, request: Request, fault: str | None) -> Answer:
        """Check the caller, then apply the body by the documented rules."""
        status = self._objection(request)
        if status is not None:
            self.turn_away(request, status, fault)
            return json_answer(status, {"message": OBJECTIONS[status]})
        return _told(self.put(self._arrival(request, fault)), request)

    def turn_away(self, request: Request, status: int | None, fault: str | None) -> None:
        """Keep it in the ledger as not applied."""
        self.ledger.turn_away(self._arrival(request, fault), status)

    def expire(self) -> None:
        """End the tokens so far, the caller's, too."""
        self.tokens.revoke_all()

    def _arrival(self, request: Request, fault: str | None) -> Arrival:
        return Arrival(self.path, _json(request.raw), request.arrived, fault)

    def _objection(self, request: Request) -> int | None:
        if not self.tokens.admits(request.headers.get(b"authorization", b"")):
            return 401
        if request.raw is None:
            return 413
        return None if _media_type(request) == JSON else 415


NO_STORE = {"cache-control": "no-store"}
OBJECTIONS = {
    401: "Unauthenticated.",
    413: "The payload is too large.",
    415: "The Content-Type must be application/json.",
}


def _told(entry: Entry, request: Request) -> Answer:
    if entry.applied:
        return json_answer(entry.status or 200, {"data": {"reference": entry.reference}})
    # Laravel takes a caller that does not ask for JSON to be a browser, and sends it back.
    if JSON not in request.headers.get(b"accept", b""):
        return Answer(302, b"", {"location": "/"})
    refusal = {"message": "The given data was invalid.", "errors": entry.errors}
    return json_answer(entry.status or 422, refusal)


def _refusal(status: int, error: str) -> Answer:
    return json_answer(status, {"error": error, "error_description": REASONS[error]}, NO_STORE)


REASONS = {
    "invalid_request": "The request lacks the parameter grant_type.",
    "unsupported_grant_type": "The grant_type must be client_credentials.",
    "invalid_client": "Client authentication failed.",
}


def _form(request: Request) -> dict[str, str]:
    if _media_type(request) != FORM or request.raw is None:
        return {}
    fields = parse_qs(request.raw.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def _media_type(request: Request) -> bytes:
    return request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


# Python reads NaN and Infinity, which JSON does not have and CustomerGauge cannot read.
STRICT = json.JSONDecoder(parse_constant=_no_constant)


def _json(raw: bytes | None) -> Any:
    try:
        return STRICT.decode((raw or b"").decode("utf-8"))
    except (ValueError, RecursionError):
        return None
