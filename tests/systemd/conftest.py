"""One systemd for all of these tests, and services in it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox
from tests.support.service import Service, running_service
from tests.support.systemd import Lab, Unbootable, running_systemd


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(running_systemd(tmp_path_factory.mktemp("systemd")))
        except Unbootable as why:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(why))
        yield lab


@pytest.fixture
def serve(lab: Lab, sandbox: Sandbox, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes a service of a name, with more lines for its [Service] section, and starts it."""
    with ExitStack() as stack:

        def start(name: str | None, *lines: str) -> Service:
            return stack.enter_context(running_service(lab, sandbox, name, lines))

        yield start
