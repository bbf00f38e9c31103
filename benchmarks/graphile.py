"""graphile-worker, the fastest of the peers, where Node is there to run it: installed into a temporary folder for one run."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from benchmarks.load import PAYLOAD

FILES: Final = Path(__file__).with_name("graphile")
INSTALL: Final = ("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
INSTALL_TIMEOUT_S: Final = 90
DRAIN_TIMEOUT_S: Final = 300


class Absent(Exception):
    """It cannot be measured here, and why."""


@asynccontextmanager
async def installed() -> AsyncIterator[Path]:
    """The folder where it can be run. Raises Absent."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Absent("node or npm is not there")
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as name:
        folder = Path(name) / "graphile"
        shutil.copytree(FILES, folder)
        try:
            await _run([npm, *INSTALL], folder, timeout_s=INSTALL_TIMEOUT_S)
        except (OSError, TimeoutError, RuntimeError) as problem:
            raise Absent(f"npm could not install it ({type(problem).__name__}: {problem})") from problem
        yield folder


async def graphile(folder: Path, dsn: str, events: int) -> dict[str, float]:
    """Jobs per second and WAL bytes of a job. Raises Absent when it does not run here."""
    parts = urlsplit(dsn)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    address = {
        "host": parts.hostname or query["host"],
        "port": int(query.get("port", parts.port or 5432)),
        "user": parts.username,
        "password": parts.password,
        "database": parts.path.lstrip("/"),
    }
    node = shutil.which("node")
    assert node is not None
    command = [node, "drain.mjs", json.dumps(address), str(events), PAYLOAD.decode()]
    try:
        output = await _run(command, folder, timeout_s=DRAIN_TIMEOUT_S)
    except (OSError, TimeoutError, RuntimeError) as problem:
        raise Absent(f"it did not run ({type(problem).__name__}: {problem})") from problem
    said: dict[str, float] = json.loads(output.splitlines()[-1])
    return said


async def _run(command: list[str], folder: Path, *, timeout_s: float) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, complaint = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise TimeoutError(f"longer than {timeout_s:g} s") from None
    if process.returncode != 0:
        raise RuntimeError(complaint.decode(errors="replace").strip().splitlines()[-1] if complaint.strip() else "it failed")
    return output.decode()
