"""Checks everything that a run needs, one by one, each with its hint; sends and changes nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from cdc_sync.alerts.notifier import receivers
from cdc_sync.capture.page import Capture
from cdc_sync.check.findings import (
    Finding,
    check_ids,
    check_sample,
    check_watermark,
    describe_newest_stamp,
)
from cdc_sync.clock import utc_now
from cdc_sync.config.model import Config
from cdc_sync.config.units import format_duration
from cdc_sync.config.urls import is_loopback, mask_url
from cdc_sync.contract import Mapped
from cdc_sync.customergauge.connection import route_to
from cdc_sync.customergauge.token_request import request_token, unreachable_because
from cdc_sync.errors import CdcSyncError
from cdc_sync.operations.runs import describe_sending
from cdc_sync.rules.watermark import CarryOver, Horizon
from cdc_sync.source.horizon import read_horizon
from cdc_sync.source.inspection import count_facts, missing_index
from cdc_sync.source.reader import Scan
from cdc_sync.state.database import open_memory, state_file
from cdc_sync.sync import capture_of, open_for_plan
from cdc_sync.wording import format_count, format_problems

SAMPLE_ROWS = 100
SHORTEST_TOKEN = 16  # characters, where others than this machine may guess
SKEW = timedelta(minutes=1)


def check(config: Config, path: Path) -> list[Finding]:
    """Returns what was found, in the order in which a run needs it."""
    findings = [Finding("config", str(path))]
    for name, find in _CHECKS.items():
        try:
            findings += find(config)
        except CdcSyncError as error:
            findings.append(Finding(name, error.message, hint=error.hint, ok=False))
    return findings


def _check_source(config: Config) -> Iterator[Finding]:
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
        newest = describe_newest_stamp(facts, config.source.watermark, scan.zone)
        message = f"{where}: {format_count(facts.rows, 'row')} in scope{newest}"
        if load := describe_sending(facts.rows, config.customergauge.rate_limit):
            message += f"; at the first load {load}"
        yield Finding("source", message)
        if remark := scan.dialect.remark(scan.connection):
            yield Finding("database", remark.message, hint=remark.hint)
        yield from check_ids(facts, config.source.id)
        yield from _check_mapping(capture, scan)
        yield from check_watermark(facts, config)
        yield from _check_index(config, scan, horizon)
        yield _check_horizon(config.source.lookback, horizon)
        if skew > SKEW:
            message = f"the source's clock is {skew.total_seconds():.0f} s off ours"
            yield Finding("clock", message, hint="Let both follow an NTP server.")


def _check_mapping(capture: Capture, scan: Scan) -> Iterator[Finding]:
    map_row = capture.mapper(scan.zone)
    rows = scan.full_page(None).rows[:SAMPLE_ROWS]
    mapped = [map_row(row) for row in rows]
    yield _validity(mapped)
    sample = list(zip(rows, mapped, strict=True))
    yield from check_sample(sample, capture.config.mapping, scan.zone)
    scan.expect_found_by_id()


def _validity(mapped: Sequence[Mapped]) -> Finding:
    invalid = [seen for seen in mapped if seen.problems]
    give = "gives" if len(mapped) == 1 else "give"
    valid = format_count(len(mapped) - len(invalid), "valid payload")
    rows = format_count(len(mapped), "row")
    message = f"the first {rows} {give} {valid}" if mapped else "no row to try"
    if not invalid:
        return Finding("mapping", message)
    first = invalid[0]
    ok = len(invalid) < len(mapped)
    hint = f"The first that does not, {first.source_id}: {format_problems(first.problems)}"
    return Finding("mapping", message, hint=hint, ok=ok)


def _check_index(config: Config, scan: Scan, horizon: Horizon) -> Iterator[Finding]:
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
    yield Finding("index", message, hint=statement)


def _check_horizon(lookback: timedelta | int, horizon: Horizon) -> Finding:
    if horizon.reason is not None:
        length = lookback if isinstance(lookback, int) else format_duration(lookback)
        message = f"{horizon.basis} of {length} in force: {horizon.reason}"
        return Finding("horizon", message, hint=horizon.hint)
    held_back = f"; held back by {horizon.held_back_by}" if horizon.held_back_by else ""
    message = f"in force: unfinished transactions are seen{held_back}"
    return Finding("horizon", message)


def _check_state(config: Config) -> Iterator[Finding]:
    url = config.state.url.get_secret_value()
    file = state_file(url)
    with open_for_plan(config) as capture:
        is_new = capture.state.file is None
    if file is None:
        yield Finding("state", mask_url(url))
    elif is_new:
        yield _new_state(file)
    else:
        yield Finding("state", str(file))


def _new_state(file: Path) -> Finding:
    folder = next(parent for parent in file.parents if parent.exists())
    try:
        TemporaryDirectory(dir=folder).cleanup()  # root may write where nothing can be made
    except OSError as error:
        message = f"{file} cannot be made: in {folder}, {error.strerror}"
        hint = "Give it to the user that runs cdc-sync, or change `state.url`."
        return Finding("state", message, hint=hint, ok=False)
    return Finding("state", f"{file} (new)")


def _check_token(config: Config) -> Iterator[Finding]:
    # Asked for anew, for a cached one would hide that the secret is wrong.
    issued = request_token(config.customergauge, utc_now())
    minutes = f", valid {issued.expires_in / 60:.0f} min" if issued.expires_in else ""
    yield Finding("token", f"obtained{minutes}")


def _check_api(config: Config) -> Iterator[Finding]:
    address = config.customergauge.imports_url
    broken = unreachable_because(config.customergauge)
    route = route_to(config.customergauge, address)
    if broken is None:
        yield Finding("API", f"{address} answers{f', {route}' if route.named_by else ''}")
    else:
        way = f" {route}" if route.named_by else ""
        message = f"{address} cannot be reached{way} ({broken.why})"
        yield Finding("API", message, hint=broken.hint, ok=False)


def _check_page(config: Config) -> Iterator[Finding]:
    listen, token = config.web.listen, config.web.token
    host = (listen or "127.0.0.1:0").rpartition(":")[0].strip("[]")
    if is_loopback(host) or host == "localhost" or token is None:
        return
    if len(token.get_secret_value()) < SHORTEST_TOKEN:
        message = f"`web.token` is short, and {listen} is reached from elsewhere"
        hint = f"Take a random one of {SHORTEST_TOKEN} characters or more."
        yield Finding("page", message, hint=hint)


def _check_alerts(config: Config) -> Iterator[Finding]:
    targets = receivers(config)
    for receiver in targets:
        if why := receiver.unusable_reason():
            message = f"no message can go to {receiver.name}"
            hint = f"Correct it in `alerts.urls`. {why}"
            yield Finding("alerts", message, hint=hint, ok=False)
            return
    if targets:
        message = f"{format_count(len(targets), 'receiver')}; to try: cdc-sync alerts test"
        yield Finding("alerts", message)


_CHECKS: dict[str, Callable[[Config], Iterator[Finding]]] = {
    "source": _check_source,
    "state": _check_state,
    "token": _check_token,
    "API": _check_api,
    "page": _check_page,
    "alerts": _check_alerts,
}
