"""Everything a run needs, looked at one by one, each with its hint. Nothing is sent or changed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from cdc_sync.alerts.notifier import receivers
from cdc_sync.capture.page import Capture
from cdc_sync.check.findings import Finding, newest_as_read, of_ids, of_sample, of_watermark
from cdc_sync.clock import utc_now
from cdc_sync.config.model import Config
from cdc_sync.config.units import format_duration
from cdc_sync.config.urls import mask_url
from cdc_sync.contract import Mapped
from cdc_sync.customergauge.token_request import request_token, unreachable_because
from cdc_sync.errors import CdcSyncError
from cdc_sync.rules.watermark import CarryOver, Horizon
from cdc_sync.source.horizon import read_horizon
from cdc_sync.source.inspection import count_facts, missing_index
from cdc_sync.source.reader import Scan
from cdc_sync.state.database import open_memory, state_file
from cdc_sync.sync import capture_of, open_for_plan
from cdc_sync.web.access import is_loopback
from cdc_sync.wording import format_count, format_problems

SAMPLE_ROWS = 100
SHORTEST_TOKEN = 16  # characters, where others than this machine may guess
SKEW = timedelta(minutes=1)


def check(config: Config, path: Path) -> list[Finding]:
    """Looks at everything, in the order in which a run needs it."""
    findings = [Finding("config", ok=True, message=str(path))]
    findings += _guarded("source", lambda: _source(config))
    findings += _guarded("state", lambda: _state(config))
    findings += _guarded("token", lambda: _token(config))
    findings += _guarded("API", lambda: _api(config))
    findings += _page(config)
    findings += _guarded("alerts", lambda: _alerts(config))
    return findings


def _guarded(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except CdcSyncError as error:
        yield Finding(name, ok=False, message=error.message, hint=error.hint)


def _source(config: Config) -> Iterator[Finding]:
    capture = capture_of(config, open_memory())  # the source is looked at whatever the state is
    with closing(capture.source), capture.source.scan() as scan:
        horizon = read_horizon(scan, CarryOver(), utc_now())
        skew = abs(horizon.clock - utc_now())
        facts = count_facts(scan, horizon.clock)
        # Of SQLite's four slashes one is the file's own.
        url = mask_url(config.source.url.get_secret_value())
        address = url.partition("://")[2].removeprefix("/")
        server = scan.dialect.server_name(scan.connection)
        where = f"{server} at {address}, {config.source.table or 'the query'}"
        newest = newest_as_read(facts, config.source.watermark, scan.zone)
        message = f"{where}: {format_count(facts.rows, 'row')} in scope{newest}"
        yield Finding("source", ok=True, message=message)
        yield from of_ids(facts, config.source.id)
        yield from _mapping(capture, scan)
        yield from of_watermark(facts, config)
        yield from _index(config, scan, horizon)
        yield _horizon(config, horizon)
        if skew > SKEW:
            message = f"the source's clock is {skew.total_seconds():.0f} s off ours"
            yield Finding("clock", ok=True, message=message, hint="Let both follow an NTP server.")


def _mapping(capture: Capture, scan: Scan) -> Iterator[Finding]:
    map_row = capture.mapper(scan.zone)
    rows = scan.full_page(None).rows[:SAMPLE_ROWS]
    mapped = [map_row(row) for row in rows]
    yield _validity(mapped)
    sample = list(zip(rows, mapped, strict=True))
    yield from of_sample(sample, capture.config.mapping, scan.zone)


def _validity(mapped: Sequence[Mapped]) -> Finding:
    invalid = [seen for seen in mapped if seen.problems]
    give = "gives" if len(mapped) == 1 else "give"
    valid = format_count(len(mapped) - len(invalid), "valid payload")
    rows = format_count(len(mapped), "row")
    message = f"the first {rows} {give} {valid}" if mapped else "no row to try"
    if not invalid:
        return Finding("mapping", ok=True, message=message)
    first = invalid[0]
    ok = len(invalid) < len(mapped)
    hint = f"The first that does not, {first.source_id}: {format_problems(first.problems)}"
    return Finding("mapping", ok=ok, message=message, hint=hint)


def _index(config: Config, scan: Scan, horizon: Horizon) -> Iterator[Finding]:
    statement = missing_index(scan)
    if statement is None:
        return
    names = ", ".join([config.source.watermark, *config.source.id])
    took = ""
    if horizon.value is not None:
        began = perf_counter()
        scan.changed_page(horizon.value, None)
        took = f" ({(perf_counter() - began) * 1000:,.0f} ms now)"
    message = f"none on ({names}): each poll reads the whole table{took}"
    yield Finding("index", ok=True, message=message, hint=statement)


def _horizon(config: Config, horizon: Horizon) -> Finding:
    if horizon.reason is not None:
        lookback = _written(config.source.lookback)
        message = f"{horizon.basis} of {lookback} in force: {horizon.reason}"
        return Finding("horizon", ok=True, message=message, hint=horizon.hint)
    message = "in force: unfinished transactions are seen"
    if horizon.held_back_by:
        message += f"; held back by {horizon.held_back_by}"
    return Finding("horizon", ok=True, message=message)


def _written(lookback: timedelta | int) -> str:
    return str(lookback) if isinstance(lookback, int) else format_duration(lookback)


def _state(config: Config) -> Iterator[Finding]:
    url = config.state.url.get_secret_value()
    file = state_file(url)
    with open_for_plan(config) as capture:
        name = str(file) if file is not None else mask_url(url)
        new = file is not None and capture.state.file is None
        if new and file is not None:
            yield from _can_be_made(file)
        else:
            yield Finding("state", ok=True, message=name)


def _can_be_made(file: Path) -> Iterator[Finding]:
    folder = next(parent for parent in file.parents if parent.exists())
    try:
        TemporaryDirectory(dir=folder).cleanup()  # root may write where nothing can be made
    except OSError as error:
        message = f"{file} cannot be made: in {folder}, {error.strerror}"
        hint = "Give it to the user that runs cdc-sync, or change `state.url`."
        yield Finding("state", ok=False, message=message, hint=hint)
    else:
        yield Finding("state", ok=True, message=f"{file} (new)")


def _token(config: Config) -> Iterator[Finding]:
    # Asked for anew, for a cached one would hide that the secret is wrong.
    issued = request_token(config.customergauge, utc_now())
    minutes = f", valid {issued.expires_in / 60:.0f} min" if issued.expires_in else ""
    yield Finding("token", ok=True, message=f"obtained{minutes}")


def _api(config: Config) -> Iterator[Finding]:
    broken = unreachable_because(config.customergauge)
    address = config.customergauge.imports_url
    if broken is None:
        yield Finding("API", ok=True, message=f"{address} answers")
    else:
        message = f"{address} cannot be reached ({broken.why})"
        yield Finding("API", ok=False, message=message, hint=broken.hint)


def _page(config: Config) -> Iterator[Finding]:
    listen, token = config.web.listen, config.web.token
    host = (listen or "127.0.0.1:0").rpartition(":")[0].strip("[]")
    if is_loopback(host) or host == "localhost" or token is None:
        return
    if len(token.get_secret_value()) < SHORTEST_TOKEN:
        message = f"`web.token` is short, and {listen} is reached from elsewhere"
        hint = f"Take a random one of {SHORTEST_TOKEN} characters or more."
        yield Finding("page", ok=True, message=message, hint=hint)


def _alerts(config: Config) -> Iterator[Finding]:
    told = receivers(config.alerts)
    for receiver in told:
        if why := receiver.unusable_reason():
            hint = f"Correct it in `alerts.urls`. {why}"
            yield Finding(
                "alerts", ok=False, message=f"no message can go to {receiver.name}", hint=hint
            )
            return
    if told:
        message = f"{format_count(len(told), 'receiver')}; to try: cdc-sync alerts test"
        yield Finding("alerts", ok=True, message=message)
