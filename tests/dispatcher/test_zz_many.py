import pytest
from tests.dispatcher.test_torture import torture
@pytest.mark.parametrize("seed", range(100, 130))
async def test_many(postroom, monkeypatch, seed):
    await torture(postroom, monkeypatch, seed=seed, events=200, lanes_count=5 + seed % 40, strikes=10)
