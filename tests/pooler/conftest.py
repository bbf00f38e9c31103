"""What tests behind a pooler share with the crash tests: worlds to play in, and the keeping of evidence."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from dispatcher import effects
from outbox.embedded import Embedded
from tests.crashes.conftest import evidence, world, worlds
from tests.outbox.conftest import empty_database
from tests.pooler.pgbouncer import NoPgBouncer, PgBouncer, pgbouncer

__all__ = ["empty_database", "evidence", "world", "worlds"]

Bouncers = Callable[..., AbstractContextManager[PgBouncer]]


@pytest.fixture(autouse=True)
def a_far_side_that_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the dispatcher's own tests."""
    monkeypatch.setattr(effects, "SETTLING_S", 0.0)


@pytest.fixture
def bouncers() -> Bouncers:
    """`with bouncers(server, …) as bouncer`. Skips the test, saying why, where there is no PgBouncer."""

    @contextmanager
    def begin(server: Embedded, **options: str) -> Iterator[PgBouncer]:
        try:
            context = pgbouncer(server, options=options)
            bouncer = context.__enter__()
        except NoPgBouncer as problem:
            pytest.skip(str(problem))
        try:
            yield bouncer
        finally:
            context.__exit__(None, None, None)

    return begin


@pytest.fixture
def bouncer(bouncers: Bouncers, postroom_server: Embedded) -> Iterator[PgBouncer]:
    """A PgBouncer of this test alone, in front of the run's server."""
    with bouncers(postroom_server) as one:
        yield one
