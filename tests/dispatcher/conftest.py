"""What all tests of the dispatcher share."""

import pytest

from dispatcher import effects


@pytest.fixture(autouse=True)
def a_far_side_that_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator has done a request before its next one is answered: no need to wait before a lost effect is looked for."""
    monkeypatch.setattr(effects, "SETTLING_S", 0.0)
