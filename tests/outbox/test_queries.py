"""Every statement of outbox/queries fits the schema, says what it does, and belongs to a store module."""

import re
from importlib.resources import files

import asyncpg
import pytest

from outbox import queries, store
from outbox.db import ENGINE_SETTINGS
from outbox.testing import Postroom

EVERY = [(stem, name) for stem in queries.stems() for name in queries.load(stem)]
# Files whose statements a module of another name owns, because they change together.
SHARED = {"pending": "lanes", "busy": "lanes", "rejected": "sources"}


@pytest.mark.parametrize(("stem", "name"), EVERY, ids=[f"{stem}.{name}" for stem, name in EVERY])
async def test_a_statement_is_prepared_by_postgres_and_says_what_it_does(postroom: Postroom, stem: str, name: str) -> None:
    statement = queries.load(stem)[name]
    assert re.match(r"-- \S.{8,}", statement), f"{stem}.{name} begins with no comment line"
    for settings in ({}, ENGINE_SETTINGS):
        connection = await asyncpg.connect(postroom.dsn, server_settings=settings)
        prepared = await connection.prepare(statement)
        parameters = [type_.name for type_ in prepared.get_parameters()]
        # A generic plan is made without values, so a statement that cannot be planned fails here and not in production.
        await connection.execute("set plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare planned as {statement}")
        await connection.execute(f"explain execute planned{'(' + ', '.join(['null'] * len(parameters)) + ')' if parameters else ''}")
        await connection.close()


@pytest.mark.parametrize("stem", queries.stems())
def test_a_file_of_statements_has_its_store_module(stem: str) -> None:
    module = files(store).joinpath(f"{SHARED.get(stem, stem)}.py")
    assert module.is_file()
    assert f'load("{stem}")' in module.read_text("utf-8")


def test_a_store_module_loads_only_statements_that_there_are() -> None:
    loaded = re.compile(r'^(\w+) = load\("(\w+)"\)(?:\["(\w+)"\])?$', re.MULTILINE)
    for entry in files(store).iterdir():
        if entry.name.endswith(".py"):
            text = entry.read_text("utf-8")
            for constant, stem, one in loaded.findall(text):
                used = {one} if one else set(re.findall(rf'\b{constant}\["(\w+)"\]', text))
                assert used <= set(queries.load(stem)), f"{entry.name} names statements that {stem}.sql does not have"


def test_a_stem_without_a_file_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        queries.load("nothing")
