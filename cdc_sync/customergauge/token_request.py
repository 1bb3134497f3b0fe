"""One request to the token endpoint, by requests-oauthlib's client-credentials flow."""

import json
import logging
import math
import os
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests import RequestException
from requests.adapters import HTTPAdapter
from requests_oauthlib import OAuth2Session
from urllib3.exceptions import LocationValueError

from cdc_sync import __version__
from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.customergauge.connection import (
    find_issuer,
    proxy_secrets,
    route_to,
    trusted,
)
from cdc_sync.customergauge.unreached import Unreached, is_untrusted, unreached
from cdc_sync.errors import (
    TokenMisplaced,
    TokenRefused,
    TokenThrottled,
    TokenUnavailable,
    UserMistake,
)
from cdc_sync.log import Redaction
from cdc_sync.rules.verdict import json_object, retry_after

BODY_READ = 64 * 1024  # bytes of an answer that are read
_TOKEN = re.compile(r'("access_token"\s*:\s*")[^"]*')
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_INSECURE = "OAUTHLIB_INSECURE_TRANSPORT"
_environment = threading.Lock()
# The second, for a host such as a..b, comes through requests as it is.
FAILURES = (RequestException, LocationValueError)


for _name in ("requests_oauthlib", "oauthlib", "urllib3"):
    # At DEBUG they log the form with the secret, and the token.
    logging.getLogger(_name).setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class Issued:
    """What the endpoint gave; `expires_in` in seconds, None where it is missing or no number."""

    secret: str
    expires_in: float | None


def request_token(config: CustomerGaugeConfig, now: datetime) -> Issued:
    """A new token, within `config.timeout` as a whole.

    Raises TokenRefused for credentials that are not taken, else TokenUnavailable with the wait
    that was asked for, if any.
    """
    outcome: list[Issued | BaseException] = []
    worker = threading.Thread(
        target=_request, args=(config, now, outcome), name="token-request", daemon=True
    )
    worker.start()
    # A server that sends a byte a second never times out by itself: the thread is left behind.
    worker.join(config.timeout.total_seconds())
    if not outcome:
        raise TokenUnavailable(
            f"{config.token_endpoint} did not answer in time.",
            hint="Check `customergauge.region` or `token_url`, and `customergauge.timeout`.",
        )
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _request(
    config: CustomerGaugeConfig, now: datetime, outcome: list[Issued | BaseException]
) -> None:
    try:
        outcome.append(_fetch(config, now))
    except BaseException as error:  # noqa: BLE001  # handed over to the thread that waits
        outcome.append(error)


def _fetch(config: CustomerGaugeConfig, now: datetime) -> Issued:
    secret = config.client_secret.get_secret_value()
    redact = Redaction([secret, *proxy_secrets(config)])
    with _Session(config.client_id, now, redact) as session:
        try:
            _take_route(session, config, config.token_endpoint)
            with _plain_http_on_loopback(config.token_endpoint):
                token: dict[str, Any] = session.fetch_token(
                    config.token_endpoint,
                    client_secret=secret,
                    include_client_id=True,  # else the secret goes as HTTP Basic: undocumented
                    timeout=config.timeout.total_seconds(),
                    headers={"User-Agent": f"cdc-sync/{__version__}", "Accept": "application/json"},
                )
        except UserMistake as error:
            raise TokenMisplaced(error.message, hint=error.hint) from None
        except FAILURES as error:
            why, hint = _explain(error, config, config.token_endpoint, "token_url")
            raise TokenUnavailable(
                f"{config.token_endpoint} cannot be reached ({why}).", hint=hint
            ) from None
        except (OAuth2Error, ValueError, Warning) as error:
            raise TokenUnavailable(
                f"{config.token_endpoint} gave no token: {redact(str(error))[:200]}"
            ) from None
    return Issued(str(token["access_token"]), _seconds(token.get("expires_in")))


