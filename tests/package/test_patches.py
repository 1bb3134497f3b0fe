"""Every name of the program that a test replaces is there: a renamed one is not left behind."""

import pkgutil
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick
TESTS = Path(__file__).parents[1]
NAME = re.compile(r"[\"'](cdc_sync(?:\.\w+){2,})[\"']")  # as monkeypatch.setattr takes it
NAMES = sorted({name for file in TESTS.rglob("*.py") for name in NAME.findall(file.read_text())})


def test_there_are_names_to_look_up():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_a_test_replaces_is_there(name: str):
    pkgutil.resolve_name(name)
