"""The root of an image to install into."""

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder to install into; the owners of files are root's to give."""
    missing = os.geteuid() != 0 or shutil.which("systemd-sysusers") is None
    if missing and not os.environ.get("CI"):
        pytest.skip("this needs root, and systemd-sysusers")
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    return root
