"""What is written to the log, as it is written: every level, after redaction."""

import io
from collections.abc import Callable, Iterator

import pytest

from outbox.log import configure


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """`logged()`: everything that was logged since the test began."""
    written = io.StringIO()
    configure(json=True, level="debug", to=written)
    yield written.getvalue
    configure(level="warning")
