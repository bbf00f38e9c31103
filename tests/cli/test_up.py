"""`postroom up`: it serves, it heals, and when it ends nothing of it is left (P9)."""

import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cli import up
from cli.errors import Failed
from cli.output import silent
from outbox.embedded import temporary_folder
from receiver.config import ReceiverSettings
from tests.cli.conftest import Command
from tests.cli.program import Started, child_pid, environment, gone, run, started, until
from tests.crashes.patience import Kinds

RESTART_S = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as made:
        yield made


@pytest.fixture
def env(folder: Path) -> dict[str, str]:
    # Not the default port: somebody may use it, and then it would choose another; PORT=0 chooses always.
    return environment(POSTROOM_DATA_DIR=str(folder / "data"), PORT="0")


def everything(command: Started, folder: Path) -> list[psutil.Process]:
    """`up`, its children, and the Postgres of its folder, which is nobody's child."""
    found = {process.pid: process for process in command.family()}
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or ()):
            found.setdefault(process.pid, process)
            found.update({child.pid: child for child in process.children(recursive=True)})
    return list(found.values())


def get(url: str, token: str | None = None) -> Any:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.get(url, headers=headers, trust_env=False, timeout=30).raise_for_status().json()


def settled(folder: Path, env: dict[str, str], told: Any, *, contact: str = "DemoContact000000001") -> None:
    """Sends a webhook and waits until it is done or skipped."""
    base = told["receiver"]
    answer = run("send", "ghl", "--contact", contact, "--url", base, "--json", env=env, cwd=folder).json()["answers"][0]
    until(
        lambda: get(f"{base}/api/events/{answer['id']}", told["admin_token"])["state"] in ("done", "skipped"),
        what=f"event {answer['id']} to be settled",
        timeout_s=RESTART_S,
    )


def has_come_over(told: Any) -> bool:
    """The salon's visits are in GHL's calendar, and a user's Google contacts are here."""
    booked = get(f"{told['simulators']['ghl']}/_sim/effects")["kinds"].get("appointment")
    user = get(f"{told['receiver']}/api/auto-sync/demo-user", told["admin_token"])
    return booked == 4 and user["last_sync_at"] is not None


def working(command: Started, folder: Path) -> Kinds:
    """All of `up`, each of its processes a kind, and so is its Postgres, whose backends work beside each other."""
    found = everything(command, folder)
    parted = {is_server: [one.pid for one in found if (one.name() == "postgres") is is_server] for is_server in (False, True)}
    return [*([pid] for pid in parted[False]), parted[True]]


def other_pid(command: Started, name: str, old: int) -> int | None:
    """The process id of a child that was started again."""
    pid = child_pid(command, name)
    return pid if pid != old else None


def test_up_sends_samples_serves_heals_a_killed_worker_and_leaves_nothing(folder: Path, env: dict[str, str]) -> None:
    with started("up", "--json", env=env, cwd=folder) as command:
        told = command.document()
        assert told["counts"] == {"sent": 20, "accepted": 14, "duplicates": 4, "rejected": 2}
        assert {event["state"] for event in told["events"] if event["result"] == "accepted"} == {"done", "skipped"}
        assert get(told["receiver"] + "/readyz")
        assert get(told["openapi"])["openapi"].startswith("3.")
        listed = get(f"{told['receiver']}/api/events?limit=200", told["admin_token"])["events"]
        assert {event["id"] for event in told["events"] if event["id"]} <= {event["id"] for event in listed}
        until(
            lambda: has_come_over(told),
            what="the simulated salon and the user's contacts to come over",
            kinds=lambda: working(command, folder),
        )
        kept = folder / "data" / "settings.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600

        worker = told["pids"]["worker"]
        psutil.Process(worker).kill()
        until(lambda: other_pid(command, "worker", worker), what="another worker", timeout_s=RESTART_S)
        settled(folder, env, told)
        assert "worker ended (killed by SIGKILL); starting it again" in command.err

        processes = everything(command, folder)
        command.send(signal.SIGTERM)
        assert command.ends() == 0
        assert gone(processes) == []


