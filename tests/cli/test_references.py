"""references export and import, as a process, and the run that follows an import."""

import os
import stat
from collections import Counter
from pathlib import Path

import pytest

from cdc_sync.demo.source import create_source
from cdc_sync.operations.references import ReferenceLine, parse
from cdc_sync.state.lookup import ReferencePair
from tests.support.bench import Bench
from tests.support.commands import Ran
from tests.support.sandbox import Sandbox

MANY = 10_000
LONG_AGO = "'2026-01-01T00:00:00.000000Z'"


def imported(bench: Bench, content: str | bytes, *options: str) -> Ran:
    file = bench.folder / "refs.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return bench.run("references", "import", str(file), *options)


def pairs(bench: Bench) -> list[tuple[str, str]]:
    return bench.state(
        "SELECT source_id, reference FROM contract WHERE reference IS NOT NULL ORDER BY source_id"
    )


def test_an_export_has_every_contract_that_customergauge_has(synced: Bench) -> None:
    file = synced.folder / "out.csv"
    ran = synced.run("references", "export", str(file))
    text = "source_id,reference\n1,erp-1\n2,erp-2\n3,erp-3\n"  # 4 was refused, and never sent

    assert ran.code == 0
    assert ran.out == f"3 references written to {file}.\n"
    assert file.read_text() == text
    assert synced.run("references", "export", "-").out == text
    assert synced.run("references", "export").out == text


def test_an_export_replaces_a_file_and_leaves_nothing_beside_it(synced: Bench) -> None:
    folder = synced.folder / "out"
    folder.mkdir()
    (folder / "real.csv").write_text("old")
    (folder / "link.csv").symlink_to("real.csv")

    assert synced.run("references", "export", str(folder / "link.csv")).code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["link.csv", "real.csv"]
    assert (folder / "link.csv").is_symlink()
    assert (folder / "real.csv").read_text().startswith("source_id,reference\n")


def test_an_export_that_cannot_be_written_says_why(synced: Bench) -> None:
    folder = synced.folder
    nowhere = synced.run("references", "export", str(folder / "no" / "out.csv"))
    no_file = synced.run("references", "export", str(folder))
    device = synced.run("references", "export", os.devnull)

    assert [ran.code for ran in (nowhere, no_file, device)] == [2, 2, 2]
    assert "cannot be written: No such file or directory." in nowhere.err
    assert "is not a file. For stdout write: -" in no_file.err
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_an_export_is_imported_by_another_state_and_changes_nothing_in_its_own(
    synced: Bench,
) -> None:
    text = synced.run("references", "export", "-").out
    here = imported(synced, text, "--json").document
    (synced.folder / "state.db").unlink()
    elsewhere = imported(synced, text, "--json").document

    assert here == {"imported": 0, "unchanged": 3, "errors": []}
    assert elsewhere == {"imported": 3, "unchanged": 0, "errors": []}
    assert synced.run("references", "export", "-").out == text


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfsource_id,reference\r\n1,CG-1\r\n2,\xc3\x98-2\r\n",
        "source_id,reference\n\n1,CG-1\n2,Ø-2",
        '"source_id","reference"\n"1","CG-1"\n"2","Ø-2"\n',
    ],
    ids=["spreadsheet", "blank line and no end", "quoted"],
)
def test_a_file_as_a_spreadsheet_or_a_person_writes_it(fresh: Bench, content: str | bytes) -> None:
    ran = imported(fresh, content)

    assert ran.code == 0
    assert ran.out.startswith(
        "2 references imported.\n2 of them have not been seen in the source yet"
    )
    assert pairs(fresh) == [("1", "CG-1"), ("2", "Ø-2")]


def test_a_dry_run_names_what_it_would_do_and_does_nothing(fresh: Bench) -> None:
    ran = imported(fresh, "source_id,reference\n1,CG-1\n", "--dry-run")

    assert (ran.code, ran.out) == (0, "1 reference would be imported.\n")
    assert pairs(fresh) == []


