"""Each command as the process that it is: what it prints, how it exits, and that a signal ends it well."""

import asyncio
import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from outbox import Event, stage
from outbox.embedded import temporary_folder
from outbox.seal import Sealer
from outbox.testing import Postroom
from tests.cli.program import PATIENCE_S, PROGRAM, ROOT, Started, environment, run, started, until

TOKEN = "invented-operators-token-1"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an embedded server can use, also as root."""
    with temporary_folder() as made:
        yield made


@pytest.fixture
def env(postroom: Postroom) -> dict[str, str]:
    return environment(DATABASE_URL=postroom.dsn, POSTROOM_ADMIN_TOKENS=f"maeve:operator:{TOKEN}", POSTROOM_LOG_FORMAT="json")


async def staged(postroom: Postroom, kind: str = "report.due") -> int:
    async with postroom.pool.acquire() as connection, connection.transaction():
        return int(await stage(connection, Event(kind, {})))


def test_a_fresh_folder_is_migrated_used_and_left_without_a_process(folder: Path) -> None:
    env = environment(POSTROOM_DATA_DIR=str(folder / "data"))
    assert run("migrate", "--json", env=env, cwd=folder).json()["applied"][0].startswith("0001")
    event_id = run("stage", "report.due", "--payload", "{}", "--json", env=env, cwd=folder).json()["id"]
    assert [event["id"] for event in run("events", "--json", env=env, cwd=folder).json()["events"]] == [event_id]
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder) not in commands


def test_a_command_that_fails_says_so_by_its_exit_code(folder: Path) -> None:
    away = environment(DATABASE_URL="postgresql://app@127.0.0.1:1/postroom")
    assert run("events", env=away, cwd=folder).code == 3
    assert run(b"events", b"--lane", b"\xff", env=environment(), cwd=folder).code == 2


def test_a_new_key_seals(folder: Path) -> None:
    key = run("doctor", "--new-key", env=environment(), cwd=folder).out.strip()
    sealer = Sealer([SecretStr(key)])
    assert sealer.open(sealer.seal("invented")).get_secret_value() == "invented"


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    pipe = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {PROGRAM[0]} {PROGRAM[1]} --help | true"],
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert pipe.stderr == ""


async def test_a_worker_drains_and_ends_well_when_asked(postroom: Postroom, env: dict[str, str], tmp_path: Path) -> None:
    await staged(postroom)
    with started("worker", env=env, cwd=tmp_path) as worker:
        async with asyncio.timeout(PATIENCE_S):
            while (await postroom.totals())["skipped"] == 0:  # noqa: ASYNC110 -- another process settles it
                await asyncio.sleep(0.05)
        worker.send(signal.SIGTERM)
        assert worker.ends() == 0
    assert await postroom.value("select count(*) from outbox.workers where ended_at is null") == 0
    last = json.loads(worker.err.splitlines()[-1])
    assert (last["event"], last["level"]) == ("dispatcher ended", "info")


def test_a_worker_refuses_a_database_without_the_schema(postroom_server: object, folder: Path, postroom_database: str) -> None:
    bare = re.sub(r"/test_\w+", "/postgres", postroom_database)
    ended = run("worker", env=environment(DATABASE_URL=bare), cwd=folder)
    assert ended.code == 1
    assert "postroom migrate" in ended.err


async def test_a_receiver_serves_and_ends_well_when_interrupted(env: dict[str, str], tmp_path: Path) -> None:
    with started("web", "--port", "0", env=env, cwd=tmp_path) as web:
        base = f"http://127.0.0.1:{_port(web)}"
        sent = run("send", "ghl-workflow", "--url", base, "--json", env=env, cwd=tmp_path)
        assert sent.json()["answers"][0]["status"] == 401
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{base}/api/events", headers={"authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()["events"]) == (200, [])
        web.send(signal.SIGINT)
        assert web.ends() == 0


def test_a_port_that_is_taken_is_named_with_the_variable_to_set(env: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments in (("web",), ("up", "--json")):
            ended = run(*arguments, env={**env, "PORT": port}, cwd=tmp_path)
            assert ended.code == 1
            assert port in ended.err
            assert "PORT" in ended.err


@pytest.mark.parametrize("command", ["worker", "web", "simulate"])
def test_a_child_ends_with_its_parent_however_the_parent_ended(env: dict[str, str], tmp_path: Path, command: str) -> None:
    """The parent's end of the pipe is closed by the kernel, as after a kill -9."""
    more = ("--port", "0") if command == "web" else ()
    with started(command, *more, "--stop-with-parent", env=env, cwd=tmp_path, stdin=subprocess.PIPE) as child:
        until(lambda: child.out, what="the word that it is ready")
        assert child.process.stdin is not None
        child.process.stdin.close()
        assert child.ends() == 0


def test_the_simulators_say_where_they_are_and_hold_what_the_samples_name(tmp_path: Path) -> None:
    with started("simulate", "--json", env=environment(), cwd=tmp_path) as simulators:
        told = simulators.document()
        state = httpx.get(f"{told['ghl']}/_sim/state", trust_env=False).json()
        assert "DemoContact000000001" in state["contacts"]
        assert len(httpx.get(f"{told['notion']}/_sim/state", trust_env=False).json()["pages"]) == 2
        assert {len(book) for book in httpx.get(f"{told['google']}/_sim/state", trust_env=False).json().values()} == {4}
        simulators.send(signal.SIGINT)
        assert simulators.ends() == 0


def _port(web: Started) -> int:
    def told() -> int | None:
        lines = (json.loads(line) for line in web.err.splitlines() if line.endswith("}"))
        return next((line["port"] for line in lines if line.get("event") == "receiver listens"), None)

    return until(told, what="the receiver's port in its log")


def test_the_program_runs_as_a_module_and_by_its_name(tmp_path: Path) -> None:
    entry = Path(PROGRAM[0]).with_name("postroom")
    for command in ([PROGRAM[0], "-m", "postroom"], [str(entry)]):
        done = subprocess.run(
            [*command, "--version"],
            env=environment(PYTHONPATH=str(ROOT)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.startswith("postroom ")
