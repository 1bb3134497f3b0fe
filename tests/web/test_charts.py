"""What is measured, and the charts that are drawn of it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.measures import BOUNDS, DAY, HOUR, Distribution, Measures
from cdc_sync.web.metrics import collect_measures
from cdc_sync.web.overview import HEIGHT, WIDTH, build_charts, line_path, round_up

pytestmark = pytest.mark.quick

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def distribution(*seconds: float) -> Distribution:
    made = Distribution()
    for one in seconds:
        made.add(one)
    return made


@given(st.lists(st.floats(0, 90_000), min_size=1), st.sampled_from([0.01, 0.5, 0.95, 1.0]))
def test_a_quantile_is_right_to_the_width_of_a_bin(seconds: list[float], share: float):
    exact = sorted(seconds)[min(len(seconds) - 1, max(0, round(share * len(seconds) + 0.4999) - 1))]
    found = distribution(*seconds).quantile(share)
    index = next(i for i, bound in enumerate(BOUNDS) if exact <= bound)

    assert found is not None
    assert (BOUNDS[index - 1] if index else 0) <= found <= BOUNDS[index]


def test_an_empty_distribution_has_no_quantile():
    assert Distribution().quantile(0.5) is None


def test_more_than_a_day_counts_in_the_last_bin():
    assert distribution(1e9).quantile(0.5) == BOUNDS[-1]


def test_bounds_are_round_numbers():
    assert BOUNDS[:7] == (0.001, 0.0015, 0.002, 0.003, 0.005, 0.007, 0.01)
    assert BOUNDS[-1] == 100_000
    assert list(BOUNDS) == sorted(set(BOUNDS))


@pytest.mark.parametrize(("window", "track"), [("hour", HOUR), ("day", DAY)])
def test_a_window_has_all_of_its_buckets_and_drops_older_ones(window, track):
    step, length = track
    measures = Measures()
    for age in range(2 * length):
        measures.record_put(NOON - step * (2 * length - 1 - age), 200, 0.004, None)
    points = measures.points(window, NOON)

    assert len(points) == length
    assert step * length in (timedelta(hours=1), timedelta(days=1))
    assert points[-1].at <= NOON < points[-1].at + step
    assert all(point.put for point in points)
    later = measures.points(window, NOON + step * length)
    assert not any(point.put for point in later)


def test_rates_are_per_second_also_in_the_newest_bucket():
    measures = Measures()
    at = NOON - timedelta(seconds=15)
    for _ in range(30):
        measures.record_put(at, 200, 0.004, None)
    measures.record_put(at, 503, 0.004, None)
    measures.record_put(at, None, 0.004, None)
    for _ in range(10):
        measures.record_put(NOON, 201, 0.004, timedelta(seconds=1))
    before, newest = measures.points("hour", NOON + timedelta(seconds=5))[-2:]

    assert (before.rate, round(before.failing, 2)) == (2.0, 0.13)
    assert newest.rate == 2.0
    assert newest.time_to_ack
    assert 0.7 <= newest.time_to_ack[0] <= 1.0


def test_a_clock_that_was_set_back_adds_to_the_latest_bucket():
    measures = Measures()
    measures.record_put(NOON, 200, 0.004, timedelta(seconds=-5))
    measures.record_put(NOON - timedelta(hours=3), 200, 0.004, None)

    (point,) = [point for point in measures.points("hour", NOON) if point.rate > 0]
    assert point.rate == 2.0


def test_metrics_count_from_the_start():
    measures = Measures()
    measures.record_token_request("ok")
    measures.record_rows(3, 2, 1)
    measures.record_put(NOON, 200, 0.004, timedelta(seconds=1))
    measures.record_put(NOON, None, 0.004, None)
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in collect_measures(measures)
        for sample in metric.samples
    }

    assert values["cdc_sync_token_requests_total", "ok"] == 1
    assert values["cdc_sync_source_rows_read_total",] == 3
    assert values["cdc_sync_unchanged_rows_total",] == 2
    assert values["cdc_sync_reconcile_found_missed_total",] == 1
    assert values["cdc_sync_puts_total", "200"] == 1
    assert values["cdc_sync_puts_total", "none"] == 1
    assert values["cdc_sync_put_seconds_bucket", "0.003"] == 0
    assert values["cdc_sync_put_seconds_bucket", "0.005"] == 2
    assert values["cdc_sync_put_seconds_count",] == 2
    assert values["cdc_sync_change_to_ack_seconds_sum",] == 1.0
    assert ("cdc_sync_put_seconds_created",) not in values


@given(st.floats(1e-6, 1e9))
def test_an_axis_ends_at_a_round_number_not_far_above(greatest: float):
    top = round_up(greatest)

    assert greatest * 0.998 <= top <= greatest * 1.7


def test_an_axis_without_values_ends_at_one():
    assert round_up(0) == 1


def test_a_line_has_a_gap_where_there_is_no_value_and_shows_a_value_alone():
    assert line_path([None, 1.0, None, 0.0, 1.0], 1.0) == "M180 1.0h180M540 119.0L720 1.0"
    assert line_path([None, 1.0], 1.0) == "M720 1.0h-720"


@given(st.lists(st.none() | st.floats(0, 1), max_size=300))
def test_a_line_stays_on_its_chart(values):
    numbers = [
        tuple(map(float, point.split("h")[0].split()))
        for point in line_path(values, 1.0).replace("L", "M").split("M")[1:]
    ]

    assert all(0 <= x <= WIDTH + 1 and 0 <= y <= HEIGHT for x, y in numbers)


def test_the_charts_of_a_young_process_begin_at_its_start():
    measures = Measures()
    measures.record_put(NOON - timedelta(minutes=20), 200, 0.004, None)
    young, *_ = build_charts(measures.points("hour", NOON), "hour")
    empty, *_ = build_charts(Measures().points("hour", NOON), "hour")

    assert NOON - timedelta(minutes=21) < young.begins < NOON - timedelta(minutes=20)
    assert NOON - timedelta(minutes=5) < empty.begins < NOON


def test_a_chart_has_a_summary_in_words():
    measures = Measures()
    measures.record_put(NOON, 200, 0.004, None)
    measures.record_poll(NOON, 0.1, well=True, lag=4.0)
    throughput, put, time_to_ack, lag = build_charts(measures.points("hour", NOON), "hour")

    assert throughput.summary == "PUTs a second, last hour: latest accepted 1, failed 0; highest 1"
    assert "latest p50 4 ms, p95 5 ms" in put.summary
    assert "latest p50 —" in time_to_ack.summary
    assert (
        lag.summary == "Behind the source's clock, last hour: latest greatest 4.0 s; highest 4.0 s"
    )
