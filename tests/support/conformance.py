"""`make conformance`: what every database must do, tried on the one that $SOURCE_URL names.

It wants an empty schema of its own, in which a table `contracts` comes and goes.
"""

import os
import sys
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

SUITE = Path(__file__).resolve().parents[1] / "source" / "test_conformance.py"
_WORST = ("failed", "skipped", "passed")
_SAYS = {"passed": "ok", "failed": "FAILED", "skipped": "not there"}


class Table:
    """Collects the outcomes of the tests of one database, a line for each that has a name."""

    def __init__(self, password: str | None) -> None:
        self.outcomes: dict[str, Counter[str]] = {}
        self.reasons: dict[str, str] = {}
        self._password = password

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keeps the tests of the named database, and says nothing of the others."""
        items[:] = [one for one in items if _source_of(one) == "source"]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts a test once: by its call, or by what kept it from being called."""
        if report.when != "call" and report.passed:
            return
        name = report.nodeid.partition("::")[2].partition("[")[0]
        sentence = name.removeprefix("test_").replace("_", " ")
        self.outcomes.setdefault(sentence, Counter())[report.outcome] += 1
        if report.failed and sentence not in self.reasons:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = str(crash.message if crash else report.longrepr).strip().splitlines()[0]
            self.reasons[sentence] = self._without_password(reason)

    def lines(self) -> list[str]:
        """The table, and below each line that failed the first reason."""
        found = []
        for sentence, counts in self.outcomes.items():
            worst = next(outcome for outcome in _WORST if counts[outcome])
            cases = f" ({counts['passed']} of {counts.total()})" if counts.total() > 1 else ""
            found.append(f"  {_SAYS[worst]:9}  {sentence}{cases}")
            if sentence in self.reasons:
                found.append(f"             {self.reasons[sentence][:200]}")
        return found

    def _without_password(self, text: str) -> str:
        return text.replace(self._password, "***") if self._password else text


def _source_of(item: pytest.Item) -> object:
    return getattr(item, "callspec").params.get("source_url") if hasattr(item, "callspec") else None  # noqa: B009


def main() -> int:
    """Runs the suite; returns 0 if nothing failed, 2 for what cannot be tried at all."""
    url = os.environ.get("CDC_SYNC_TEST_SOURCE_URL")
    if not url:
        print("Name the database: make conformance SOURCE_URL=…", file=sys.stderr)
        return 2
    address = make_url(url)
    table = Table(str(address.password) if address.password else None)
    with redirect_stdout(StringIO()):  # pytest's own report shows the URL where a test fails
        pytest.main(["-p", "no:cacheprovider", "-W", "default", str(SUITE)], plugins=[table])
    print(
        "\n".join(
            [f"{address.get_backend_name()} at {address.host or address.database}:", *table.lines()]
        )
    )
    failed = len(table.reasons)
    print(f"{len(table.outcomes)} claims, {failed} failed")
    return 1 if failed or not table.outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
