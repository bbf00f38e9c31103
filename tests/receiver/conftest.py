"""What is written to the log, as it is written: every level, after redaction."""

import io
import sys
from collections.abc import Callable, Iterator

import pytest

from outbox.log import configure


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """`logged()`: everything that was logged since the test began."""
    written = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", written)
        configure(json=True, level="debug")
    yield written.getvalue
    configure(level="warning")
