"""Checks, normalizes and masks the database and HTTP URLs of config.yaml."""

import re
from importlib.metadata import entry_points
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

MASK = "***"

# As SQLAlchemy finds the user and the password of a database URL: the first may hold no `:` and
# no `/`, the second no `@`.
_USERINFO = re.compile(r"://(?P<user>[^:/]*)(?P<password>:[^@]*)?@")
_DATABASE_URL = re.compile(
    r"(?P<scheme>[A-Za-z0-9_+.]+)://"
    r"(?:(?P<user>[^:/]*)(?P<password>:[^@]*)?@)?"
    r"(?P<host>\[[^/?\]]+\]|[^/:?@]*)(?::(?P<port>[0-9]+))?"
    r"(?P<rest>/.*|\?.*)?",
    re.DOTALL,
)
_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&][^=&]*(?:password|passwd|pwd|secret|token|private_key|credentials_base64"
    r"|odbc_connect)[^=&]*=)[^&]*",
    re.IGNORECASE,
)

POSTGRESQL, MYSQL, SQLITE = "postgresql+psycopg", "mysql+pymysql", "sqlite"
MSSQL, ORACLE = "mssql+pyodbc", "oracle+oracledb"
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
    "mssql": MSSQL,
    "mssql+pyodbc": MSSQL,
    "oracle": ORACLE,
    "oracle+oracledb": ORACLE,
}
_SHAPES = {
    POSTGRESQL: "PostgreSQL (`postgresql+psycopg://user@host/database`)",
    MYSQL: "MySQL or MariaDB (`mysql+pymysql://user@host/database`)",
    MSSQL: "SQL Server (`mssql+pyodbc://user@host/database`)",
    ORACLE: "Oracle (`oracle+oracledb://user@host/?service_name=name`)",
    SQLITE: "SQLite (`sqlite:///file.db`)",
}
SOURCES = (POSTGRESQL, MYSQL, MSSQL, ORACLE, SQLITE)
#: What brings SQLAlchemy the dialect of another database, by the beginning of its URLs.
PACKAGES = {
    "bigquery": "sqlalchemy-bigquery",
    "clickhouse": "clickhouse-sqlalchemy",
    "cockroachdb": "sqlalchemy-cockroachdb",
    "databricks": "databricks-sqlalchemy",
    "db2": "ibm_db_sa",
    "duckdb": "duckdb-engine",
    "firebird": "sqlalchemy-firebird",
    "hana": "sqlalchemy-hana",
    "redshift": "sqlalchemy-redshift",
    "snowflake": "snowflake-sqlalchemy",
    "teradatasql": "teradatasqlalchemy",
    "trino": "trino",
}


def userinfo_span(url: str) -> tuple[int, int]:
    """Returns where user and password are in a database URL; an empty span for none."""
    found = _USERINFO.search(url)
    return (found.start("user"), found.end() - 1) if found else (0, 0)


def normalize_source_url(text: str) -> str:
    """Returns the URL of a source, which may be of any database that SQLAlchemy can be taught."""
    scheme = text.partition("://")[0].lower()
    backend = scheme.partition("+")[0]
    known = {name.partition("+")[0] for name in _DRIVERS}
    if _DATABASE_URL.fullmatch(text) and backend not in known and _has_dialect(scheme, backend):
        return scheme + text[len(scheme) :]
    return normalize_database_url(text, drivers=SOURCES, others=True)


def _has_dialect(scheme: str, backend: str) -> bool:
    """Whether SQLAlchemy has a dialect for such URLs, or would have it by a package."""
    if backend in PACKAGES:
        return True
    return bool(entry_points(group="sqlalchemy.dialects", name=scheme.replace("+", ".")))


def normalize_database_url(text: str, *, drivers: tuple[str, ...], others: bool = False) -> str:
    """Returns the URL with our driver written out. Raises ValueError, without the URL in it."""
    found = _DATABASE_URL.fullmatch(text)
    if found is None:
        raise ValueError(
            "is not a database URL. Percent-encode what is special in its user and password, or "
            "let `${NAME}` or `${file:PATH}` put them in."
        )
    driver = _DRIVERS.get(found["scheme"].lower())
    if driver not in drivers:
        shapes = [_SHAPES[known] for known in drivers]
        if others:
            shapes.append("any other database whose SQLAlchemy dialect is installed")
        raise ValueError(
            f"begins with `{found['scheme']}://`. What is supported is {' or '.join(shapes)}."
        )
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


def secrets_in_url(text: str) -> list[str]:
    """Returns the password of a database URL, and the secrets among its parameters, decoded."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415  # only where there is a configuration

    url = make_url(text)
    found = [] if url.password is None else [str(url.password)]
    for name, values in url.normalized_query.items():
        if _SECRET_PARAMETER.match(f"?{name}="):
            found += values
    return found


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


def is_proxy_url(text: str) -> bool:
    """Whether a text is the URL of a proxy: `http://` or `https://`, a host, perhaps a port."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(host) and parts.scheme in {"http", "https"} and parts.path in {"", "/"}


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