class _Session(OAuth2Session):
    """The library's session with what it leaves out: no redirect, the status is looked at."""

    def __init__(self, client_id: str, now: datetime, redact: Redaction) -> None:
        super().__init__(client=BackendApplicationClient(client_id=client_id))
        self._asked_at = now
        self._redact = redact
        self.register_compliance_hook("access_token_response", self._looked_at)

    def request(self, method: str, url: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """One request that follows nothing and reads little."""
        kwargs.update(allow_redirects=False, stream=True)
        kwargs.pop("withhold_token", None)
        response = requests.Session.request(self, method, url, **kwargs)
        response._content = response.raw.read(BODY_READ, decode_content=True)  # noqa: SLF001
        return response

    def _looked_at(self, response: requests.Response) -> requests.Response:
        code = json_object(response.content).get("error")  # RFC 6749, 5.2
        said = code if isinstance(code, str) else _TOKEN.sub(r"\1***", response.text)
        words = " ".join(self._redact(said).split())[:200]
        if response.status_code in (400, 401, 403):
            raise TokenRefused(
                f"CustomerGauge refuses our client ({response.status_code} {words}).",
                hint="Check `customergauge.client_id` and `customergauge.client_secret`.",
            )
        if response.status_code in (404, 405) or 300 <= response.status_code < 400:
            raise TokenMisplaced(
                f"{response.url} is no token endpoint ({response.status_code} {words}).",
                hint="Check `customergauge.region` or `customergauge.token_url`.",
            )
        if response.status_code != 200:
            wait = retry_after(response.headers.get("Retry-After"), self._asked_at)
            kind = TokenThrottled if response.status_code == 429 else TokenUnavailable
            raise kind(
                f"The token endpoint answers {response.status_code} {words}",
                wait=wait.total_seconds() if wait else None,
            )
        response._content = json.dumps(self._token_in(response)).encode()  # noqa: SLF001
        return response

    def _token_in(self, response: requests.Response) -> dict[str, object]:
        # The library stumbles over anything odd beside the token, after it was issued.
        document = json_object(response.content)
        secret = document.get("access_token")
        if not isinstance(secret, str) or not _HEADER_SAFE.fullmatch(secret):
            said = self._redact(str(document.get("error", "its answer holds none")))[:200]
            raise TokenUnavailable(f"The token endpoint gave no token: {said}.")
        seconds = _seconds(document.get("expires_in"))
        life = {} if seconds is None else {"expires_in": int(seconds)}
        return {"access_token": secret, "token_type": "Bearer", **life}


def _seconds(value: object) -> float | None:
    try:
        seconds = float(str(value))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


@contextmanager
def _plain_http_on_loopback(url: str) -> Iterator[None]:
    # oauthlib refuses every http:// address unless this variable is set; ours has been checked.
    if not url.startswith("http://"):
        yield
        return
    with _environment:
        before = os.environ.get(_INSECURE)
        os.environ[_INSECURE] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[_INSECURE]


def unreachable_because(config: CustomerGaugeConfig) -> Unreached | None:
    """Why no answer comes from the API; None where any comes: a GET is not even allowed there.

    Raises UserMistake for a proxy or a file that cannot be used.
    """
    try:
        with requests.Session() as session:
            _take_route(session, config, config.imports_url)
            session.get(
                config.imports_url,
                headers={"User-Agent": f"cdc-sync/{__version__}", "Accept": "application/json"},
                timeout=min(10.0, config.timeout.total_seconds()),
                allow_redirects=False,
                stream=True,
            ).close()
    except FAILURES as error:
        return _explain(error, config, config.imports_url, "base_url")
    return None


class _Adapter(HTTPAdapter):
    """Trusts what a context trusts, in place of the CAs that come with requests."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Makes the connections that go straight."""
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Makes the connections through a proxy, and to one that speaks TLS itself."""
        options |= {"ssl_context": self._context, "proxy_ssl_context": self._context}
        return super().proxy_manager_for(proxy, **options)

    def cert_verify(self, *_args: Any, **_options: Any) -> None:
        """Leaves the context as it is."""


def _take_route(session: requests.Session, config: CustomerGaugeConfig, url: str) -> None:
    session.trust_env = False
    session.mount("https://", _Adapter(trusted(config)))
    if (proxy := route_to(config, url).proxy) is not None:
        session.proxies = {"https": proxy}


def _explain(error: Exception, config: CustomerGaugeConfig, url: str, key: str) -> Unreached:
    issuer = find_issuer(config, url) if is_untrusted(error) else None
    return unreached(error, key, route_to(config, url), issuer)