def test_one_wrong_line_keeps_the_whole_file_out(synced: Bench) -> None:
    before = pairs(synced)
    content = "source_id,reference\n9,CG-9\n1,CG-1\n8,erp-2\n7,\n"
    ran = imported(synced, content)
    document = imported(synced, content, "--json").document

    assert ran.code == 1
    assert ran.out == (
        "Nothing was imported: 3 lines cannot be taken.\n"
        "  line 3: 1 was sent under the reference erp-1 already\n"
        "  line 4: the reference erp-2 belongs to 2\n"
        "  line 5: the reference is empty\n"
    )
    assert document["imported"] == 0
    assert [error["line"] for error in document["errors"]] == [3, 4, 5]
    assert document["errors"][2] == {"line": 5, "says": "the reference is empty"}
    assert pairs(synced) == before


def test_of_very_many_wrong_lines_the_first_are_listed(fresh: Bench) -> None:
    ran = imported(fresh, "source_id,reference\n" + "1,\n" * 25)

    assert "Nothing was imported: 25 lines cannot be taken." in ran.out
    assert ran.out.endswith("  line 21: the reference is empty\n  … and 5 more\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"", "not the header `source_id,reference`"),
        (b"1,CG-1\n", "not the header `source_id,reference`"),
        (b"source_id;reference\n1;CG-1\n", "separated by commas"),
        (b"reference,source_id\nCG-1,1\n", "the columns in this order"),
        (b"source_id,reference\n1,M\xfcller\n", "is not UTF-8: line 2 has the byte 0xfc."),
    ],
)
def test_a_file_that_is_no_such_csv_is_a_mistake(
    fresh: Bench, content: bytes | None, says: str
) -> None:
    missing = str(fresh.folder / "missing.csv")
    ran = (
        fresh.run("references", "import", missing) if content is None else imported(fresh, content)
    )

    assert ran.code == 2
    assert says in ran.err
    assert pairs(fresh) == []


@pytest.mark.quick
@pytest.mark.parametrize(
    ("line", "says"),
    [
        (",CG-1", "the source_id is empty"),
        ("1,", "the reference is empty"),
        ("1, CG-1", "the reference begins or ends with white space"),
        (f"1,{'x' * 129}", "the reference has 129 characters, at most 128 are taken"),
        ("1,C\0G", "the reference holds a control character"),
        ('1,"C\nG"', "the reference holds a control character"),
        ("1", "has 1 fields, not 2"),
        ("[1, 2],CG-1", "a field that has a comma stands in double quotes"),
        ('1,"CG', "is not CSV from here on"),
    ],
)
def test_a_line_that_is_no_pair_is_named_with_its_reason(line: str, says: str) -> None:
    text = f'source_id,reference\n"two\nlines",CG-0\n{line}'
    lines, [mistake] = parse(text, 1)

    assert lines == [ReferenceLine(2, ReferencePair("two\nlines", "CG-0"))]
    assert mistake.line == 4
    assert says in mistake.message


@pytest.mark.quick
def test_an_id_or_a_reference_twice_is_named_with_where_it_was_first() -> None:
    _, mistakes = parse("source_id,reference\n1,A\n2,B\n1,C\n3,B\n", 1)

    assert [tuple(mistake) for mistake in mistakes] == [
        (4, "the source_id 1 is on line 2 already"),
        (5, "the reference B is on line 3 already"),
    ]


@pytest.mark.quick
def test_the_longest_reference_is_taken() -> None:
    assert parse(f"source_id,reference\n1,{'x' * 128}\n", 1)[1] == []


@pytest.mark.quick
@pytest.mark.parametrize(
    ("text", "source_id"),
    [
        ("[1, 2]", "[1,2]"),
        ('["ACME", 17]', '["ACME",17]'),
        ('["\\u00d8", "17"]', '["Ø","17"]'),
        ("[1]", None),
        ("[1, 2, 3]", None),
        ("[1, 2.0]", None),
        ("[1, null]", None),
        ("[1, true]", None),
        ("1", None),
        ("1/2", None),
        ("[" * 100_000, None),
    ],
)
def test_the_id_of_a_composite_key_is_spelled_as_the_state_does(
    text: str, source_id: str | None
) -> None:
    quoted = text.replace('"', '""')
    lines, mistakes = parse(f'source_id,reference\n"{quoted}",CG-1\n', 2)

    assert [line.pair.source_id for line in lines] == ([] if source_id is None else [source_id])
    assert all("a JSON array of 2 texts or whole numbers" in m.message for m in mistakes)
    assert len(lines) + len(mistakes) == 1


