"""How a command starts."""

import subprocess
import sys

HEAVY = ("aiohttp", "requests", "starlette", "uvicorn", "alembic")


def test_a_command_that_reads_the_state_does_not_import_the_http_client_or_the_web_server():
    code = f"import sys, cdc_sync.cli.app; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
