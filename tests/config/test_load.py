"""config.yaml is found, read, and becomes the values that it means."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from cdc_sync.config.interpolate import Interpolator
from cdc_sync.config.load import find_config, load_config
from cdc_sync.config.units import Rate
from cdc_sync.errors import ConfigMistake

pytestmark = pytest.mark.quick

REPOSITORY = Path(__file__).parents[2]
SHORTEST = """\
source: {url: "postgres://reader:${PW}@db/erp", table: contracts, id: [company, id], watermark: at}
mapping: {reference: "erp-{id}", account: name, start: start}
customergauge: {region: us, client_id: "${ID}", client_secret: "${file:secret}"}
web: {token: "${TOKEN}"}
alerts: {urls: ["${ALERT}", "mailto://me:pw@example.com"]}
"""
ENVIRON = {"PW": "p@ss/w:rd#%", "ID": "client", "TOKEN": "tok", "ALERT": "slack://tokens"}


@pytest.fixture
def file(tmp_path):
    (tmp_path / "secret").write_text("hush\n")
    path = tmp_path / "config.yaml"
    path.write_text(SHORTEST)
    return path


def test_the_shortest_configuration_has_the_documented_defaults(file):
    config = load_config(file, ENVIRON)

    assert config.source.id == ("company", "id")
    assert config.source.clock_margin == timedelta(seconds=10)
    assert config.source.lookback == config.source.long_transaction == timedelta(minutes=5)
    assert (config.source.page_size, config.source.time_zone) == (1000, None)
    assert (config.mapping.end, config.mapping.description) == (None, None)
    assert config.mapping.description_overflow == "truncate"
    assert config.customergauge.rate_limit == Rate(20)
    assert (config.customergauge.concurrency, config.customergauge.clear_end_with) == (8, "null")
    assert config.customergauge.timeout == timedelta(seconds=30)
    assert config.customergauge.client_secret.get_secret_value() == "hush"
    assert config.state.url.get_secret_value() == "sqlite:////var/lib/cdc-sync/state.db"
    assert config.state.history == timedelta(days=90)
    assert (config.schedule.poll, config.schedule.reconcile) == (timedelta(seconds=15), "0 3 * * *")
    assert (config.guard.max_changes, config.guard.min_contracts) == (0.2, 100)
    assert config.web.listen == "127.0.0.1:8787"
    assert config.deletes.policy == "keep"
    assert config.alerts.urls[0].get_secret_value() == "slack://tokens"
    assert config.alerts.after == timedelta(minutes=10)
    assert (config.log.level, config.log.format) == ("info", "auto")


def test_a_null_value_is_as_a_key_left_out(file):
    left_out = load_config(file, ENVIRON)
    file.write_text(SHORTEST + "schedule: {poll: null}\nguard: null\nlog: {level: null}\n")

    assert load_config(file, ENVIRON) == left_out


def test_what_can_be_off_is_switched_off_by_none(file):
    more = SHORTEST.replace("region: us", "region: us, rate_limit: none")
    more = more.replace("web: {", "web: {listen: none, ")
    file.write_text(more + "guard: {max_changes: none}\nschedule: {reconcile: never}\n")
    config = load_config(file, ENVIRON)

    assert config.customergauge.rate_limit is None
    assert config.web.listen is None
    assert config.guard.max_changes is None
    assert config.schedule.reconcile == "never"


def test_the_region_gives_the_urls_and_base_url_wins_over_it(file):
    config = load_config(file, ENVIRON).customergauge
    assert config.imports_url == "https://imports.api.us.customergauge.com"
    assert config.token_endpoint == "https://auth.us.customergauge.com/oauth2/token"

    file.write_text(SHORTEST.replace("region: us", 'region: us, base_url: "http://[::1]:8080/"'))
    config = load_config(file, ENVIRON).customergauge
    assert config.imports_url == "http://[::1]:8080"
    assert config.token_endpoint == "https://auth.us.customergauge.com/oauth2/token"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("postgresql://db/erp", "postgresql+psycopg://db/erp"),
        ("postgresql+psycopg:///erp?host=/run/pg", "postgresql+psycopg:///erp?host=/run/pg"),
        ("mysql://u:p/w@db:3306/erp", "mysql+pymysql://u:p/w@db:3306/erp"),
        ("mariadb://db/erp", "mysql+pymysql://db/erp"),
        ("sqlite:////data/erp.db?mode=ro", "sqlite:////data/erp.db?mode=ro"),
        ("sqlite:///demo/a.db", "sqlite:///{folder}/demo/a.db"),
        ("sqlite:///./a.db?timeout=1", "sqlite:///{folder}/a.db?timeout=1"),
    ],
)
def test_a_source_url_names_its_driver_and_a_relative_file_counts_from_the_config(
    file, written, meant
):
    file.write_text(SHORTEST.replace("postgres://reader:${PW}@db/erp", written))

    url = load_config(file, ENVIRON).source.url.get_secret_value()
    assert url == meant.format(folder=file.parent)


def test_a_folder_with_odd_characters_still_holds_the_relative_database(tmp_path):
    folder = tmp_path / "50% off? yes"
    folder.mkdir()
    (folder / "secret").write_text("hush")
    file = folder / "config.yaml"
    file.write_text(SHORTEST + 'state: {url: "sqlite:///state.db"}\n')

    url = load_config(file, ENVIRON).state.url.get_secret_value()
    assert make_url(url).database == str(folder / "state.db")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0 3 * * *", "0 3 * * *"),
        ("0 3 * * 0", "0 3 * * sun"),
        ("0 3 * * 7", "0 3 * * sun"),
        ("0 3 * * 1-5", "0 3 * * mon,tue,wed,thu,fri"),
        ("0 3 * * */3,mon", "0 3 * * sun,wed,sat,mon"),
        ("0 3 * * 2/2", "0 3 * * tue,thu,sat"),
        ("6h", "6h"),
    ],
)
def test_a_cron_line_means_the_weekdays_that_crontab_means(file, written, meant):
    file.write_text(SHORTEST + f'schedule: {{reconcile: "{written}"}}\n')

    assert load_config(file, ENVIRON).schedule.reconcile == meant


def test_numbers_and_flags_may_come_from_the_environment(file):
    form = "region: us, concurrency: '${N}', create_missing_accounts: '${C:-true}', timeout: '${T}'"
    file.write_text(SHORTEST.replace("region: us", form))
    config = load_config(file, {**ENVIRON, "N": "3", "T": "5s"}).customergauge

    assert (config.concurrency, config.create_missing_accounts) == (3, True)
    assert config.timeout == timedelta(seconds=5)


def test_a_lookback_is_a_duration_or_a_number(file):
    for written, meant in [("90s", timedelta(seconds=90)), ("500", 500), ("'0'", 0)]:
        file.write_text(SHORTEST.replace("watermark: at", f"watermark: at, lookback: {written}"))
        assert load_config(file, ENVIRON).source.lookback == meant


def test_no_form_is_resolved_twice(file):
    for written, meant in [("'$${ID}'", ("${ID}",)), ("[a, '$${ID}']", ("a", "${ID}"))]:
        file.write_text(SHORTEST.replace("[company, id]", written))
        assert load_config(file, ENVIRON).source.id == meant


def test_a_query_may_end_with_its_semicolon(file):
    file.write_text(SHORTEST.replace("table: contracts", 'query: "SELECT * FROM c ;\\n"'))

    assert load_config(file, ENVIRON).source.query == "SELECT * FROM c"


def test_commands_that_need_only_the_state_run_without_the_secrets(file):
    (file.parent / "secret").unlink()
    config = load_config(file, {}, secrets=False)

    assert config.source.url.get_secret_value() == ""
    assert config.customergauge.client_id == ""
    assert config.customergauge.client_secret.get_secret_value() == ""
    assert config.web.token is None
    assert [url.get_secret_value() for url in config.alerts.urls] == ["mailto://me:pw@example.com"]


def test_without_the_secrets_those_that_resolve_are_there(file):
    assert load_config(file, ENVIRON, secrets=False) == load_config(file, ENVIRON)


def test_without_the_secrets_the_state_is_still_needed(file):
    file.write_text(SHORTEST + 'state: {url: "postgresql://u:${STATE_PASSWORD}@db/state"}\n')

    with pytest.raises(ConfigMistake, match=r"`state.url` needs the environment variable STATE_"):
        load_config(file, ENVIRON, secrets=False)


def test_the_example_loads_as_it_stands():
    config = load_config(REPOSITORY / "config.yaml", {})

    demo = REPOSITORY / "demo"
    assert config.source.url.get_secret_value() == f"sqlite:///{demo}/contracts.db"
    assert config.state.url.get_secret_value() == f"sqlite:///{demo}/state.db"
    assert config.customergauge.imports_url == "http://127.0.0.1:8080"
    assert config.customergauge.client_secret.get_secret_value() == "sandbox"
    assert config.web.token is None


def test_the_configuration_is_looked_for_in_its_places_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigMistake, match=r"looked for ./config.yaml and /etc/cdc-sync/config"):
        find_config(None, {})

    for name in ("config.yaml", "named.yaml", "given.yaml"):
        Path(name).touch()
    named = {"CDC_SYNC_CONFIG": "named.yaml"}
    assert find_config(None, {}) == Path("config.yaml")
    assert find_config(None, named) == Path("named.yaml")
    assert find_config(Path("given.yaml"), named) == Path("given.yaml")


def test_a_named_configuration_that_is_not_there_is_not_replaced_by_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").touch()

    with pytest.raises(ConfigMistake, match=r"gone.yaml, which --config names, is not there"):
        find_config(Path("gone.yaml"), {})
    with pytest.raises(ConfigMistake, match=r"gone.yaml, which \$CDC_SYNC_CONFIG names, is not"):
        find_config(None, {"CDC_SYNC_CONFIG": "gone.yaml"})


def test_a_configuration_that_this_user_may_not_look_at_is_named(monkeypatch):
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    monkeypatch.setattr(Path, "read_text", lambda path, **_: refuse(path))

    with pytest.raises(ConfigMistake, match=r"^config.yaml cannot be read \(Permission denied\)"):
        load_config(find_config(None, {}), {})


def test_reading_a_configuration_loads_no_database_library():
    script = "import sys, cdc_sync.config.load as _; print('sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=REPOSITORY
    )

    assert done.stdout == "False\n"


@given(user=st.text(min_size=1), password=st.text(min_size=1))
def test_any_user_and_password_reach_the_database_as_they_are(user, password):
    interpolator = Interpolator({"U": user, "P": password, "H": "db"}, Path("/"))
    url = make_url(interpolator.interpolate_url("postgresql+psycopg://${U}:${P}@${H}/erp?a=b@c"))

    assert (url.username, url.password) == (user, password)
    assert (url.host, url.database, url.query) == ("db", "erp", {"a": "b@c"})
