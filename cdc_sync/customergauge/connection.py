"""How CustomerGauge is reached: one way out and one trust store for all requests."""

import atexit
import os
import ssl
from base64 import b64encode
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from urllib.parse import urlsplit

from pyreqwest.client import ClientBuilder
from pyreqwest.proxy import ProxyBuilder

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.config.urls import is_proxy_url
from cdc_sync.errors import UserMistake
from cdc_sync.rules.route import DIRECT, ENVIRONMENT, EXCEPTIONS, Route, choose_route

THIS_MACHINE = "localhost,127.0.0.1,::1"  # which no proxy could reach
LOOK_SECONDS = 5.0  # a look at a certificate that is not trusted


def route_to(config: CustomerGaugeConfig, url: str) -> Route:
    """Returns the way to a URL. Raises UserMistake for a proxy that cannot be spoken to."""
    route = choose_route(config.proxy.get_secret_value(), os.environ, url)
    if route.proxy is not None and not is_proxy_url(route.proxy):
        raise UserMistake(
            f"{route.named_by} names no proxy that cdc-sync can speak to.",
            hint="It takes `http://host:port`, with `user:password@` before the host if needed.",
        )
    return route


def proxy_secrets(config: CustomerGaugeConfig) -> list[str]:
    """Returns the passwords of proxies, as in their URL and decoded, and as they are sent."""
    variables = [text for name, text in os.environ.items() if name.lower().endswith("_proxy")]
    found = []
    for text in (config.proxy.get_secret_value(), *variables):
        route = Route(text if "://" in text else f"http://{text}")
        if is_proxy_url(route.proxy or "") and route.login and route.login[1]:
            found += [route.login[1], b64encode(":".join(route.login).encode()).decode()]
            found.append(str(urlsplit(route.proxy).password))
    return found


def trusted(config: CustomerGaugeConfig) -> ssl.SSLContext:
    """Trusts the system's CAs (or `SSL_CERT_FILE`) and `ca_file`, and has the client certificate.

    Raises UserMistake for a file that cannot be used.
    """
    context = ssl.create_default_context()
    if config.ca_file is not None:
        try:
            context.load_verify_locations(config.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("ca_file", config.ca_file, error, "CA certificates") from None
    if config.client_certificate is not None:
        try:
            # Without a password of its own OpenSSL would ask the terminal for it.
            context.load_cert_chain(config.client_certificate, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise _unusable(
                "client_certificate",
                config.client_certificate,
                error,
                "a certificate and its key, without a password,",
            ) from None
    return context


def _unusable(key: str, path: str, error: OSError, wanted: str) -> UserMistake:
    why = "no such content" if isinstance(error, ssl.SSLError) else error.strerror
    return UserMistake(
        f"`customergauge.{key}`: {path} cannot be used ({why}).",
        hint=f"Name a PEM file with {wanted} that this user may read.",
    )


def client_builder(config: CustomerGaugeConfig) -> ClientBuilder:
    """Returns the builder of a client for the imports API. Raises UserMistake."""
    builder = ClientBuilder().no_proxy()
    route = route_to(config, config.imports_url)
    if route.proxy is not None:
        parts = urlsplit(route.proxy)
        proxy = ProxyBuilder.all(f"{parts.scheme}://{route.proxy_address}")
        builder = builder.proxy(proxy if route.login is None else proxy.basic_auth(*route.login))
    if config.ca_file or config.client_certificate:
        trusted(config)  # says in words what is wrong with a file
    if config.ca_file:
        builder = builder.add_root_certificate_pem(Path(config.ca_file).read_bytes())
    if config.client_certificate:
        builder = builder.identity_pem(Path(config.client_certificate).read_bytes())
    return builder


def find_issuer(config: CustomerGaugeConfig, url: str) -> str | None:
    """Returns who issued the certificate that answers at a URL; None if that cannot be seen.

    Nothing is sent. Python shows only a certificate that it has verified, so the second look trusts
    what the first one got.
    """
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    itself = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    itself.check_hostname = False
    itself.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        with closing(_handshake(config, url, anyone)) as first:
            itself.load_verify_locations(cadata=first.sock.getpeercert(binary_form=True))
        with closing(_handshake(config, url, itself)) as second:
            shown: dict[str, Any] = dict(second.sock.getpeercert() or {})
    except (OSError, ValueError, HTTPException):
        return None
    names = dict(pair for pairs in shown.get("issuer", ()) for pair in pairs)
    return names.get("commonName") or names.get("organizationName")


def _handshake(config: CustomerGaugeConfig, url: str, context: ssl.SSLContext) -> HTTPSConnection:
    route, parts = route_to(config, url), urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    proxy = urlsplit(route.proxy or url)
    to = (proxy.hostname or "", proxy.port or (80 if route.proxy else 443))
    connection = HTTPSConnection(*to, timeout=LOOK_SECONDS, context=context)
    if route.proxy is not None:
        login = b64encode(":".join(route.login or ()).encode()).decode()
        connection.set_tunnel(
            host, port, {"Proxy-Authorization": f"Basic {login}"} if login else {}
        )
    connection.connect()
    return connection


def use_for_alerts(config: CustomerGaugeConfig) -> None:
    """Makes Apprise, which reads the environment alone, go the same way and trust the same CAs.

    Raises UserMistake.
    """
    proxy = config.proxy.get_secret_value()
    if proxy == DIRECT:
        os.environ["no_proxy"] = "*"
    elif proxy != ENVIRONMENT:
        os.environ |= {"https_proxy": proxy, "http_proxy": proxy, "no_proxy": THIS_MACHINE}
    else:
        known = next((os.environ[name] for name in EXCEPTIONS if os.environ.get(name)), "")
        os.environ["no_proxy"] = f"{known},{THIS_MACHINE}" if known else THIS_MACHINE
    system = ssl.get_default_verify_paths()
    bundle = system.cafile or f"{system.capath}/ca-certificates.crt"
    if not Path(bundle).is_file():
        return  # certifi's
    if config.ca_file is not None:
        trusted(config)
        own = Path(mkdtemp(prefix="cdc-sync-")) / "ca.pem"
        atexit.register(rmtree, own.parent, ignore_errors=True)
        own.write_bytes(Path(bundle).read_bytes() + b"\n" + Path(config.ca_file).read_bytes())
        bundle = str(own)
    os.environ.setdefault("REQUESTS_CA_BUNDLE", bundle)
