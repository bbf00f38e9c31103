"""`postroom send`: what it sends is what a receiver accepts, and what it prints is what a shell would send."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cli import deliver
from receiver.sources.base import Handshake, Headers, Incoming, Rejected, Source
from receiver.sources.ghl import GhlSource
from receiver.sources.ghl_workflow import GhlWorkflowSource
from receiver.sources.notion import NotionSource
from receiver.sources.standard_webhooks import StandardWebhooksSource
from simulators.samples import DEMO_VERIFICATION_TOKEN
from simulators.serving import serve
from simulators.signing import GhlSigner
from tests.cli.conftest import Command
from tests.cli.program import Ended

OWN_TOKEN, OWN_SECRET = "invented-token-of-ours-1", "invented-secret-of-ours-1"


class Door:
    """Takes what is sent as the real sources do, and keeps it; knows nothing of a database."""

    def __init__(self) -> None:
        self.taken: list[Incoming | Handshake] = []
        self.sources: dict[str, Source] = {
            "ghl": GhlSource([GhlSigner.for_demo().public_key_pem]),
            "ghl-workflow": GhlWorkflowSource([("demo", deliver.DEMO_WORKFLOW_SECRET), ("ours", OWN_SECRET)]),
            "notion": NotionSource([DEMO_VERIFICATION_TOKEN, OWN_TOKEN]),
            "standard/demo": StandardWebhooksSource("demo", [deliver.DEMO_STANDARD_SECRET]),
        }
        self.app = Starlette(routes=[Route("/api/webhooks/{source:path}", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> JSONResponse:
        try:
            taken = self.sources[request.path_params["source"]].accept(
                Headers(request.headers.raw), await request.body(), now=datetime.now(UTC)
            )
        except Rejected as problem:
            return JSONResponse({"title": "Turned away", "detail": "it does not fit"}, problem.status)
        self.taken.append(taken)
        if isinstance(taken, Handshake):
            return JSONResponse({"handshake": "kept"}, 200)
        keys = [one.key for one in self.taken if isinstance(one, Incoming)]
        return JSONResponse({"id": keys.index(taken.key) + 1, "duplicate": keys.count(taken.key) > 1}, 202)


Send = Callable[..., Awaitable[Ended]]


@pytest.fixture
async def door() -> AsyncIterator[tuple[Door, str]]:
    made = Door()
    async with serve(made.app) as running:
        yield made, running.base_url


@pytest.fixture
def send(bare: Command, door: tuple[Door, str]) -> Send:
    async def call(*arguments: str, stdin: str = "", **variables: str) -> Ended:
        return await asyncio.to_thread(bare, "send", *arguments, "--url", door[1], stdin=stdin, **variables)

    return call


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["ghl"], "ghl.ContactUpdate"),
        (["ghl", "AppointmentCreate"], "ghl.AppointmentCreate"),
        (["ghl", "NoteCreate"], "ghl.NoteCreate"),
        (["ghl", "TaskComplete"], "ghl.TaskComplete"),
        (["ghl", "INSTALL"], "ghl.INSTALL"),
        (["notion"], "notion.page.content_updated"),
        (["notion", "page.deleted"], "notion.page.deleted"),
        (["ghl-workflow"], "ghl-workflow.contact"),
        (["standard", "demo"], "standard.demo.order.paid"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_a_sample_is_accepted_once_and_a_forged_one_never(
    send: Send, door: tuple[Door, str], arguments: list[str], kind: str
) -> None:
    ended = await send(*arguments, "--repeat", "2", "--json")
    assert ended.code == 0, ended.err
    assert [(one["status"], one["id"], one["duplicate"]) for one in ended.json()["answers"]] == [(202, 1, False), (202, 1, True)]
    assert [one.kind for one in door[0].taken if isinstance(one, Incoming)] == [kind, kind]
    forged = await send(*arguments, "--bad-signature", "--json")
    assert (forged.code, forged.json()["answers"][0]["status"]) == (0, 401)
    assert len(door[0].taken) == 2


async def test_each_send_is_a_new_event(send: Send, door: tuple[Door, str]) -> None:
    for _ in range(2):
        await send("ghl", "--contact", "DemoContact000000002")
    first, second = door[0].taken
    assert isinstance(first, Incoming)
    assert isinstance(second, Incoming)
    assert first.key != second.key
    assert first.lane == second.lane == "ghl:contact:DemoContact000000002"


async def test_the_handshake_of_a_new_subscription_is_sent_with_a_token_of_its_own(send: Send, door: tuple[Door, str]) -> None:
    ended = await send("notion", "handshake")
    assert ended.code == 0
    assert "handshake: kept" in ended.out
    [taken] = door[0].taken
    assert isinstance(taken, Handshake)
    assert taken.token.get_secret_value() != DEMO_VERIFICATION_TOKEN


async def test_secrets_of_the_environment_and_of_options_are_used(send: Send, door: tuple[Door, str]) -> None:
    assert (await send("notion", NOTION_WEBHOOK_SECRET=OWN_TOKEN)).code == 0
    assert (await send("ghl-workflow", "--secret", OWN_SECRET)).code == 0
    assert (await send("notion", "--secret", "a-token-that-nobody-knows")).code == 1
    assert len(door[0].taken) == 2


async def test_what_is_turned_away_is_a_failure_and_says_what_was_answered(send: Send) -> None:
    ended = await send("ghl-workflow", "--secret", "a-secret-that-nobody-knows")
    assert ended.code == 1
    assert "401" in ended.out
    assert "it does not fit" in ended.out


async def test_the_bytes_of_a_file_are_signed_and_sent_as_they_are(send: Send, door: tuple[Door, str], tmp_path: Path) -> None:
    body = b'{ "type":"Invented\\u0041",  "id": "x" }\n'
    (tmp_path / "body.json").write_bytes(body)
    assert (await send("ghl", "--body", "body.json")).code == 0
    assert (await send("ghl", "--body", "-", stdin=body.decode())).code == 0
    assert [one.body for one in door[0].taken if isinstance(one, Incoming)] == [body, body]


async def test_a_key_of_ones_own_signs(send: Send, door: tuple[Door, str], tmp_path: Path) -> None:
    signer = GhlSigner.generate()
    (tmp_path / "key.pem").write_text(signer.private_key_pem)
    assert (await send("ghl", "--key", "key.pem")).code == 1
    door[0].sources["ghl"] = GhlSource([signer.public_key_pem])
    assert (await send("ghl", "--key", "key.pem")).code == 0


@pytest.mark.parametrize("arguments", [["ghl"], ["notion"], ["ghl-workflow"], ["standard", "demo"]], ids=" ".join)
async def test_the_printed_curl_command_sends_the_same(send: Send, door: tuple[Door, str], arguments: list[str]) -> None:
    ended = await send(*arguments, "--print-curl")
    assert door[0].taken == []
    words = ended.out.replace("curl -i", "curl -s -w '%{http_code}' -o answer.json", 1)
    done = await asyncio.to_thread(subprocess.run, ["/bin/sh", "-c", words], capture_output=True, text=True, timeout=30)
    assert done.stdout == "202", done.stderr
    assert len(door[0].taken) == 1
    assert json.loads((await send(*arguments, "--print-curl", "--json")).out)["curl"].startswith("curl -i ")


async def test_a_receiver_that_is_not_there_is_said_in_one_line(bare: Command) -> None:
    async with serve(Starlette()) as running:
        address = running.base_url
    ended = await asyncio.to_thread(bare, "send", "ghl", "--url", address, "--json")
    assert (ended.code, ended.out) == (1, "")
    assert f"Nothing answered at {address}" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ghl", "ContactUpdat"], "Did you mean ContactUpdate?"),
        (["notion", "page.eaten"], "page.created"),
        (["ghl", "--body", "no-such-file"], "No such file or directory"),
        (["ghl", "--key", "no-such-file"], "No such file or directory"),
        (["ghl", "--key", "."], "--key: ."),
        (["ghl", "--url", "ftp://example.com"], "is not an address like"),
        (["ghl", "--url", "http://[::1"], "is not an address like"),
        (["ghl", "--repeat", "0"], "--repeat"),
        (["standard", "demo", "--secret", "whsec_!"], "whsec_"),
        (["ghl-workflow", "--secret", "ünprintable\x07"], "--secret"),
        (["standard"], "NAME"),
        (["pigeon"], "pigeon"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_that_cannot_be_used_are_bad_usage_and_named(bare: Command, arguments: list[str], says: str) -> None:
    ended = bare("send", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert ended.err.count("\n") == 1
