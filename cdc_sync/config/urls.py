"""Checks, normalizes and masks the database and HTTP URLs of config.yaml."""

import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

MASK = "***"

# As SQLAlchemy finds the user and the password of a database URL: the first may hold no `:` and
# no `/`, the second no `@`.
_USERINFO = re.compile(r"://(?P<user>[^:/]*)(?P<password>:[^@]*)?@")
_DATABASE_URL = re.compile(
    r"(?P<scheme>[A-Za-z0-9+]+)://"
    r"(?:(?P<user>[^:/]*)(?P<password>:[^@]*)?@)?"
    r"(?P<host>\[[^/?\]]+\]|[^/:?@]*)(?::(?P<port>[0-9]+))?"
    r"(?P<rest>/.*|\?.*)?",
    re.DOTALL,
)
_SECRET_PARAMETER = re.compile(r"(?P<name>[?&][^=&]*(?:password|passwd|secret|token)[^=&]*=)[^&]*")

POSTGRESQL, MYSQL, SQLITE = "postgresql+psycopg", "mysql+pymysql", "sqlite"
_DRIVERS = {
    "postgresql": POSTGRESQL,
    "postgres": POSTGRESQL,
    "postgresql+psycopg": POSTGRESQL,
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "mysql+pymysql": MYSQL,
    "mariadb+pymysql": MYSQL,
    "sqlite": SQLITE,
    "sqlite+pysqlite": SQLITE,
}
_SHAPES = {
    POSTGRESQL: "PostgreSQL (`postgresql+psycopg://user@host/database`)",
    MYSQL: "MySQL or MariaDB (`mysql+pymysql://user@host/database`)",
    SQLITE: "SQLite (`sqlite:///file.db`)",
}


def userinfo_span(url: str) -> tuple[int, int]:
    """Returns where user and password are in a database URL; an empty span for none."""
    found = _USERINFO.search(url)
    return (found.start("user"), found.end() - 1) if found else (0, 0)


def normalize_database_url(text: str, *, drivers: tuple[str, ...]) -> str:
    """Returns the URL with our driver written out. Raises ValueError, without the URL in it."""
    found = _DATABASE_URL.fullmatch(text)
    if found is None:
        raise ValueError(
            "is not a database URL. Percent-encode what is special in its user and password, or "
            "let `${NAME}` or `${file:PATH}` put them in."
        )
    driver = _DRIVERS.get(found["scheme"].lower())
    if driver not in drivers:
        shapes = " or ".join(_SHAPES[known] for known in drivers)
        raise ValueError(f"begins with `{found['scheme']}://`. What is supported is {shapes}.")
    if driver == SQLITE and not _names_a_file(found["host"], found["rest"] or ""):
        raise ValueError(
            "must name a file: `sqlite:///file.db`, or `sqlite:////folder/file.db` from the root."
        )
    return driver + text[len(found["scheme"]) :]


def with_absolute_path(url: str, folder: Path) -> str:
    """Returns a SQLite URL with its path absolute from `folder`; any other URL as it is."""
    scheme, separator, rest = url.partition(":///")
    if not separator or _DRIVERS.get(scheme.lower()) != SQLITE:
        return url
    path, mark, query = rest.partition("?")
    if not path or path.startswith(("/", ":memory:", "file:")):
        return url
    # SQLAlchemy decodes the path; the folder's own name must come out as it is.
    base = str(folder.absolute()).replace("%", "%25").replace("?", "%3F")
    return f"{scheme}:///{base}/{path.removeprefix('./')}{mark}{query}"


def mask_url(url: str) -> str:
    """Replaces the password of a URL, also one among its parameters, by `***`."""
    start, end = userinfo_span(url)
    user, colon, _ = url[start:end].partition(":")
    shown = url[:start] + user + (f":{MASK}" if colon else "") + url[end:]
    return _SECRET_PARAMETER.sub(rf"\g<name>{MASK}", shown)


def normalize_http_url(text: str) -> str:
    """Returns the URL without a final slash. Raises ValueError; http is for loopback only."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        raise ValueError("must be a URL such as `https://imports.example.com`.")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user or a password.")
    if parts.scheme == "http" and host != "localhost" and not is_loopback(host):
        raise ValueError(
            f"would send secrets unencrypted to {host}. Use `https://`; `http://` is for loopback."
        )
    return text.rstrip("/")


def _names_a_file(host: str, rest: str) -> bool:
    path = rest.removeprefix("/").partition("?")[0]
    return not host and bool(path) and path != ":memory:"


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)
