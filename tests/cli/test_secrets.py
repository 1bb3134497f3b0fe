"""No secret leaves its file: not to a log, the state, the page, the process list or a message."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg
import pytest
import requests

from cdc_sync.sandbox.faults import Fault, FaultKind
from tests.support.bench import Bench
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.wait import wait_until

CLIENT = "cl!ent/s3cret:%40&=+ ü"
PASSWORD = "p@ss/w:rd#%3A&?ü"
PAGE = "page-token-4711-%41"
COMMANDS = (
    "check",
    "plan",
    "once",
    "status",
    "config show",
    "contracts list",
    "contracts show 1",
    "watermark show",
    "references export -",
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(client_secret=CLIENT, token_seconds=2) as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, postgresql_url: str, sandbox: Sandbox) -> Iterator[Bench]:
    """Every secret in a file, and a reader whose password has every URL character."""
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as server:
        server.execute("DROP ROLE IF EXISTS careful")
        quoted = PASSWORD.replace("'", "''")
        server.execute(f"CREATE ROLE careful SUPERUSER LOGIN PASSWORD '{quoted}'")
        for name, secret in (("client", CLIENT), ("password", PASSWORD), ("page", PAGE)):
            (tmp_path / name).write_text(f"{secret}\n")
        url = re.sub(r"//[^@]*@", "//careful:${file:password}@", postgresql_url)
        with rows_in(postgresql_url) as rows:
            rows.add({"id": 1}, {"id": 2, "account_name": ""})
            yield Bench(
                tmp_path,
                sandbox,
                url,
                customergauge={"client_secret": "${file:client}"},
                web={"listen": "127.0.0.1:0", "token": "${file:page}"},
                log={"level": "debug"},
                schedule={"poll": "1s"},
            )
        server.execute("DROP ROLE careful")


def forms(secret: str) -> set[str]:
    """A secret in every spelling in which a server may repeat it."""
    utf_16 = secret.encode("utf-16-be").hex()
    pair = f"id:{secret}".encode()
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote(quote(secret, safe="")),
        quote_plus(secret),
        "".join(f"%{byte:02x}" for byte in secret.encode()),
        "".join(f"\\u{utf_16[at : at + 4]}" for at in range(0, len(utf_16), 4)),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1].replace("/", "\\/"),
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        escape(secret),
        b64encode(pair).decode(),
        urlsafe_b64encode(pair).decode(),
        quote(b64encode(pair).decode(), safe=""),
    }


def test_secrets_are_nowhere_but_in_their_files(bench: Bench, sandbox: Sandbox) -> None:
    said = []
    process = bench.start_daemon(forked=False)  # /proc has the command line of the first of them
    try:
        wait_until(sandbox.contracts, "the first contract is delivered")
        (served,) = [line for line in process.log().splitlines() if "page.served" in line]
        page = re.findall(r"http://127\.0\.0\.1:\d+", served)[0]
        paths = ("/", "/api/status", "/metrics", "/configuration", "/log", "/contracts")
        said += [requests.get(page + path, timeout=20).text for path in paths]
        sandbox.strike("status=401 times=4", "status=500 path=token times=1")
        for command in COMMANDS:
            ran = bench.run(*command.split())
            said += [ran.out, ran.err]
        wait_until(lambda: sandbox.ledger.dump()["tokens"] >= 2, "tokens were renewed")
        (bench.folder / "client").write_text("wrong")
        wrong = bench.run("check")
        said += [wrong.out, wrong.err, Path(f"/proc/{process.pid}/cmdline").read_text()]
        said.append(Path(f"/proc/{process.pid}/environ").read_text())
    finally:
        process.close()
    said.append(process.log())
    for file in bench.folder.glob("state.db*"):
        said.append(file.read_bytes().decode("utf-8", "replace"))
    everything = "\n".join(said)
    assert "erp-1" in everything, "there is something to look through"
    for secret in (CLIENT, PASSWORD, PAGE):
        assert not [form for form in forms(secret) if form in everything]
    assert "Bearer " not in everything


def test_no_secret_and_no_token_is_in_any_output_or_in_the_state(tmp_path: Path) -> None:
    keys = {"client_secret": "hush-hush-hush"}
    with running_sandbox(**keys) as sandbox:
        sandbox.strike("status=401 times=1", "status=500 times=1")
        bench = Bench.with_contracts(tmp_path, sandbox, log={"level": "debug"}, customergauge=keys)
        commands = (["once"], ["status"], ["config", "show"], ["contracts", "list", "--json"])
        ran = [bench.run(*arguments) for arguments in commands]
    token = json.loads((tmp_path / "token.json").read_text())["access_token"]
    held = b"".join(file.read_bytes() for file in tmp_path.glob("state.db*"))

    for secret in ("hush-hush-hush", token):
        assert not [one for one in ran if secret in one.out + one.err]
        assert secret.encode() not in held


def test_a_server_may_repeat_a_secret_in_any_spelling(tmp_path: Path) -> None:
    secret = 'hu/sh+hu=sh%41"hu\\sh  hü&<sh'
    (tmp_path / "client").write_text(secret)
    said = []
    with running_sandbox(client_secret=secret) as sandbox:
        bench = Bench.with_contracts(
            tmp_path,
            sandbox,
            customergauge={"client_secret": "${file:client}"},
            log={"level": "debug"},
        )
        repeated = f"no {', '.join(sorted(forms(secret)))}."
        in_json = json.dumps({"message": repeated})
        sandbox.faults.replace(
            [
                Fault(FaultKind.STATUS, status=401, body=repeated, path="token", times=1),
                Fault(FaultKind.STATUS, status=422, body=in_json, times=1),
                Fault(FaultKind.STATUS, status=400, body=repeated, times=1),
            ]
        )
        commands = ("check", "once", "retry --all", "once", "contracts list --json", "status")
        ran = [bench.run(*command.split()) for command in commands]
        said += [text for one in ran for text in (one.out, one.err)]
    said += [file.read_bytes().decode("utf-8", "replace") for file in tmp_path.glob("state.db*")]
    everything = "\n".join(said)

    assert "no ***, ***, " in everything
    # A secret that was decoded is none of its spellings; one that lost its blanks is found by part.
    assert not [form for form in (*forms(secret), "hu/sh+hu", 'sh%41"') if form in everything]


def test_a_password_among_the_parameters_of_a_url_is_masked(tmp_path: Path) -> None:
    hidden = "hush/hush=%41"
    url = f"postgresql+psycopg://127.0.0.1:1/state?user=me&password={quote(hidden, safe='')}"
    with running_sandbox() as sandbox:
        bench = Bench.with_contracts(tmp_path, sandbox, state={"url": url})
        ran = [bench.run(command) for command in ("status", "once", "check")]

    said = "\n".join(one.out + one.err for one in ran)
    assert "127.0.0.1:1/state?" in said
    assert not [form for form in forms(hidden) if form in said]
