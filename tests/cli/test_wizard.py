from pathlib import Path

import pytest

from cdc_sync.cli.wizard import (
    Prompter,
    ask_time_zone,
    check_columns,
    choose_table,
    describe_samples,
    list_tables,
    mapping_question,
    parse_mapping,
)
from cdc_sync.contract import Mapped, Problem, payload_of
from cdc_sync.errors import UserMistake
from cdc_sync.setup.files import (
    Answers,
    Place,
    config_as_written,
    config_from,
    expect_writable,
    files_of,
    parse_source_url,
    write_files,
)
from cdc_sync.setup.guess import Proposal

pytestmark = pytest.mark.quick

GUESSES = {"account": "account_name", "start": "start_date", "end": None, "description": None}


def proposal(table: str, *, indexed: bool = True, view: bool = False) -> Proposal:
    return Proposal(table, ("id",), "updated_at", "name", "start", None, None, indexed, view)


def test_tables_are_listed_with_rows_key_and_index():
    proposals = [
        proposal("contracts"),
        proposal("old", indexed=False),
        proposal("v", indexed=False, view=True),
    ]
    counts = [(12431, True), (88_000_120, False), (None, False)]
    shown = list_tables(proposals, counts, ["old", "v"])

    assert shown.splitlines() == [
        "  1  contracts  12,431 rows            id, updated_at (indexed)               ← looks right",
        "  2  old        about 88,000,120 rows  id, updated_at (no index, no horizon)",
        "  3  v          a view                 id, updated_at (no horizon)",
    ]


def test_more_tables_than_are_listed_are_counted():
    assert list_tables([proposal("a"), proposal("b")], [(1, True)]).endswith(
        "… and 1 more; the name of any table will do"
    )


@pytest.mark.parametrize(("answer", "name"), [("2", "old"), ("3", "3"), ("erp.x", "erp.x")])
def test_a_table_is_choose_table_by_number_or_name(answer: str, name: str):
    assert choose_table(answer, [proposal("contracts"), proposal("old")]) == name


def test_one_question_has_all_four_fields():
    assert mapping_question(GUESSES) == (
        "Account [account_name], start [start_date], end [leave alone], description [leave alone]"
    )
    assert mapping_question({**GUESSES, "account": None}).startswith("Account [?]")


@pytest.mark.parametrize(
    ("answer", "changed"),
    [
        ("", {}),
        ("customer", {"account": "customer"}),
        (" , , valid_to", {"end": "valid_to"}),
        ("description={plan}, End = valid_to", {"description": "{plan}", "end": "valid_to"}),
        ("start=-", {"start": None}),
    ],
)
def test_an_answer_changes_what_it_names(answer: str, changed: dict[str, str | None]):
    assert parse_mapping(answer, GUESSES) == GUESSES | changed


@pytest.mark.parametrize("answer", ["begin=x", "account=a, b", "a,b,c,d,e"])
def test_an_answer_that_names_nothing_known_is_refused(answer: str):
    with pytest.raises(UserMistake):
        parse_mapping(answer, GUESSES)


def test_a_column_that_is_not_there_is_refused_with_those_that_are():
    check_columns({"end": None, "reference": "erp-{id}"}, ["id"])
    with pytest.raises(UserMistake, match=r"no column nr for reference\. There are: id, name"):
        check_columns({"reference": "erp-{nr}"}, ["id", "name"])
    with pytest.raises(UserMistake, match="reference has a brace"):
        check_columns({"reference": "erp-{nr"}, ["id"])


def test_a_sample_shows_the_payload_or_what_is_wrong_with_it():
    good = payload_of({"account": "ACME", "start": "2024-01-01", "end": None})
    bad = payload_of({"account": None, "start": "2024-01-01"})
    problem = Problem("account", "must not be empty")
    rows = [Mapped("1", False, "erp-1", good, ()), Mapped("2", False, "erp-2", bad, (problem,))]

    assert describe_samples(rows).splitlines() == [
        "  erp-1  ACME  2024-01-01 … open",
        "  erp-2  —     account: must not be empty",
    ]
    assert describe_samples([]) == "  (no row yet)"