def test_a_composite_key_is_imported_as_its_row_is_captured(fresh: Bench, sandbox: Sandbox) -> None:
    text = fresh.config.read_text().replace('"id": "id"', '"id": ["plan", "id"]')
    fresh.config.write_text(text)
    imported(fresh, 'source_id,reference\n"[""Gold"", 1]",CG-1\n')
    fresh.sync_once()

    assert set(sandbox.contracts()) == {"CG-1", "erp-2", "erp-3"}


def test_an_imported_contract_is_planned_as_an_update_and_shown_as_imported(fresh: Bench) -> None:
    imported(fresh, "source_id,reference\n1,CG-1\n9,CG-9\n")
    plan = fresh.run("plan", "--json").document
    [one, other] = fresh.run("contracts", "list", "--json").document["contracts"]
    shown = fresh.run("contracts", "show", "CG-9")
    story = fresh.run("contracts", "show", "9", "--json").document

    assert (plan["create"], plan["update"], plan["gone"]) == (2, 1, 0)
    assert {c["reference"]: c["action"] for c in plan["changes"]}["CG-1"] == "update"
    assert (one["reference"], other["reference"]) == ("CG-1", "CG-9")
    assert "imported; it has not been in the source yet" in shown.out
    assert (story["status"], story["payload"], story["diff"]) == ("gone", {}, {})


