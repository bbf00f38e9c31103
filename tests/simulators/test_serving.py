"""Servers that are up in a moment and gone without a trace."""

import asyncio
import json
import logging
import os
import signal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from simulators.ghl import GhlSettings, GhlSimulator
from simulators.notion import NotionSimulator
from simulators.samples import DEMO_GHL_TOKEN, DEMO_NOTION_TOKEN
from simulators.serving import serve
from simulators.standalone import Addresses, print_addresses, run
from tests.simulators.clients import GHL_HEADERS, open_api


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


APP = Starlette(routes=[Route("/", hello)])


async def test_a_hundred_servers_run_at_once_on_ports_of_their_own() -> None:
    async def visit() -> str:
        async with open_api(APP, {}) as client:
            assert (await client.get("/")).text == "hello"
            return str(client.base_url)

    assert len(set(await asyncio.gather(*(visit() for _ in range(100))))) == 100


async def test_a_stopped_server_is_gone_and_its_port_is_free() -> None:
    async with serve(APP) as first:
        pass
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await asyncio.open_connection(first.host, first.port)
    async with serve(APP, port=first.port) as second:
        assert second.base_url == first.base_url


async def test_a_taken_port_is_an_error() -> None:
    async with serve(APP) as first:
        with pytest.raises(OSError, match="in use"):
            async with serve(APP, port=first.port):
                pass


async def test_signal_handlers_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    async with serve(APP):
        assert signal.getsignal(signal.SIGINT) == before


async def test_stopping_under_open_and_hanging_requests_leaves_no_task_and_no_log(
    ghl: GhlSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    ghl.faults.add("hang", times=None)
    tasks_before = asyncio.all_tasks()
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        async with serve(ghl.app) as running:
            request = asyncio.create_task(client.get(f"{running.base_url}/contacts/x"))
            await ghl.faults.wait_hanging()
        with pytest.raises(httpx.TransportError):
            await request
    assert asyncio.all_tasks() == tasks_before
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_client_that_dies_while_sending_does_no_work_and_makes_no_noise(
    ghl: GhlSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/contacts/{ghl.put_contact(firstName='Ada')['id']}/notes"
    async with serve(ghl.app) as running:
        _, writer = await asyncio.open_connection(running.host, running.port)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {GHL_HEADERS['Authorization']}\r\nVersion: 2021-07-28\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n".encode() + b'{"body": "he')
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await ghl.requests.wait_for(1)
    assert ghl.effects.count() == 0
    assert ghl.requests.list()[0].status is None
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_without_a_socket_a_dropped_connection_is_an_exception(ghl: GhlSimulator) -> None:
    ghl.faults.add("drop")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(ghl.app), base_url="http://ghl.test") as client:
        with pytest.raises(ConnectionAbortedError):
            await client.get("/contacts/x")


def test_faults_and_stops_work_the_same_under_uvloop(caplog: pytest.LogCaptureFixture) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def drop_cut_and_hang() -> list[int]:
        ghl = GhlSimulator()
        path = f"/contacts/{ghl.put_contact(firstName='Ada')['id']}/notes"
        async with open_api(ghl.app, GHL_HEADERS) as client:
            for kind in ("drop", "cut"):
                ghl.faults.add(kind, path, after_work=True)
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.post(path, json={"body": "hello"})
            status = (await client.get(path)).status_code
            ghl.faults.add("hang", path)
            request = asyncio.create_task(client.get(path))
            await ghl.faults.wait_hanging()
        await asyncio.wait([request])
        assert request.exception() is not None
        return [ghl.effects.count("note"), status]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(drop_cut_and_hang()) == [2, 200]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_both_simulators_run_together_until_cancelled() -> None:
    ready: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(run(0, 0, ghl=GhlSettings(burst_limit=7), ready=ready.set_result))
    addresses = await ready
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        at_ghl = await client.get(f"{addresses.ghl}/contacts/x", headers={"Authorization": f"Bearer {DEMO_GHL_TOKEN}", "Version": "v3"})
        notion_headers = {"Authorization": f"Bearer {DEMO_NOTION_TOKEN}", "Notion-Version": "2025-09-03"}
        at_notion = await client.get(f"{addresses.notion}/v1/users/me", headers=notion_headers)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert at_ghl.headers["X-RateLimit-Max"] == "7"
    assert at_notion.json()["type"] == "bot"


async def test_webhooks_of_a_running_pair_reach_their_targets() -> None:
    received: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    async def keep(request: Request) -> PlainTextResponse:
        await request.body()
        await received.put((request.url.path, "x-ghl-signature" in request.headers or "x-notion-signature" in request.headers))
        return PlainTextResponse("ok", 202)

    target = Starlette(routes=[Route("/{source}", keep, methods=["POST"])])
    ready: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    async with serve(target) as there, httpx.AsyncClient(trust_env=False, verify=False) as client:
        to_ghl, to_notion = f"{there.base_url}/ghl", f"{there.base_url}/notion"
        running = asyncio.create_task(run(0, 0, ghl_webhooks_to=to_ghl, notion_webhooks_to=to_notion, ready=ready.set_result))
        addresses = await ready
        await client.post(f"{addresses.ghl}/_sim/contacts", json={"firstName": "Ada"})
        await client.post(f"{addresses.notion}/_sim/pages", json={"values": {"Name": "Ada"}})
        assert {await received.get(), await received.get()} == {("/ghl", True), ("/notion", True)}
        running.cancel()
        await asyncio.wait([running])


def test_the_addresses_are_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_addresses(Addresses("http://127.0.0.1:1", "http://127.0.0.1:2"))
    printed = capsys.readouterr().out
    assert printed.endswith(os.linesep)
    assert json.loads(printed) == {"ghl": "http://127.0.0.1:1", "notion": "http://127.0.0.1:2"}


def test_two_notion_worlds_share_nothing() -> None:
    first, second = NotionSimulator(), NotionSimulator()
    first.put_page(values={"Name": "Ada"})
    assert second.state()["pages"] == {}