@pytest.mark.parametrize(
    ("config", "secret", "form", "state"),
    [
        (
            "/etc/cdc-sync/config.yaml",
            "/etc/cdc-sync/client_secret",
            "${file:${CREDENTIALS_DIRECTORY:-/etc/cdc-sync}/client_secret}",
            None,
        ),
        (
            "/etc/cdc-sync/crm.yaml",
            "/etc/cdc-sync/crm.client_secret",
            "${file:${CREDENTIALS_DIRECTORY:-/etc/cdc-sync}/crm.client_secret}",
            "sqlite:////var/lib/cdc-sync/crm/state.db",
        ),
        (
            "/srv/{odd}/config.yaml",
            "/srv/{odd}/client_secret",
            "${file:${CREDENTIALS_DIRECTORY:-.}/client_secret}",
            "sqlite:///state.db",
        ),
    ],
)
def test_the_unit_and_root_find_the_secrets_and_a_state(config, secret, form, state):
    place = Place(Path(config))

    assert place.secret("client_secret") == Path(secret)
    assert place.form("client_secret") == form
    assert place.state_url == state


def answers_for(url: str) -> Answers:
    return Answers(
        source=parse_source_url(url),
        table="contracts",
        id=["id"],
        watermark="updated_at",
        time_zone=None,
        mapping={"reference": "erp-{id}", "account": "name", "start": "start"},
        customergauge={"region": "eu", "client_id": "us"},
        client_secret="s3cret",
        state_url=None,
    )


@pytest.mark.parametrize("password", ["", "hunter2"])
def test_each_secret_has_a_file_that_nobody_else_may_read(tmp_path: Path, password: str):
    answers = answers_for(f"mysql://reader:{password}@db/erp")
    files = files_of(answers, Place(tmp_path / "config.yaml"), "text")

    assert files.pop(tmp_path / "source_password", ("", 0o600)) == (password, 0o600)
    assert files == {
        tmp_path / "client_secret": ("s3cret", 0o600),
        tmp_path / "config.yaml": ("text", 0o644),
    }


def test_a_file_that_holds_nothing_may_be_written(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.touch()
    write_files({secret: ("new", 0o600)}, force=False)
    write_files({secret: ("new", 0o600)}, force=False)

    assert secret.read_text() == "new"
    with pytest.raises(UserMistake, match=r"is there already\. Add --force"):
        write_files({secret: ("newer", 0o600)}, force=False)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    expect_writable(tmp_path / "not" / "yet")
    with pytest.raises(UserMistake, match="file is not a folder"):
        expect_writable(tmp_path / "file" / "below")


def test_an_unknown_time_zone_of_the_source_is_asked_for():
    script = Prompter({"time-zone": None}, terminal=False)

    assert ask_time_zone(script, None) is None
    with pytest.raises(UserMistake, match="Add --time-zone"):
        ask_time_zone(script, "CEST")
    with pytest.raises(UserMistake, match="`CEST` is not a time zone"):
        ask_time_zone(Prompter({"time-zone": "CEST"}, terminal=True), "CEST")
    assert ask_time_zone(Prompter({"time-zone": "Europe/Berlin"}, terminal=False), "CEST") == (
        "Europe/Berlin"
    )


def test_the_configuration_has_a_form_in_place_of_the_password(tmp_path: Path):
    answers = answers_for("postgres://reader:p%40ss@db/erp")
    place = Place(tmp_path / "config.yaml")

    url = config_as_written(answers, place)["source"]["url"]

    assert url == f"postgresql+psycopg://reader:{place.form('source_password')}@db/erp"
    assert config_from(answers).source.url.get_secret_value() == (
        "postgresql+psycopg://reader:p%40ss@db/erp"
    )


@pytest.mark.parametrize(
    "url", ["informix://db/erp", "nonsense", "mysql://db/erp?password=hunter2"]
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url: str):
    with pytest.raises(UserMistake, match="The URL of the source") as told:
        parse_source_url(url)

    assert "hunter2" not in str(told.value)
