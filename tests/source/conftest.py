"""Sources as a test reads them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from cdc_sync.config.model import SourceConfig
from cdc_sync.source.reader import Source

COLUMNS = ("id", "account_name", "start_date")
TELL_THEIR_ZONE = ("postgresql", "mysql", "mariadb", "sqlite")
Open = Callable[..., Source]


@pytest.fixture
def open_source() -> Iterator[Open]:
    """Opens sources, and closes them at the end."""
    with ExitStack() as closing:

        def opened(url: str, columns: tuple[str, ...] = COLUMNS, **config: Any) -> Source:
            table = {} if "query" in config else {"table": "contracts"}
            keys = {"url": url, "id": "id", "watermark": "updated_at", **table, **config}
            if make_url(url).get_backend_name() not in TELL_THEIR_ZONE:
                keys = {"time_zone": "UTC", **keys}
            source = Source(
                SourceConfig.model_validate(keys), dict.fromkeys(columns, "description")
            )
            closing.callback(source.close)
            return source

        yield opened