def test_the_first_run_after_an_import_puts_each_contract_once_under_its_reference(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    create_source(tmp_path / "source.db", MANY)
    bench = Bench(tmp_path, sandbox)
    lines = (f"{number},CG-{number:06}\n" for number in range(1, MANY + 1))
    assert imported(bench, "source_id,reference\n" + "".join(lines)).code == 0
    bench.sync_once()
    puts = Counter(put.reference for put in sandbox.puts())
    statuses = dict(bench.state("SELECT status, count(*) FROM contract GROUP BY status"))

    assert set(puts.values()) == {1}
    assert all(str(reference).startswith("CG-") for reference in puts)
    assert statuses == {"synced": len(puts), "rejected": MANY - len(puts)}
    assert len(puts) > 0.9 * MANY


def test_a_contract_that_customergauge_has_counts_as_updated_and_one_it_lost_as_recreated(
    fresh: Bench, sandbox: Sandbox, tmp_path: Path
) -> None:
    fresh.sync_once()  # the earlier life of these contracts
    (tmp_path / "state.db").unlink()
    imported(fresh, "source_id,reference\n1,erp-1\n2,lost\n")
    said = fresh.run("once").out
    totals = fresh.run("status", "--json").document["totals"]

    assert "1 adopted (erp-3 was there already)" in said

    assert (totals["updated"], totals["recreated"]) == (1, 1)
    assert totals["adopted"] == 1  # 3 is there under its reference, and was not imported


def test_references_need_no_secret(fresh: Bench) -> None:
    text = fresh.config.read_text()
    fresh.config.write_text(
        text.replace('"client_secret": "sandbox"', '"client_secret": "${NOT_SET}"')
    )

    assert imported(fresh, "source_id,reference\n1,CG-1\n").code == 0
    assert fresh.run("references", "export", "-").out == "source_id,reference\n1,CG-1\n"


@pytest.fixture(params=["sqlite", "postgresql"])
def renumbered(request: pytest.FixtureRequest, bench: Bench) -> Bench:
    """The row 1 has got the id 9, and stayed the same contract: its number, `plan`, is A7."""
    if request.param == "postgresql":
        bench.configure(state={"url": request.getfixturevalue("postgresql_url")})
    bench.configure(mapping={"reference": "erp-{plan}"})
    bench.rows.add({"id": 1, "plan": "A7", "account_name": "ACME"}, {"id": 2, "plan": "B8"})
    bench.sync_once()
    bench.rows.remove(1)
    bench.rows.add({"id": 9, "plan": "A7", "account_name": "ACME"})
    bench.sync_once()
    return bench


def in_state(bench: Bench, statement: str) -> None:
    with bench.open():
        bench.execute_in_state(statement)


def known(bench: Bench) -> list[dict[str, object]]:
    return [bench.contract(source_id) for source_id in ("1", "2", "9")]


def move(bench: Bench, *names: str) -> Ran:
    return bench.run("references", "move", *names, "--reason", "renumbered by the ERP")


def test_a_reference_moves_to_the_row_that_took_over_its_contract(renumbered: Bench) -> None:
    early = move(renumbered, "1", "9")
    renumbered.run("reconcile")
    ran = move(renumbered, "erp-A7", "9")
    shown = renumbered.run("contracts", "show", "9").out
    renumbered.sync_once()

    assert early.code == 2
    assert "1 is synced: a reference can only be moved from a contract" in early.err
    assert ran.code == 0, ran.err
    assert ran.out.startswith("erp-A7 belongs to 9 now.")
    assert "taken over from 1: renumbered by the ERP" in shown
    assert "given to 9: renumbered" in renumbered.run("contracts", "show", "1").out
    assert renumbered.contract("9")["status"] == "synced"
    assert len(renumbered.sandbox.puts("erp-A7")) == 1, "what does not differ is not sent"

    renumbered.rows.change(9, account_name="ACME Ltd")
    renumbered.sync_once()
    renumbered.rows.add({"id": 1, "plan": "A7"})
    renumbered.sync_once()
    assert renumbered.sandbox.contracts()["erp-A7"]["account"] == "ACME Ltd"
    assert "erp-A7 belongs to 9 already" in renumbered.contract("1")["last_error"]


def test_a_moved_reference_takes_its_doubt_along(renumbered: Bench) -> None:
    renumbered.run("reconcile")
    in_state(renumbered, f"UPDATE contract SET in_doubt = {LONG_AGO} WHERE source_id = '1'")

    assert move(renumbered, "1", "9").code == 0
    renumbered.sync_once()
    assert len(renumbered.sandbox.puts("erp-A7")) == 2
    assert renumbered.contract("9")["status"] == "synced"


def test_a_row_that_was_not_read_yet_gets_the_reference(renumbered: Bench) -> None:
    renumbered.rows.remove(9)
    renumbered.run("reconcile")
    assert move(renumbered, "1", "17").code == 0

    renumbered.rows.add({"id": 17, "plan": "A7", "account_name": "ACME"})
    renumbered.sync_once()
    assert renumbered.contract("17")["reference"] == "erp-A7"
    assert len(renumbered.sandbox.puts("erp-A7")) == 1


@pytest.mark.parametrize(
    ("names", "reason", "why"),
    [
        (("1", "2"), "why", "2 has been sent as erp-B8: nothing was moved."),
        (("1", "9"), " ", "takes a reason"),
        (("77", "9"), "why", "The state does not know 77."),
        (("2", "9"), "why", "2 is synced"),
    ],
)
def test_a_move_that_would_mix_up_contracts_is_refused(
    renumbered: Bench, names: tuple[str, str], reason: str, why: str
) -> None:
    renumbered.run("reconcile")
    before = known(renumbered)
    ran = renumbered.run("references", "move", *names, "--reason", reason)

    assert ran.code == 2
    assert why in " ".join(ran.err.split())
    assert known(renumbered) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("claimed_by = 'other' WHERE source_id = '1'", "A PUT of one of them is in flight."),
        ("claimed_by = 'other' WHERE source_id = '9'", "A PUT of one of them is in flight."),
        ("status = 'held', held_run = 7 WHERE source_id = '9'", "9 waits for the guard."),
    ],
)
def test_a_move_waits_for_what_is_on_its_way_or_held(
    renumbered: Bench, change: str, why: str
) -> None:
    renumbered.run("reconcile")
    in_state(renumbered, f"UPDATE contract SET {change}")
    ran = move(renumbered, "1", "9")

    assert ran.code == 2
    assert why in ran.err
    assert renumbered.contract("1")["reference"] == "erp-A7"
