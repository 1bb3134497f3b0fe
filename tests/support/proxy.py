"""A company's way out: a proxy that takes CONNECT, may want Basic, and may open TLS by its own CA."""

import base64
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
#: No name server knows it: what reaches it came through the proxy.
API, AUTH = "https://imports.example.test", "https://auth.example.test/oauth2/token"


class Authority:
    """A CA of a company, which issues certificates into a folder."""

    def __init__(self, folder: Path, name: str = "Example Corp Inspection CA") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._sign(self._name, self._key, own)
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str) -> Path:
        """One file with the certificate of a host, or of a client, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName([x509.DNSName(host)]))
        file = self._folder / f"{host}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return file

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, subject, key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - DAY).not_valid_after(now + DAY)
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256())


@dataclass(slots=True)
class Proxy:
    """A proxy that runs: what it was asked for, and how it answers."""

    url: str
    asked: list[str] = field(default_factory=list)  #: the host:port of each CONNECT
    login: str | None = None  #: `user:password` that it wants
    refusal: bytes | None = None  #: a status line for every CONNECT

    def url_with(self, login: str) -> str:
        """Its URL with a user and a password."""
        return self.url.replace("://", f"://{login}@")


@contextmanager
def running_proxy(
    upstream: str, authority: Authority | None = None, *, client_ca: Path | None = None
) -> Iterator[Proxy]:
    """A proxy on a free port whose every tunnel ends at `upstream`, an `http://` URL.

    With an authority it opens TLS, as companies' proxies do: it answers for each host with a
    certificate of its own, and with `client_ca` wants one of the client.
    """
    contexts: dict[str, ssl.SSLContext] = {}
    to = urlsplit(upstream)
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
    over = threading.Event()

    def context_of(host: str) -> ssl.SSLContext:
        if host not in contexts:
            assert authority is not None
            contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            contexts[host].load_cert_chain(authority.issue(host))
            if client_ca is not None:
                contexts[host].load_verify_locations(client_ca)
                contexts[host].verify_mode = ssl.CERT_REQUIRED
        return contexts[host]

    def serve(client: socket.socket) -> None:
        client.settimeout(10)
        with client, suppress(OSError), client.makefile("rb", 0) as incoming:
            head = list(iter(lambda: incoming.readline().strip(), b""))
            target = head[0].split()[1].decode()
            proxy.asked.append(target)
            if answer := _refusal(proxy, head):
                client.sendall(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n")
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            opened = client
            if authority is not None:
                host = target.rpartition(":")[0]
                opened = context_of(host).wrap_socket(client, server_side=True)
            with opened, socket.create_connection((to.hostname, to.port), 10) as server:
                _relay(opened, server, over)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield proxy
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(10)


def _refusal(proxy: Proxy, head: list[bytes]) -> bytes | None:
    if proxy.refusal is not None:
        return proxy.refusal
    if proxy.login is None:
        return None
    wanted = b"basic " + base64.b64encode(proxy.login.encode()).lower()
    given = [line.lower() for line in head if line.lower().startswith(b"proxy-authorization:")]
    is_given = any(line.partition(b":")[2].strip() == wanted for line in given)
    return None if is_given else b"407 Proxy Authentication Required"


def _relay(client: socket.socket, server: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        waiting = isinstance(client, ssl.SSLSocket) and client.pending()
        ready = [client] if waiting else select.select([client, server], [], [], 0.2)[0]
        for one in ready:
            data = one.recv(65536)
            if not data:
                return
            (server if one is client else client).sendall(data)
