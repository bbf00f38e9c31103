"""The embedded Postgres when processes die: owners, guardian, postmaster, backends, an initdb half done."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from outbox.embedded import Binaries, EmbeddedError, processes
from tests.outbox.embedded.servers import Make, Own, answer, guardian_of, left_behind, lives, wait_for


@pytest.mark.parametrize("how", ["postmaster", "kill", "immediate_stop"])
def test_a_crashed_server_starts_again_with_all_that_was_committed(make: Make, how: str) -> None:
    server = make()
    server.start()
    server.run_sql("create table kept as select 1 as one", "postroom")
    before = processes.processes_of(server.place.cluster, server.place.tag)
    if how == "postmaster":
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: not server.is_ready)
    else:
        getattr(server, how)()
        assert not any(map(lives, before))
    server.start()
    assert server.run_sql("select one from kept", "postroom") == "1"
    assert not any(map(lives, before))


def test_a_backend_that_outlives_its_postmaster_does_not_hinder(make: Make, binaries: Binaries) -> None:
    server = make()
    dsn = server.start()
    busy = subprocess.Popen([binaries.psql, "-X", "-c", "do $$ begin loop perform 1; end loop; end $$", dsn], stderr=subprocess.DEVNULL)
    wait_for(lambda: server.run_sql("select count(*) from pg_stat_activity where query like 'do %' and state = 'active'") == "1")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: server.pid is None)
    server.start()
    assert server.run_sql("select 1") == "1"
    assert busy.wait(10) != 0


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_a_server_stops_when_its_owner_is_gone(home: Path, make: Make, own: Own, end: str) -> None:
    make()  # so that the owner finds a cluster
    owner = own(home / "data")
    _, pid = answer(owner)
    watcher = psutil.Process(pid).ppid()
    assert os.getsid(watcher) != os.getsid(owner.pid), "Ctrl-C must reach the owner alone"
    if end == "killed":
        owner.kill()
    else:
        assert owner.stdin is not None
        owner.stdin.close()
    wait_for(lambda: not lives(pid) and not lives(watcher))


def test_two_owners_share_a_server_and_the_last_one_stops_it(home: Path, make: Make, own: Own) -> None:
    second, third = make(), make()
    first = own(home / "data")
    dsn, pid = answer(first)
    assert second.start() == third.start() == dsn
    first.kill()
    first.wait()
    third.stop()
    assert second.run_sql("select 1") == "1"
    assert second.pid == pid
    second.stop()
    assert not lives(pid)


def test_owners_that_start_at_once_share_one_server(home: Path, own: Own) -> None:
    assert len({answer(owner) for owner in [own(home / "data") for _ in range(3)]}) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died; elsewhere the next start heals it")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_stops_with_its_guardian(make: Make, how: signal.Signals) -> None:
    server = make()
    server.start()
    pid, watcher = server.pid, guardian_of(server)
    assert pid is not None
    os.kill(watcher, how)
    wait_for(lambda: not lives(pid) and not lives(watcher))
    server.start()
    assert server.pid not in (None, pid)


def test_a_server_started_by_hand_is_replaced_by_one_that_is_guarded(make: Make, binaries: Binaries) -> None:
    server = make()
    server.start()
    server.stop()
    by_hand = processes.run_as(server.place.user, [binaries.pg_ctl, "-D", server.place.cluster, "-w", "-l", "/dev/null", "start"])
    assert by_hand.returncode == 0, by_hand.stderr
    pid = server.pid
    assert pid is not None
    server.start()
    assert not lives(pid)
    assert "guardian.py" in " ".join(psutil.Process(guardian_of(server)).cmdline())


def test_stale_files_that_name_a_strangers_process_do_not_hinder(make: Make) -> None:
    server = make()
    server.start()
    server.stop()
    user = server.place.user
    stranger = subprocess.Popen(["sleep", "60"], user=user.uid if user else None)
    try:
        lines = f"{stranger.pid}\n{server.place.cluster}\n1\n5432\n{server.place.socket}\n\n1 1\nready\n"
        for file in (
            server.place.cluster / "postmaster.pid",
            server.place.socket / ".s.PGSQL.5432.lock",
            server.place.socket / ".s.PGSQL.5432",
        ):
            file.write_text(lines)
        assert server.pid is None
        server.start()
        assert server.run_sql("select 1") == "1"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_owner_killed_while_it_makes_the_cluster_leaves_nothing_half_made(home: Path, make: Make, own: Own) -> None:
    owner = own(home / "data")
    wait_for((home / "data" / "cluster.new" / "base").exists)
    owner.kill()
    owner.wait()
    assert not (home / "data" / "cluster").exists()
    server = make(fresh=True)
    server.start()
    assert server.run_sql("select count(*) from pg_class", "postroom") != "0"
    assert not (home / "data" / "cluster.new").exists()


def test_a_deleted_cluster_is_made_anew_under_a_running_server(make: Make) -> None:
    server = make()
    server.start()
    pid = server.pid
    assert pid is not None
    shutil.rmtree(server.place.cluster)
    server.start()
    assert not lives(pid)
    assert server.run_sql("select 1", "postroom") == "1"


def test_a_failed_start_shows_the_servers_own_words_and_leaves_nothing_running(home: Path, make: Make) -> None:
    with pytest.raises(EmbeddedError, match=r'(?s)postgres\.log.*"shared_buffers"'):
        make(options={"shared_buffers": "nonsense"}).start()
    wait_for(lambda: not left_behind(home))


def test_a_start_that_takes_too_long_says_so_and_the_server_goes_with_its_owner(home: Path, make: Make) -> None:
    server = make()
    with pytest.raises(EmbeddedError, match="raise start_timeout_s"):
        make(start_timeout_s=0).start()
    wait_for(lambda: not left_behind(home))
    server.start()
    assert server.is_ready
