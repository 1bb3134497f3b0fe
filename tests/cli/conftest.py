"""A configuration, its source, and a state as a first run leaves it."""

from pathlib import Path

import pytest

from tests.support.commands import Installed, installed
from tests.support.sandbox import Sandbox


@pytest.fixture
def fresh(tmp_path: Path, sandbox: Sandbox) -> Installed:
    return installed(tmp_path, sandbox.url)


@pytest.fixture
def synced(fresh: Installed) -> Installed:
    fresh.capture(deliver=True)
    return fresh
