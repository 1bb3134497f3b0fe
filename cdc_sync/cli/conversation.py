"""The conversation of `init`: from a source's URL to every answer that a configuration needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cdc_sync.cli import answers as told
from cdc_sync.cli.asking import Asker, nobody_to_ask
from cdc_sync.config.readers import time_zone
from cdc_sync.errors import SourceUnavailable, UserMistake
from cdc_sync.rules.proposal import Proposal, Table, in_order, looks_right, propose, reference_of
from cdc_sync.set_up import (
    PASSWORD,
    SECRET,
    Answers,
    Place,
    SourceAddress,
    config_from,
    expect_writable,
    first_rows,
    refuse_existing,
    source_address,
)
from cdc_sync.source.catalog import open_catalog

REGIONS = ("eu", "us", "au")
SAMPLES = 3
_LATER = "later"  # rows can be looked at without a client


@dataclass(frozen=True, slots=True)
class Seen:
    """What the source has: tables by name, the likely ones in order, their rows, an odd zone."""

    tables: Mapping[str, Table]
    likely: Sequence[Proposal]
    rows: Sequence[told.Rows]
    odd_zone: str | None


def converse(asker: Asker, place: Place, *, force: bool) -> Answers:
    """Every answer. Raises UserMistake where one is needed and nobody can be asked."""
    _expect_answers(asker)
    _expect_room(asker, place, force=force)
    source, seen = asker.until(lambda: _source(asker, place), "source-url")
    table = asker.until(lambda: _table(asker, seen), "table")
    guess = propose(table)
    key = _columns(asker, "id", "Key: the columns that are unique together", guess.id, table)
    grows = (guess.watermark,) if guess.watermark else None
    question = "Watermark: a column that grows with every change"
    answers = Answers(
        source=source,
        table=table.name,
        id=key,
        watermark=_columns(asker, "watermark", question, grows, table)[0],
        time_zone=_time_zone(asker, seen.odd_zone),
        mapping={"reference": "{any}", "account": "any", "start": "any"},
        customergauge={"region": REGIONS[0], "client_id": _LATER, **_urls(asker)},
        client_secret=_LATER,
        state_url=asker.flags["state-url"] or place.state_url,
    )
    config_from(answers)  # a mistake in an option is told before its time, and only once
    answers = replace(answers, mapping=_mapping(asker, answers, guess, table))
    return _with_client(asker, answers, place)


def _expect_answers(asker: Asker) -> None:
    """Names every missing option at once where there is no terminal."""
    platform = [] if asker.given("base-url", "token-url") else ["region"]
    needed = ["source-url", *platform, "client-id", "client-secret-file"]
    missing = [flag for flag in needed if not asker.given(flag)]
    if missing and not asker.terminal:
        raise nobody_to_ask(missing)


def _expect_room(asker: Asker, place: Place, *, force: bool) -> None:
    """What cannot be written is told before the first question."""
    expect_writable(place.folder)
    if not force:
        asked = {"client-secret-file": SECRET, "source-password-file": PASSWORD}
        secrets = [place.secret(name) for flag, name in asked.items() if not asker.given(flag)]
        refuse_existing(place.config, *secrets)


def _source(asker: Asker, place: Place) -> tuple[SourceAddress, Seen]:
    address = source_address(asker.ask("source-url", "Source database URL"))
    if asker.given("source-password-file") and (address.password or not address.user):
        why = "has a password, too" if address.password else "names no user who could have it"
        raise UserMistake(
            f"--source-password-file is given, and the URL of the source {why}.",
            mend="Leave one of the two out.",
        )
    if address.user and not address.password:
        question = f"Password for {address.user}"
        address = replace(address, password=asker.secret("source-password-file", question, ""))
    if address.password:
        print(f"  → {place.secret(PASSWORD)} (0600)")
    try:
        return address, _look(address)
    except SourceUnavailable as error:
        if asker.terminal or address.password or not address.user:
            raise
        mend = "Where that is for want of a password: --source-password-file."
        raise UserMistake(error.what, mend=mend) from error


def _look(address: SourceAddress) -> Seen:
    with open_catalog(address.with_password) as catalog:
        tables = {table.name: table for table in catalog.tables()}
        likely = in_order(map(propose, tables.values()))
        shown = likely[: told.LISTED]
        rows = [(None, False) if one.is_view else catalog.rows(one.table) for one in shown]
        return Seen(tables, likely, rows, catalog.odd_zone)


def _table(asker: Asker, seen: Seen) -> Table:
    if not asker.given("table"):
        print("Tables with a key and a time column:")
        print(told.listing(seen.likely, seen.rows))
    best = [one for one in seen.likely if looks_right(one)]
    if not asker.terminal and not asker.given("table") and len(best) != 1:
        raise nobody_to_ask(["table"])
    default = "1" if seen.likely else None
    name = told.chosen(asker.ask("table", "Table", default), seen.likely)
    if name not in seen.tables:
        names = ", ".join(sorted(seen.tables)[: told.LISTED]) or "none that this user may see"
        raise UserMistake(f"There is no table {name}.", mend=f"There are: {names}")
    return seen.tables[name]


def _columns(
    asker: Asker, flag: str, question: str, guess: Sequence[str] | None, table: Table
) -> tuple[str, ...]:
    """The columns of the key, or of the watermark; asked for where there is no guess."""

    def attempt() -> tuple[str, ...]:
        if guess is not None and not asker.given(flag):
            return tuple(guess)
        names = tuple(name.strip() for name in asker.ask(flag, question).split(","))
        told.check_columns({f"--{flag}": f"{{{name}}}" for name in names}, _names(table))
        return names

    return asker.until(attempt, flag)


def _time_zone(asker: Asker, odd: str | None) -> str | None:
    """Asked for where the source's name for its own is none that the world knows."""
    if odd is None:
        return asker.flags["time-zone"]
    question = f"Time zone of the source, which calls it {odd} (as in: Europe/Berlin)"

    def attempt() -> str:
        try:
            return time_zone(asker.ask("time-zone", question))
        except ValueError as error:
            raise UserMistake(str(error)) from None

    return asker.until(attempt, "time-zone")


