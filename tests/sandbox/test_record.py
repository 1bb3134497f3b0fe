"""What the sandbox shows of what it holds and what it was sent."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from cdc_sync.sandbox import ledger as ledger_module
from cdc_sync.sandbox.ledger import Arrival, Ledger

SCRIPT = "<script>alert(1)</script>"


def arrival(number, **fields):
    body = {"reference": f"erp-{number}", "account": "ACME", "start": "2026-01-01"} | fields
    return Arrival("contracts", body, started=0.0)


def test_the_dump_holds_contracts_accounts_and_counts(sandbox):
    sandbox.put(end=None)
    sandbox.put(reference="erp-2", start="never")
    sandbox.send("accounts", json={"reference": "ACME"})

    assert sandbox.get("dump").json() == {
        "contracts": {
            "erp-1": {"reference": "erp-1", "account": "ACME", "start": "2026-01-31", "end": None}
        },
        "accounts": [{"reference": "ACME"}],
        "puts": 3,
        "tokens": 1,
    }


def test_the_log_keeps_every_put_in_order_with_its_answer(sandbox):
    sandbox.put()
    sandbox.put(start="never")
    sandbox.send("accounts", json={"reference": "ACME"})
    first, second, third = sandbox.get("log").json()

    assert [first["sequence"], second["sequence"], third["sequence"]] == [1, 2, 3]
    assert [first["status"], second["status"], third["status"]] == [201, 422, 201]
    assert [first["path"], third["path"]] == ["contracts", "accounts"]
    assert second["errors"] == {"start": ["The start does not match the format Y-m-d."]}
    assert second["body"]["start"] == "never"
    assert first["started"] <= first["finished"] <= second["started"]
    assert datetime.fromisoformat(first["at"]).utcoffset().total_seconds() == 0


def test_the_log_is_read_in_pages(sandbox):
    for number in range(5):
        sandbox.put(reference=f"erp-{number}")
    pages = [sandbox.get(f"log?after={after}&limit=2").json() for after in (0, 2, 4, 5)]

    assert [[entry["sequence"] for entry in page] for page in pages] == [[1, 2], [3, 4], [5], []]
    assert sandbox.get("log?after=x").status_code == 400


def test_the_page_has_no_script_or_style_of_its_own_and_escapes_what_came_in(sandbox):
    sandbox.put(reference=SCRIPT, account="half a pair \ud800")
    sandbox.put(reference=SCRIPT, start=SCRIPT)
    sandbox.set_faults({"kind": "status", "status": 500, "body": SCRIPT})
    page = sandbox.get(f"?search={SCRIPT}")

    assert page.text.count("<script") == 1
    assert '<script src="/assets/page.js" defer></script>' in page.text
    assert "<style" not in page.text
    assert "style=" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")


def test_the_page_finds_contracts_by_any_of_their_texts(sandbox):
    sandbox.put(reference="erp-1", account="Müller GmbH")
    sandbox.put(reference="erp-2", account="Globex")
    contracts = sandbox.get("?search=m%C3%BCLLER").text.partition("Last PUTs")[0]

    assert "erp-1" in contracts
    assert "erp-2" not in contracts


@pytest.mark.parametrize("asset", ["page.js", "page.css"])
def test_the_pages_assets_come_from_the_sandbox_itself(sandbox, asset):
    text = sandbox.get(f"assets/{asset}").text

    assert text
    assert "http" not in text


@pytest.mark.quick
def test_the_ledger_forgets_the_oldest_puts_and_keeps_their_numbers(monkeypatch):
    monkeypatch.setattr(ledger_module, "ENTRIES_MAX", 20)
    ledger = Ledger()
    for number in range(100):
        ledger.put(arrival(number))

    kept = ledger.entries()
    assert len(kept) <= 20
    assert [entry.sequence for entry in kept] == list(range(101 - len(kept), 101))
    assert [entry.sequence for entry in ledger.entries(after=98)] == [99, 100]
    assert [entry.sequence for entry in ledger.latest(2)] == [100, 99]
    assert ledger.dump()["puts"] == 100


@pytest.mark.quick
def test_puts_from_many_threads_are_numbered_without_gaps():
    ledger = Ledger()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger.put(arrival(number % 50)), range(2000)))

    entries = ledger.entries(limit=5000)
    assert [entry.sequence for entry in entries] == list(range(1, 2001))
    assert [entry.status for entry in entries].count(201) == 50
