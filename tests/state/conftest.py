"""A fresh state on each database that can hold one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_sync.state.database import Database, open_state
from cdc_sync.state.schema import upgrade_tables


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_url")
    return f"sqlite:///{tmp_path / 'made' / 'state.db'}"


@pytest.fixture
def state(state_url: str) -> Iterator[Database]:
    opened = open_state(state_url)
    upgrade_tables(opened)
    yield opened
    opened.close()
