"""One systemd for all of these tests, and services in it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.sandbox import Sandbox
from tests.support.service import Service, kept_service
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
def prepare(lab: Lab, sandbox: Sandbox) -> Iterator[Callable[..., Service]]:
    """Makes a service of a name, with more lines for its [Service] section."""
    with ExitStack() as stack:

        def prepared(name: str | None, *lines: str) -> Service:
            return stack.enter_context(kept_service(lab, sandbox, name, lines))

        yield prepared


@pytest.fixture
def serve(prepare: Callable[..., Service]) -> Callable[..., Service]:
    """As `prepare`, and starts it."""

    def started(name: str | None, *lines: str) -> Service:
        service = prepare(name, *lines)
        service.start()
        return service

    return started
