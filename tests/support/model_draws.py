"""What hypothesis draws for the model: rows, changes, answers, and what comes in between."""

from typing import TypeAlias

from hypothesis import strategies as st

from tests.support.model_api import FATES, GOOD, Fate
from tests.support.model_source import DELETED, LOOKBACK, STARTS, Column

CODES = ("c1", "c2", "c3")
IDS = st.integers(1, len(CODES))
PLANS = st.sampled_from(("Gold", "Silver"))
COLUMNS: st.SearchStrategy[Column] = st.one_of(
    st.tuples(st.just("plan"), st.sampled_from(("Gold", "Silver"))),
    st.tuples(st.just("plan"), st.sampled_from(("Gold", "Silver", DELETED))),
    st.tuples(st.just("account"), st.sampled_from(("ACME", ""))),
    st.tuples(st.just("start"), st.sampled_from((*STARTS, "soon", None))),
    st.tuples(st.just("end"), st.sampled_from(("2026-12-31", None))),
    st.tuples(st.just("code"), st.sampled_from((*CODES, None))),
)
LATEST = LOOKBACK.total_seconds() - 0.1
LATE = st.sampled_from((0.0, 0.5, 2.0, LATEST))
SELDOM = st.sampled_from((False, False, False, True))
FAULTS = st.sampled_from(sorted(FATES)).map(FATES.__getitem__)
ANSWERS = st.one_of(st.just(GOOD), FAULTS, FAULTS)

Interruption: TypeAlias = tuple[str, int, Column]
INTERRUPTIONS: st.SearchStrategy[list[Interruption]] = st.lists(
    st.tuples(
        st.sampled_from(("set", "rewind", "reset", "change", "late", "delete", "insert")),
        IDS,
        COLUMNS,
    ),
    max_size=2,
)

Event: TypeAlias = tuple[str, Column, Fate]
EVENTS: st.SearchStrategy[list[Event]] = st.lists(
    st.tuples(
        st.sampled_from(("nothing", "late", "change", "revert", "rewind", "crash")),
        COLUMNS,
        ANSWERS,
    ),
    max_size=4,
)
UNEVENTFUL: Event = ("nothing", ("plan", None), GOOD)

Stage: TypeAlias = tuple[bool, Column, list[Event]]  #: whether the last change is taken back
STAGES: st.SearchStrategy[list[Stage]] = st.lists(
    st.tuples(st.booleans(), COLUMNS, EVENTS), min_size=2, max_size=4
)