def _mapping(asker: Asker, answers: Answers, guess: Proposal, table: Table) -> dict[str, str]:
    """The templates, after a look at the first rows as they would be sent."""
    default = reference_of(answers.source.database, answers.id)
    question = "Reference: a prefix keeps two systems apart  "

    def reference() -> str:
        template = asker.ask("reference", question, default)
        told.check_columns({"reference": template}, _names(table))
        return template

    first = {"reference": asker.until(reference, "reference")}
    guesses: dict[str, str | None] = {
        field: told.template_of(given) if (given := asker.flags[field]) is not None else guessed
        for field, guessed in zip(
            told.FIELDS, (guess.account, guess.start, guess.end, guess.description), strict=True
        )
    }

    def attempt() -> dict[str, str]:
        fields = guesses
        if asker.terminal and not asker.given("account", "start"):
            answer = asker.prompt(told.mapping_question(guesses), "")
            fields = told.mapping_answer(answer, guesses)
        told.check_columns(fields, _names(table))
        if missing := [field for field in ("account", "start") if not fields[field]]:
            if not asker.terminal:
                raise nobody_to_ask(missing)
            raise UserMistake(f"A contract needs {' and '.join(missing)}: name the column.")
        mapping = first | {field: template for field, template in fields.items() if template}
        _show(asker, replace(answers, mapping=mapping))
        return mapping

    return asker.until(attempt, "account", "start")


def _show(asker: Asker, answers: Answers) -> None:
    rows = first_rows(config_from(answers), SAMPLES)
    print(told.samples(rows))
    if rows and asker.terminal and all(row.problems for row in rows):
        raise UserMistake(
            "None of these is a contract that CustomerGauge takes.",
            mend="Name other columns, as in: start=signed_on",
        )


def _with_client(asker: Asker, answers: Answers, place: Place) -> Answers:
    client = _urls(asker)
    if not asker.given("base-url", "token-url"):
        client["region"] = asker.until(lambda: _region(asker), "region")
    client["client_id"] = asker.ask("client-id", "Client id")
    secret = asker.secret("client-secret-file", "Client secret")
    if not secret:
        raise UserMistake("The client secret is empty.", mend="Look at --client-secret-file.")
    print(f"  → {place.secret(SECRET)} (0600)")
    return replace(answers, customergauge=client, client_secret=secret)


def _urls(asker: Asker) -> dict[str, str]:
    keys = {"base_url": asker.flags["base-url"], "token_url": asker.flags["token-url"]}
    return {key: url for key, url in keys.items() if url is not None}


def _region(asker: Asker) -> str:
    question = f"CustomerGauge region ({', '.join(REGIONS)})"
    region = asker.ask("region", question, REGIONS[0]).lower()
    if region not in REGIONS:
        raise UserMistake(f"There is no region {region}.", mend=f"There are {', '.join(REGIONS)}.")
    return region


def _names(table: Table) -> list[str]:
    return [column.name for column in table.columns]
