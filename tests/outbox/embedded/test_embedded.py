"""The embedded Postgres in ordinary life: start, stop, addresses, settings, errors."""

import shutil
import socket
import stat
from pathlib import Path

import psycopg
import pytest

from outbox.embedded import FAST, EmbeddedError, address, guardian, processes
from outbox.embedded.place import Place
from tests.outbox.embedded.servers import Make, read_by_both


async def test_a_first_start_makes_the_database_and_a_restart_keeps_its_data(make: Make) -> None:
    server = make(fresh=True, options={"work_mem": "5MB"})
    dsn = server.start()
    assert server.is_ready
    assert await read_by_both(dsn, "select current_database()::text") == {"postroom"}
    assert await read_by_both(dsn, "select concat_ws(' ', current_setting('fsync'), current_setting('work_mem'))") == {"on 5MB"}
    assert await read_by_both(dsn, "select pg_encoding_to_char(encoding)::text from pg_database where datname = 'postroom'") == {"UTF8"}
    server.run_sql("create table kept as select 'Ä' as letter", "postroom")
    server.stop()
    assert server.pid is None
    assert server.start() == dsn
    assert await read_by_both(dsn, "select letter from kept") == {"Ä"}


async def test_tcp_asks_for_the_password_and_keeps_its_port(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")  # must not lead a client, nor the server, astray
    server = make(tcp=True)
    assert await read_by_both(server.start(), "select inet_server_port()") == {None}
    dsn = server.tcp_dsn()
    port = int(server.run_sql("show port"))
    assert await read_by_both(dsn, "select inet_server_port()") == {port}
    password = server.place.folder / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(dsn.replace(password.read_text().strip(), "guess"))
    server.stop()
    server.start()
    assert server.tcp_dsn() == dsn


def test_a_port_that_somebody_takes_at_the_last_moment_is_exchanged(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port, free_port = int(taken.getsockname()[1]), address.tcp_port
        looks: list[Place] = []

        def look(place: Place) -> int:
            looks.append(place)
            return port if len(looks) == 1 else free_port(place)

        monkeypatch.setattr(address, "tcp_port", look)
        server = make(tcp=True)
        server.start()
        assert int(server.run_sql("show port")) != port
    with psycopg.connect(server.tcp_dsn()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_server_without_a_port_cannot_be_joined_for_tcp(make: Make) -> None:
    server = make()
    server.start()
    with pytest.raises(EmbeddedError, match="no TCP port"):
        make(tcp=True).start()
    assert server.is_ready


def test_options_that_the_server_is_driven_by_are_refused(make: Make) -> None:
    for options in ({"listen_addresses": "*"}, {"Port": "1"}, {"a b": "1"}, {"work_mem": "1MB'\nssl = 'on"}):
        with pytest.raises(EmbeddedError, match="cannot be set here"):
            make(options=options)


def test_what_is_no_cluster_of_this_version_is_refused_untouched(home: Path, make: Make) -> None:
    cluster = home / "data" / "cluster"
    cluster.mkdir(parents=True)
    with pytest.raises(EmbeddedError, match="no Postgres cluster"):
        make().start()
    (cluster / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="made by Postgres 9"):
        make().start()
    assert [entry.name for entry in cluster.iterdir()] == ["PG_VERSION"]
    with pytest.raises(EmbeddedError, match="line break"):
        make(home / "two\nlines")


def test_a_failing_statement_raises_what_postgres_said(make: Make) -> None:
    with make() as server:
        assert server.run_sql("select 1; select 'a|b', null") == "1\na|b|"
        with pytest.raises(EmbeddedError, match='"nothing" does not exist'):
            server.run_sql("select * from nothing; select 1")
    with pytest.raises(EmbeddedError, match="is not running"):
        server.run_sql("select 1")


def test_the_log_is_cut_when_it_is_too_long(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    with log.open("a") as server:
        server.write("one\n")
        server.flush()
        guardian.cut_log(log, limit_bytes=4)
        assert log.read_text() == "one\n"
        server.write("two\n")
        server.flush()
        guardian.cut_log(log, limit_bytes=4)
        server.write("three\n")
    assert (tmp_path / "postgres.log.1").read_text() == "one\ntwo\n"
    assert log.read_text() == "three\n"


@pytest.mark.skipif(shutil.which("ps") is None or not Path("/proc/self").exists(), reason="compares ps with /proc")
def test_processes_are_found_without_proc_as_well(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = make(options={**FAST, "autovacuum": "off"})
    server.start()
    expected = processes.processes_of(server.place.cluster, server.place.tag)
    assert len(expected) > 3
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert processes.processes_of(server.place.cluster, server.place.tag) == expected
    assert server.pid == expected[0]