def test_up_that_is_killed_takes_everything_with_it(folder: Path, env: dict[str, str]) -> None:
    with started("up", "--json", "--no-samples", env=env, cwd=folder) as command:
        told = command.document()
        assert told["events"] == []
        processes = everything(command, folder)
        names = " ".join(" ".join(process.cmdline()) for process in processes)
        assert all(word in names for word in ("worker", "web", "simulate", "guardian", "postgres"))
        command.send(signal.SIGKILL)
        command.ends()
        assert gone(processes) == []


def test_a_default_port_that_is_taken_gives_way_to_the_next_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said: list[str] = []
        with up._listen(ReceiverSettings.model_construct(_fields_set=set(), port=port), None, said.append) as listening:
            assert listening.getsockname()[1] != port
        assert str(port) in said[0]
        assert "PORT" in said[0]


def test_a_port_that_was_asked_for_is_taken_or_refused_but_never_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Failed, match="PORT"):
            up._listen(ReceiverSettings.read(port=port), None, silent)
        with pytest.raises(Failed, match=str(port)):
            up._listen(ReceiverSettings.read(), port, silent)


def test_a_key_that_cannot_be_used_is_said_before_anything_starts(bare: Command, tmp_path: Path) -> None:
    ended = bare("up", "--json", POSTROOM_ENCRYPTION_KEYS="no-key")
    assert (ended.code, ended.out) == (1, "")
    assert "POSTROOM_ENCRYPTION_KEYS" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_worker_killed_in_the_middle_of_an_effect_leaves_exactly_one(folder: Path, env: dict[str, str]) -> None:
    """P6 and P9 through the whole system: the note is written, its answer never arrives, the worker is killed, another finishes."""
    with started("up", "--json", "--no-samples", env=env, cwd=folder) as command:
        told = command.document()
        ghl = told["simulators"]["ghl"]
        notes = "/contacts/DemoContact000000001/notes"
        fault = {"kind": "delay", "delay_s": 60, "method": "POST", "path": notes, "after_work": True}
        httpx.post(f"{ghl}/_sim/faults", json=fault, trust_env=False).raise_for_status()
        payload = '{"appointment": {"id": "a-1", "status": "scheduled", "contact_id": "DemoContact000000001"}}'
        staged = run("stage", "appointment.created", "--payload", payload, "--json", env=env, cwd=folder).json()["id"]

        def notes_there() -> int:  # of this event: the simulated salon's first syncs write notes, too
            found = get(f"{ghl}/_sim/state")["notes"].get("DemoContact000000001", {})
            return sum(f"postroom:{staged}." in note["body"] for note in found.values())

        until(notes_there, what="the note to be written")
        psutil.Process(told["pids"]["worker"]).kill()
        until(
            lambda: run("events", "show", str(staged), "--json", env=env, cwd=folder).json()["state"] == "done",
            what="another worker to finish the event",
            timeout_s=RESTART_S,
        )
        assert notes_there() == 1


@pytest.mark.long
def test_killed_postgres_receiver_and_simulators_come_back_by_themselves(folder: Path, env: dict[str, str]) -> None:
    with started("up", "--json", "--no-samples", env=env, cwd=folder) as command:
        told = command.document()
        for name in ("web", "simulators"):
            old = told["pids"][name]
            psutil.Process(old).kill()
            until(lambda old=old, name=name: other_pid(command, name.replace("simulators", "simulate"), old), what=f"another {name}")  # type: ignore[misc] # bound at once
        settled(folder, env, told)
        for process in psutil.process_iter(["cmdline"]):
            if "-D" in (process.info["cmdline"] or ()) and str(folder) in " ".join(process.info["cmdline"]):
                process.kill()
        settled(folder, env, told, contact="DemoContact000000002")
