"""What a reload changes, and what it refuses."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from cdc_sync.config.load import load_config
from cdc_sync.config.model import Config
from cdc_sync.daemon.reload import RELOADABLE, Reload, plan_reload
from tests.support.bench import Bench

pytestmark = pytest.mark.quick


def config(folder: Path, **sections: dict[str, Any]) -> Config:
    return load_config(Bench(folder, **sections).config, os.environ)


@pytest.fixture(autouse=True)
def plain_log() -> None:
    structlog.reset_defaults()


CHANGED: dict[tuple[str, str], str | int] = {
    ("schedule", "poll"): "3s",
    ("schedule", "reconcile"): "never",
    ("guard", "max_changes"): "none",
    ("guard", "min_contracts"): 7,
    ("state", "history"): "1d",
    ("log", "level"): "debug",
    ("log", "format"): "json",
}


def test_every_key_that_may_change_is_tried():
    assert set(CHANGED) == RELOADABLE


@pytest.mark.parametrize("place", sorted(CHANGED), ids=".".join)
def test_a_key_that_may_change_changes_at_once(tmp_path: Path, place: tuple[str, str]):
    section, key = place
    new = config(tmp_path, **{section: {key: CHANGED[place]}})

    found = plan_reload(config(tmp_path), new)

    assert found.config == new
    assert (found.applied, found.kept) == ([f"{section}.{key}"], [])


def test_what_is_part_of_something_open_waits_for_a_restart(tmp_path: Path):
    old = config(tmp_path)
    new = config(
        tmp_path,
        mapping={"account": "name"},
        customergauge={"client_secret": "another"},
        schedule={"poll": "3s"},
    )

    found = plan_reload(old, new)

    assert found.config == old.model_copy(update={"schedule": new.schedule})
    assert found.applied == ["schedule.poll"]
    assert found.kept == ["mapping.account", "customergauge.client_secret"]


def test_nobody_asked_and_nothing_is_read(tmp_path: Path):
    def read() -> Config:
        raise AssertionError

    Reload(read).apply_if_requested(config(tmp_path), lambda _config: None)


def test_a_good_configuration_is_applied_once(tmp_path: Path):
    old, new = (
        config(tmp_path),
        config(tmp_path, schedule={"poll": "3s"}, web={"listen": "[::1]:1"}),
    )
    applied: list[Config] = []
    reload = Reload(lambda: new)
    reload.request()

    with capture_logs() as logs:
        reload.apply_if_requested(old, applied.append)
        reload.apply_if_requested(old, applied.append)

    assert [one.schedule for one in applied] == [new.schedule]
    assert [(line["event"], line.get("changed"), line.get("keys")) for line in logs] == [
        ("config.reloaded", ["schedule.poll"], None),
        ("config.needs_restart", None, ["web.listen"]),
    ]


def test_a_wrong_configuration_is_refused_in_words_until_it_is_mended(tmp_path: Path):
    old = config(tmp_path)
    path = tmp_path / "config.yaml"
    applied: list[Config] = []
    reload = Reload(lambda: load_config(path, os.environ))
    document = json.loads(path.read_text())

    path.write_text(json.dumps({**document, "schedule": {"pol": "3s"}}))
    reload.request()
    with capture_logs() as logs:
        reload.apply_if_requested(old, applied.append)
    assert (reload.refused, applied) == (True, [])
    assert [line["event"] for line in logs] == ["config.refused"]
    assert "`schedule.poll`" in logs[0]["reason"]
    assert logs[0]["mend"] == "Fix it and reload; the old one goes on."

    path.write_text(json.dumps({**document, "schedule": {"poll": "3s"}}))
    reload.request()
    reload.apply_if_requested(old, applied.append)
    assert (reload.refused, len(applied)) == (False, 1)
