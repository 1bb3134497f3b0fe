"""Each mistake in config.yaml is reported in one sentence with its file, line, key and fix."""

from pathlib import Path

import pytest

from cdc_sync.config.load import find_config, load_config
from cdc_sync.errors import ConfigMistake

pytestmark = pytest.mark.quick

GOOD = """\
source:
  url: postgresql://reader@db/erp
  table: contracts
  id: id
  watermark: updated_at
mapping:
  reference: "erp-{id}"
  account: account_name
  start: start_date
customergauge:
  region: eu
  client_id: us
  client_secret: hush
"""


@pytest.fixture
def mistakes_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load(text: str, environ: dict[str, str] | None = None, **options: bool) -> str:
        Path("config.yaml").write_text(text)
        with pytest.raises(ConfigMistake) as caught:
            load_config(find_config(None, {}), environ or {}, **options)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return load


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


ONE_MISTAKE = [
    # keys
    (GOOD + "schedule:\n  pol: 5s\n", "line 15: `schedule.pol` is not a key. Did you mean `schedule.poll`?"),
    (GOOD + "schedul:\n  poll: 5s\n", "line 14: `schedul` is not a key. Did you mean `schedule`?"),
    (GOOD + "reconcile: never\n", "line 14: `reconcile` is not a key. Did you mean `schedule.reconcile`?"),
    (GOOD + "web:\n  poll: 5s\n", "line 15: `web.poll` is not a key. Did you mean `schedule.poll`?"),
    (GOOD + "schedule:\n  zzz: 5s\n", "line 15: `schedule.zzz` is not a key. `schedule` has `poll` and `reconcile`."),
    (GOOD + "deletes:\n  zzz: 5s\n", "line 15: `deletes.zzz` is not a key. `deletes` has `policy`."),
    (GOOD + "web:\n  8787: yes\n", "line 15: `web.8787` is not a key. `web` has `listen` and `token`."),
    (changed("  watermark: updated_at\n", ""), "line 1: `source.watermark` is missing. Write for example `watermark: updated_at`."),
    (changed("watermark: updated_at", "watermark: null"), "line 5: `source.watermark` has no value. Write for example `watermark: updated_at`."),
    (changed("watermark: updated_at", 'watermark: ""'), "line 5: `source.watermark` has no value. Write for example `watermark: updated_at`."),
    (GOOD.partition("customergauge:")[0], ": the section `customergauge` is missing. It needs at least `client_id` and `client_secret`."),
    (GOOD.partition("customergauge:")[0] + "customergauge:\n", ", line 10: the section `customergauge` is missing. It needs at least `client_id` and `client_secret`."),
    (GOOD + "log: debug\n", "line 14: `log` must be a section: keys of its own, indented below it."),
    (GOOD + "log:\n  - debug\n", "line 14: `log` must be a section: keys of its own, indented below it."),
    # rules of a section
    (changed("  table: contracts\n", ""), "line 1: `source` needs `table` or `query`."),
    (changed("  table: contracts\n", "  table: contracts\n  query: SELECT 1\n"), "line 1: `source` has both `table` and `query`. Keep one of them."),
    (changed("  region: eu\n", ""), "line 10: `customergauge` needs `region` (`eu`, `us` or `au`), or both `base_url` and `token_url`."),
    (changed("region: eu", "base_url: https://x.example"), "line 10: `customergauge` needs `region` (`eu`, `us` or `au`), or both `base_url` and `token_url`."),
    (changed("postgresql://reader@db/erp", "mysql://db/erp\n  notify_channel: c"), "line 1: `source` has a `notify_channel`, which only PostgreSQL can serve. Remove it."),
    # values of the wrong kind
    (GOOD + "schedule:\n  poll: 15\n", "line 15: `schedule.poll` must be a duration with its unit, such as `15s` or `5m`."),
    (GOOD + "schedule:\n  poll: 500ms\n", "line 15: `schedule.poll`: `500ms` is not a duration. Write a number and its unit: `15s`, `5m`, `1h` or `90d`."),
    (GOOD + "schedule:\n  poll: 0.5s\n", "line 15: `schedule.poll` must be at least `1s`."),
    (GOOD + "schedule:\n  reconcile: nightly\n", "line 15: `schedule.reconcile`: `nightly` is not a time. Write a cron line such as `0 3 * * *`, an interval such as `6h`, or `never`."),
    (GOOD + "schedule:\n  reconcile: 0 25 * * *\n", "line 15: `schedule.reconcile`: `0 25 * * *` is not a time. Write a cron line such as `0 3 * * *`, an interval such as `6h`, or `never`."),
    (GOOD + "schedule:\n  reconcile: 0s\n", "line 15: `schedule.reconcile` must be at least `1s`."),
    (GOOD + "guard:\n  max_changes: 20\n", "line 15: `guard.max_changes` must be a share such as `20%`, or `none`."),
    (GOOD + "guard:\n  max_changes: 120%\n", "line 15: `guard.max_changes`: `120%` is not a share. Write it from `0%` to `100%`, as `20%`, or `none`."),
    (GOOD + "guard:\n  min_contracts: -1\n", "line 15: `guard.min_contracts` must be at least `0`."),
    (GOOD + "guard:\n  min_contracts: many\n", "line 15: `guard.min_contracts` must be a whole number, such as `100`."),
    (GOOD + "deletes:\n  policy: drop\n", "line 15: `deletes.policy` must be `keep` or `end`."),
    (GOOD + "log:\n  level: loud\n", "line 15: `log.level` must be `debug`, `info`, `warning` or `error`."),
    (GOOD + "web:\n  listen: 8787\n", "line 15: `web.listen` must be an address and a port, such as `127.0.0.1:8787`, or `none`."),
    (GOOD + "web:\n  listen: 127.0.0.1:99999\n", "line 15: `web.listen` must be an address and a port, such as `127.0.0.1:8787`, or `none`."),
    (GOOD + "alerts:\n  urls: mailto://me\n", "line 15: `alerts.urls` must be a list: one URL a line, each behind a `- `."),
    (GOOD + "alerts:\n  urls:\n    - mailto://me\n    - nobody\n", "line 17: `alerts.urls` must hold Apprise URLs only, such as `mailto://…` or `slack://…`."),
    (changed("client_secret: hush", "client_secret: 0123"), "line 13: `customergauge.client_secret` must be text: put quotes around it."),
    (changed("client_id: us", "client_id: [us]"), "line 12: `customergauge.client_id` must be one text, not a list or a section."),
    (changed("region: eu", "region: de"), "line 11: `customergauge.region` must be `eu`, `us` or `au`."),
    (GOOD + "  rate_limit: 20\n", "line 14: `customergauge.rate_limit` must be a rate such as `20/s` or `90/m`, or `none`."),
    (GOOD + "  rate_limit: 0/s\n", "line 14: `customergauge.rate_limit`: `0/s` is not a rate. Write `20/s`, `90/m` or `none`."),
    (GOOD + "  concurrency: 257\n", "line 14: `customergauge.concurrency` must be at most `256`."),
    (GOOD + "  concurrency: true\n", "line 14: `customergauge.concurrency` must be a whole number, such as `100`."),
    (GOOD + "  timeout: 11m\n", "line 14: `customergauge.timeout` must be at most `10m`."),
    (GOOD + "  create_missing_accounts: perhaps\n", "line 14: `customergauge.create_missing_accounts` must be `true` or `false`."),
    # URLs
    (GOOD + "  base_url: http://example.com\n", "line 14: `customergauge.base_url` would send secrets unencrypted to example.com. Use `https://`; `http://` is for loopback."),
    (GOOD + "  base_url: http://127.0.0.1.example.com\n", "line 14: `customergauge.base_url` would send secrets unencrypted to 127.0.0.1.example.com. Use `https://`; `http://` is for loopback."),
    (GOOD + "  token_url: https://me:hush@example.com\n", "line 14: `customergauge.token_url` must not carry a user or a password."),
    (GOOD + "  token_url: example.com\n", "line 14: `customergauge.token_url` must be a URL such as `https://imports.example.com`."),
    (GOOD + "  token_url: https://example.com:port/\n", "line 14: `customergauge.token_url` must be a URL such as `https://imports.example.com`."),
    (changed("postgresql://reader@db/erp", "informix://db/erp"), "line 2: `source.url` begins with `informix://`. What is supported is PostgreSQL (`postgresql+psycopg://user@host/database`) or MySQL or MariaDB (`mysql+pymysql://user@host/database`) or SQL Server (`mssql+pyodbc://user@host/database`) or Oracle (`oracle+oracledb://user@host/?service_name=name`) or SQLite (`sqlite:///file.db`) or any other database whose SQLAlchemy dialect is installed."),
    (changed("postgresql://reader@db/erp", "db.example.com"), "line 2: `source.url` is not a database URL. Percent-encode what is special in its user and password, or let `${NAME}` or `${file:PATH}` put them in."),
    (changed("postgresql://reader@db/erp", "sqlite://"), "line 2: `source.url` must name a file: `sqlite:///file.db`, or `sqlite:////folder/file.db` from the root."),
    (GOOD + "state:\n  url: mysql://db/state\n", "line 15: `state.url` begins with `mysql://`. What is supported is SQLite (`sqlite:///file.db`) or PostgreSQL (`postgresql+psycopg://user@host/database`)."),
    # the source
    (changed("id: id", "id: []"), "line 4: `source.id` must be a column's name, or a list of them."),
    (changed("id: id", "id: [a, a]"), "line 4: `source.id` names a column twice."),
    (changed("id: id", "id: [a, 5]"), "line 4: `source.id` must hold names of columns only; put quotes around a number."),
    (changed("id: id", "id: id\n  clock_margin: 1s"), "line 5: `source.clock_margin` must be at least `2s`."),
    (changed("id: id", "id: id\n  page_size: 0"), "line 5: `source.page_size` must be at least `1`."),
    (changed("id: id", "id: id\n  lookback: -1"), "line 5: `source.lookback` must be a duration such as `5m`, or a number from 0 up."),
    (changed("id: id", "id: id\n  time_zone: Mars/Base"), "line 5: `source.time_zone`: `Mars/Base` is not a time zone. Write an IANA name such as `Europe/Berlin`."),
    (changed("id: id", "id: id\n  time_zone: Europe"), "line 5: `source.time_zone`: `Europe` is not a time zone. Write an IANA name such as `Europe/Berlin`."),
    # templates
    (changed("erp-{id}", "erp-{id"), "line 7: `mapping.reference` has a brace without its partner in `erp-{id`. Write `{column}`, and `{{` or `}}` for a brace itself."),
    (changed("erp-{id}", "{{erp}}"), "line 7: `mapping.reference` must have a column in it, such as `erp-{id}`."),
    (changed("account: account_name", 'account: "{name!r}"'), "line 8: `mapping.account` has `{name!r}`, which is more than a column's name. Write `{column}`, and shape the value in a `query`."),
    (changed("start: start_date", 'start: "{start:%Y}"'), "line 9: `mapping.start` has `{start:%Y}`, which is more than a column's name. Write `{column}`, and shape the value in a `query`."),
    (changed("start: start_date", 'start: "{}"'), "line 9: `mapping.start` names the column ``. Write its name without blanks around it."),
    # forms
    (changed("client_secret: hush", "client_secret: ${SECRET}"), "line 13: `customergauge.client_secret` needs the environment variable SECRET, which is not set. Set it, or write a default: `${SECRET:-…}`."),
    (changed("region: eu", "region: ${REGION}"), "line 11: `customergauge.region` needs the environment variable REGION, which is not set. Set it, or write a default: `${REGION:-…}`."),
    (changed("client_secret: hush", "client_secret: ${file:/not/there}"), "line 13: `customergauge.client_secret` needs the file /not/there, which cannot be read (No such file or directory). Create it, correct its path, or let this user read it."),
    (changed("client_secret: hush", "client_secret: ${bad-name}"), "line 13: `customergauge.client_secret` has a `${` that begins no form. Write `${NAME}`, `${NAME:-default}` or `${file:PATH}`, and `$${` for the characters themselves."),
    (changed("client_secret: hush", "client_secret: ${UNSET:-}"), "line 13: `customergauge.client_secret` has no value. Write for example `client_secret: ${CUSTOMERGAUGE_CLIENT_SECRET}`."),
    # the file itself
    ("# nothing\n", " is empty. Start from the example config.yaml of cdc-sync."),
    ("- source\n", ", line 1: the file must hold sections such as `source:`, not a list."),
    ("source\n", ", line 1: the file must hold sections such as `source:`, not a single value."),
    (GOOD + "source:\n  url: x\n", ", line 14: `source` is there twice. Keep one of them."),
    (GOOD + "  client_id: them\n", ", line 14: `client_id` is there twice. Keep one of them."),
    (GOOD + "web: {listen: [\n", ", line 15, column 1: this is not YAML: expected the node content, but found '<stream end>'. Look at the indentation, quotes and colons there and on the line before."),
    (GOOD + "web:\n\tlisten: none\n", ", line 15, column 1: this is not YAML: found character '\\t' that cannot start any token. Look at the indentation, quotes and colons there and on the line before."),
    (changed("start: start_date", "start: 2026-13-40"), ": a value looks like a date and is none (month must be in 1..12). Put quotes around it."),
    (GOOD + "[[a]]: x\n", ": a key is a list or a section. Write plain names before the colons."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"), ONE_MISTAKE, ids=[sentence for _, sentence in ONE_MISTAKE]
)
def test_a_mistake_is_reported_in_one_sentence_with_its_line_and_fix(mistakes_of, text, sentence):
    glue = "" if sentence[0] in ",: " else ", "
    (mistake,) = mistakes_of(text).splitlines()

    assert mistake == f"config.yaml{glue}{sentence}"


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(mistakes_of):
    text = GOOD.replace("table: contracts", "tabel: contracts").replace("hush", "${SECRET}")
    text = text.replace("region: eu", "region: de") + "schedule:\n  poll: soon\nlogs: {}\n"

    assert mistakes_of(text).splitlines() == [
        "config.yaml, line 1: `source` needs `table` or `query`.",
        "config.yaml, line 3: `source.tabel` is not a key. Did you mean `source.table`?",
        "config.yaml, line 11: `customergauge.region` must be `eu`, `us` or `au`.",
        "config.yaml, line 13: `customergauge.client_secret` needs the environment variable SECRET, which is not set. Set it, or write a default: `${SECRET:-…}`.",
        "config.yaml, line 15: `schedule.poll`: `soon` is not a duration. Write a number and its unit: `15s`, `5m`, `1h` or `90d`.",
        "config.yaml, line 16: `logs` is not a key. Did you mean `log`?",
    ]


def test_a_missing_variable_is_reported_without_what_only_follows_from_it(mistakes_of):
    text = changed("table: contracts", "table: ${TABLE}")

    assert len(mistakes_of(text).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        changed("postgresql://reader@db/erp", "informix://reader:hunter2@db/erp"),
        changed("postgresql://reader@db/erp", "postgresql://reader:hunter2@x@y:z"),
        changed("postgresql://reader@db/erp", "[hunter2]"),
        changed("client_secret: hush", "client_secret: {hunter2: hunter2}"),
        GOOD + "web:\n  token: [hunter2]\n",
        GOOD + "alerts:\n  urls: [hunter2]\n",
        GOOD + "alerts:\n  urls: hunter2\n",
        GOOD + "  base_url: https://hunter2@example.com\n",
    ],
)
def test_a_mistake_never_contains_a_secret(mistakes_of, text):
    assert "hunter2" not in mistakes_of(text)


def test_the_file_is_named_as_the_user_named_it(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("")

    with pytest.raises(ConfigMistake, match=f"^{file} is empty"):
        load_config(file, {})


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigMistake, match=r"config.yaml is not UTF-8 text. Save it as UTF-8."):
        load_config(file, {})
    with pytest.raises(ConfigMistake, match=r"cannot be read \(Is a directory\)"):
        load_config(tmp_path, {})


def test_a_malformed_form_is_a_mistake_also_where_the_secrets_are_not_needed(mistakes_of):
    text = changed("client_secret: hush", "client_secret: ${SECRET")

    assert "begins no form" in mistakes_of(text, secrets=False)
