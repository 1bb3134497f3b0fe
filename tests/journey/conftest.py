"""A source, a sandbox and a configuration, for whole journeys."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox
from tests.support.there import There


@pytest.fixture
def there(tmp_path: Path, sandbox: Sandbox) -> Iterator[There]:
    with rows_in(f"sqlite:///{tmp_path / 'source.db'}") as rows:
        yield There(tmp_path, rows, sandbox)
