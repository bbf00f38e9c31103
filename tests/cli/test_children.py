"""Children of `postroom up`, and what it keeps for itself."""

import asyncio
import json
import os
import signal
import stat
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from cli import kept
from cli.children import Child, ChildFailed, Children, Spec
from cli.errors import Failed
from cli.system import without_settings
from outbox.config import DatabaseSettings
from outbox.seal import Sealer
from tests.cli.program import environment


def spec(*arguments: str, name: str = "simulators", env: Mapping[str, str] | None = None, log: Path | None = None) -> Spec:
    return Spec(name, arguments or ("simulate", "--empty"), env or environment(), log=log)


async def test_a_child_that_is_killed_is_started_again_and_the_parent_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    again = asyncio.Event()

    def say(line: str) -> None:
        said.append(line)
        if "runs again" in line:
            again.set()

    async with Children(say=say) as children:
        child = children.begin(spec())
        await child.ready()
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(30):
            await again.wait()
        assert child.pid not in (None, first)
        second = child.pid
    assert said == ["simulators ended (killed by SIGKILL); starting it again in 0.5 s", "simulators runs again"]
    assert not psutil.pid_exists(second or 0)


async def test_a_child_that_never_was_ready_fails_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    async with Children(say=print) as children:
        child = children.begin(spec("worker", name="worker", env=environment(DATABASE_URL="garbage"), log=log))
        with pytest.raises(ChildFailed, match="DATABASE_URL cannot be read"):
            await child.ready()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


async def test_the_last_begun_is_stopped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    stop = Child.stop

    async def noted(child: Child) -> None:
        await stop(child)
        stopped.append(child.spec.name)

    monkeypatch.setattr(Child, "stop", noted)
    async with Children(say=print) as children:
        for name in ("first", "second"):
            await children.begin(spec(name=name)).ready()
    assert stopped == ["second", "first"]


def test_what_up_makes_for_itself_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    assert kept.read(tmp_path) is None
    made = kept.read_or_make(tmp_path)
    assert kept.read_or_make(tmp_path) == kept.read(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == [kept.FILE]
    assert stat.S_IMODE((tmp_path / kept.FILE).stat().st_mode) == 0o600
    assert Sealer([SecretStr(made.encryption_key)]).ready


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"admin_token": 1}', "\x00"])
def test_a_file_that_up_did_not_write_is_never_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / kept.FILE).write_text(content)
    with pytest.raises(Failed, match=r"settings\.json"):
        kept.read_or_make(tmp_path)
    assert (tmp_path / kept.FILE).read_text() == content


def test_commands_open_with_the_key_that_up_made_unless_one_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - without_settings(os.environ, keep=frozenset()).keys():
        monkeypatch.delenv(name)
    assert not kept.sealer(DatabaseSettings.read(data_dir=tmp_path)).ready
    key = kept.read_or_make(tmp_path).encryption_key
    sealed = Sealer([SecretStr(key)]).seal("invented")
    assert kept.sealer(DatabaseSettings.read(data_dir=tmp_path)).open(sealed).get_secret_value() == "invented"
    elsewhere = DatabaseSettings.read(data_dir=tmp_path, database_url="postgresql://app@db.example.com/postroom")
    assert not kept.sealer(elsewhere).ready


def test_an_environment_without_our_settings_keeps_everybody_elses() -> None:
    env = {"PATH": "/bin", "DATABASE_URL": "x", "GHL_API_KEY": "x", "PORT": "1", "POSTROOM_PG_BIN": "/pg"}
    assert without_settings(env, keep=frozenset({"POSTROOM_PG_BIN"})) == {"PATH": "/bin", "POSTROOM_PG_BIN": "/pg"}
    assert json.dumps(without_settings(env, keep=frozenset())) == '{"PATH": "/bin"}'
