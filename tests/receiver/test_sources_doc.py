"""docs/sources.md: its examples are run as they stand, against a real server."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from outbox.testing import Postroom
from receiver.config import ReceiverSettings
from simulators.serving import serve
from tests.receiver.running import settings, started
from tests.receiver.senders import NOTION_TOKEN, WORKFLOW_SECRET

DOC = Path(__file__).resolve().parents[2] / "docs" / "sources.md"
EXAMPLES = [block for block in re.findall(r"^```sh\n(.*?)^```$", DOC.read_text("utf-8"), re.MULTILINE | re.DOTALL) if "curl -i" in block]
NEEDED = [tool for tool in ("bash", "curl", "openssl", "base64", "od") if shutil.which(tool) is None]


async def shell(script: str, folder: Path) -> str:
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "NOTION_WEBHOOK_SECRET": NOTION_TOKEN}
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", script, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, complaints = await asyncio.wait_for(process.communicate(), 30)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0, complaints.decode()
    return output.decode()


@asynccontextmanager
async def documented(postroom: Postroom, own: ReceiverSettings) -> AsyncIterator[str]:
    async with started(postroom, own) as talk, serve(talk.app) as running:
        yield running.base_url


def test_each_source_has_an_example() -> None:
    paths = re.findall(r"/api/webhooks/([a-z/-]+) ", "\n".join(EXAMPLES))
    assert sorted(set(paths)) == ["ghl", "ghl-workflow", "notion", "standard/shop"]


@pytest.mark.skipif(bool(NEEDED), reason=f"this machine has no {', '.join(NEEDED)}")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda block: re.findall(r"/api/webhooks/(\S+)", block)[0])
async def test_an_example_is_accepted_and_its_repeat_is_a_duplicate(postroom: Postroom, tmp_path: Path, example: str) -> None:
    await shell("openssl genpkey -algorithm ed25519 -out ghl-test.pem", tmp_path)
    public_key = await shell("openssl pkey -in ghl-test.pem -pubout", tmp_path)
    secret = re.findall(r"^secret=(\S+)", "\n".join(EXAMPLES), re.MULTILINE)[0]
    own = settings(ghl_public_keys=public_key, standard_secrets=f"shop={secret}")
    script = "\n".join(line for line in example.splitlines() if not line.startswith("openssl genpkey"))
    async with documented(postroom, own) as base_url:
        script = script.replace("http://127.0.0.1:8000", base_url).replace("SECRET1", WORKFLOW_SECRET)
        first, repeat = await shell(script, tmp_path), await shell(script, tmp_path)
    assert " 202 " in first.splitlines()[0]
    assert '"duplicate": false' in first
    assert '"duplicate": true' in repeat
