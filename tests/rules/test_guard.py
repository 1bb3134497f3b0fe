"""The guard's judgement: pure arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.config.model import GuardConfig
from cdc_sync.rules.guard import Held, Tally, count_limit, judge

pytestmark = pytest.mark.quick

NOTHING = Held()


@pytest.mark.parametrize(
    ("tally", "known", "held"),
    [
        (Tally(updated=20), 100, NOTHING),
        (Tally(updated=21), 100, Held(changes=True)),
        (Tally(updated=15, gone=6), 100, Held(changes=True)),
        (Tally(gone=99), 99, NOTHING),  # below min_contracts
        (Tally(new=100), 100, NOTHING),
        (Tally(new=101), 100, Held(new=True)),
        (Tally(updated=21, new=101), 100, Held(changes=True, new=True)),
    ],
)
def test_a_run_is_held_above_the_share(tally: Tally, known: int, held: Held) -> None:
    assert judge(GuardConfig(), tally, known) == held


def test_none_switches_it_off() -> None:
    off = GuardConfig.model_validate({"max_changes": "none"})
    assert judge(off, Tally(updated=100, gone=100, new=1000), 100) == NOTHING


def test_a_percentage_is_what_it_says() -> None:
    """29 % of 100 are 29, whatever a binary fraction makes of it."""
    guard = GuardConfig.model_validate({"max_changes": "29%"})
    assert judge(guard, Tally(updated=29), 100) == NOTHING
    assert judge(guard, Tally(updated=30), 100)


@given(
    share=st.sampled_from(["0%", "1%", "20%", "100%"]),
    least=st.integers(0, 50),
    tally=st.builds(Tally, *[st.integers(0, 300)] * 3),
    known=st.integers(0, 2000),
)
def test_it_need_not_count_further_than_what_matters(
    share: str, least: int, tally: Tally, known: int
) -> None:
    guard = GuardConfig.model_validate({"max_changes": share, "min_contracts": least})
    counted = min(known, count_limit(guard, tally))
    assert judge(guard, tally, counted) == judge(guard, tally, known)
