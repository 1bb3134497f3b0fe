"""watermark show, set, rewind, reset and history, as a process."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import Bench
from tests.support.sandbox import Sandbox


def shown(bench: Bench) -> dict[str, Any]:
    document: dict[str, Any] = bench.run("watermark", "show", "--json").document
    return document


@pytest.fixture
def standing(synced: Bench) -> Bench:
    synced.state("UPDATE watermark SET value = '2026-01-03T12:00:00Z'")
    return synced


@pytest.fixture
def numbered(tmp_path: Path, sandbox: Sandbox) -> Bench:
    bench = Bench.with_contracts(tmp_path, sandbox, watermark="INTEGER", source={"lookback": 50})
    bench.sync_once(deliver=False)
    return bench


def test_show_says_where_it_stands(standing: Bench) -> None:
    document = shown(standing)

    assert set(document) == {
        "value",
        "type",
        "version",
        "moved_at",
        "horizon",
        "basis",
        "basis_reason",
        "basis_hint",
        "read_to",
        "held_back_by",
    }
    assert document["value"] == document["read_to"] == "2026-01-03T12:00:00Z"
    assert document["type"] == "timestamp"
    assert document["version"] == 1
    assert "2026-01-03T12:00:00Z" in standing.run("watermark", "show").out


def test_before_the_first_run_there_is_none(fresh: Bench) -> None:
    assert shown(fresh)["value"] is None
    assert shown(fresh)["version"] == 0
    assert fresh.run("watermark", "rewind", "2h", "--yes").code == 2


def test_a_rewind_counts_from_the_watermark_and_says_what_it_means(standing: Bench) -> None:
    ran = standing.run("watermark", "rewind", "24h", "--yes", "--reason", "a clock was wrong")

    assert ran.code == 0
    assert f"config {standing.config}" in ran.out
    assert "from 2026-01-03 12:00:00+00:00 to 2026-01-02 12:00:00+00:00 (1d before" in ran.out
    assert "3 rows are read again" in ran.out
    assert "Moved (version 2) by anna@" in ran.out
    assert shown(standing)["value"] == "2026-01-02T12:00:00Z"


def test_every_move_is_in_the_history(standing: Bench) -> None:
    standing.run("watermark", "rewind", "24h", "--yes", "--reason", "a clock was wrong")
    standing.run("watermark", "reset", "--yes")

    reset, rewind = standing.run("watermark", "history", "--json").document["moves"]

    assert set(rewind) == {"at", "who", "from", "to", "kind", "reason"}
    assert rewind["from"] == "2026-01-03T12:00:00Z"
    assert rewind["to"] == reset["from"] == "2026-01-02T12:00:00Z"
    assert (rewind["kind"], rewind["reason"]) == ("rewind", "a clock was wrong")
    assert rewind["who"].startswith("anna@")
    assert (reset["kind"], reset["to"], reset["reason"]) == ("reset", None, None)
    assert "a clock was wrong" in standing.run("watermark", "history").out


def test_without_a_terminal_and_without_yes_nothing_is_moved(standing: Bench) -> None:
    ran = standing.run("watermark", "rewind", "24h")

    assert ran.code == 2
    assert "--yes" in ran.err
    assert shown(standing)["version"] == 1


def test_a_reset_reads_every_row_once_more_and_sends_nothing(
    standing: Bench, sandbox: Sandbox
) -> None:
    ran = standing.run("watermark", "reset", "--yes")
    sent = len(sandbox.puts())
    standing.sync_once()

    assert "All 4 rows are read once more" in ran.out
    assert len(sandbox.puts()) == sent
    assert shown(standing)["value"] is not None


def test_a_value_without_zone_is_in_the_zone_of_the_column(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    bench = Bench.with_contracts(tmp_path, sandbox, source={"time_zone": "Europe/Berlin"})
    bench.sync_once(deliver=False)

    ran = bench.run("watermark", "set", "2026-01-02 12:00:00", "--yes")

    assert "to 2026-01-02 12:00:00+01:00" in ran.out
    assert shown(bench)["value"] == "2026-01-02T11:00:00Z"


@pytest.mark.parametrize(
    ("value", "words"),
    [("2099-01-01T00:00:00Z", "in the future"), ("yesterday", "not a time"), ("17", "not a time")],
)
def test_a_value_that_makes_no_sense_is_refused(standing: Bench, value: str, words: str) -> None:
    ran = standing.run("watermark", "set", value, "--yes", "--force")

    assert ran.code == 2
    assert words in ran.err
    assert shown(standing)["version"] == 1


def test_beyond_the_horizon_only_force_moves_it(tmp_path: Path, sandbox: Sandbox) -> None:
    bench = Bench.with_contracts(tmp_path, sandbox, source={"lookback": "36500d"})
    bench.sync_once(deliver=False)

    refused = bench.run("watermark", "set", "2026-01-01T00:00:00Z", "--yes")
    forced = bench.run("watermark", "set", "2026-01-01T00:00:00Z", "--yes", "--force")

    assert refused.code == 2
    assert "--force" in refused.err
    assert forced.code == 0
    assert "goes forward" in forced.out


@pytest.mark.parametrize("by", ["soon", "5000"])
def test_a_rewind_by_anything_but_a_duration_is_refused(standing: Bench, by: str) -> None:
    assert standing.run("watermark", "rewind", by, "--yes").code == 2


def test_a_number_goes_back_by_a_number(numbered: Bench) -> None:
    before = int(shown(numbered)["value"])
    ran = numbered.run("watermark", "rewind", "100", "--yes", "--json")

    assert ran.document == {
        "kind": "rewind",
        "from": str(before),
        "to": str(before - 100),
        "rows": 2,
        "version": 2,
    }
    assert shown(numbered)["type"] == "integer"
    assert numbered.run("watermark", "rewind", "2h", "--yes").code == 2
    assert numbered.run("watermark", "set", "noon", "--yes").code == 2
    assert numbered.run("watermark", "set", "99999", "--yes").code == 2
    assert numbered.run("watermark", "set", "100", "--yes").code == 0


def test_while_the_source_is_away_it_moves_and_says_that_the_rows_are_not_known(
    standing: Bench,
) -> None:
    (standing.folder / "source.db").rename(standing.folder / "away.db")

    naive = standing.run("watermark", "set", "2026-01-01 00:00:00", "--yes")
    ahead = standing.run("watermark", "set", "2026-01-05T00:00:00Z", "--yes")
    back = standing.run("watermark", "rewind", "1h", "--yes")

    assert (naive.code, ahead.code, back.code) == (2, 2, 0)
    assert "with its zone" in naive.err
    assert "cannot be asked how many rows" in back.out
    assert shown(standing)["value"] == "2026-01-03T11:00:00Z"


def test_a_rewind_beyond_all_times_reads_every_row(standing: Bench) -> None:
    assert "4 rows are read again" in standing.run("watermark", "rewind", "9999999d", "--yes").out


def test_answering_no_moves_nothing(standing: Bench) -> None:
    no = standing.run("watermark", "rewind", "24h", answer="n\n")
    unmoved = shown(standing)["version"]
    yes = standing.run("watermark", "rewind", "24h", answer="y\n")

    assert (no.code, unmoved) == (1, 1)
    assert "Nothing was moved." in no.out
    assert "Move it? [y/N]" in yes.err
    assert (yes.code, shown(standing)["version"]) == (0, 2)


def test_a_move_without_a_daemon_is_not_undone_by_the_next_poll(standing: Bench) -> None:
    standing.source("UPDATE contracts SET plan = 'Silver' WHERE id = 2")
    standing.run("watermark", "rewind", "2d", "--yes")
    standing.sync_once(deliver=False)

    story = standing.run("contracts", "show", "2", "--json").document
    assert story["diff"] == {"description": ["Gold", "Silver"]}


def test_a_text_in_an_integer_watermark_column_affects_that_row_alone(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    bench = Bench.with_contracts(tmp_path, sandbox, watermark="INTEGER", source={"lookback": "1s"})
    bench.source("DELETE FROM contracts WHERE id = 4")
    bench.run("once")
    bench.source(
        "UPDATE contracts SET updated_at = 'garbage!', plan = 'Silver' WHERE id = 1",
        "UPDATE contracts SET updated_at = 900, plan = 'Silver' WHERE id = 2",
    )

    assert bench.run("once").code == 0
    assert {c["description"] for c in sandbox.contracts().values()} == {"Silver", "Gold"}
    assert sandbox.contracts()["erp-2"]["description"] == "Silver"


def test_another_watermark_column_is_in_the_watermarks_history(synced: Bench) -> None:
    synced.source("ALTER TABLE contracts ADD COLUMN touched TEXT DEFAULT '2026-03-01 12:00:00'")
    text = synced.config.read_text()
    synced.config.write_text(text.replace('"watermark": "updated_at"', '"watermark": "touched"'))
    synced.run("once")
    (move,) = synced.run("watermark", "history", "--json").document["moves"]

    assert (move["kind"], move["reason"]) == ("reset", "the watermark column is another")
