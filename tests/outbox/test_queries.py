"""Every statement of outbox/queries fits the schema, says what it does, and belongs to a store module."""

import re
from importlib.resources import files

import asyncpg
import pytest

from outbox import queries, store
from outbox.db import ENGINE_SETTINGS
from outbox.testing import Postroom

# Files whose statements a module of another name owns, because they change together.
SHARED = {"pending": "lanes", "busy": "lanes", "rejected": "sources"}


@pytest.mark.parametrize("stem", queries.stems())
async def test_statements_are_prepared_by_postgres_and_say_what_they_do(postroom: Postroom, stem: str) -> None:
    for settings in ({}, ENGINE_SETTINGS):
        connection = await asyncpg.connect(postroom.dsn, server_settings=settings)
        # A generic plan is made without values, so a statement that cannot be planned fails here and not in production.
        await connection.execute("set plan_cache_mode = force_generic_plan")
        for name, statement in queries.load(stem).items():
            assert re.match(r"-- \S.{8,}", statement), f"{stem}.{name} begins with no comment line"
            try:
                prepared = await connection.prepare(statement)
                nulls = ", ".join(["null"] * len(prepared.get_parameters()))
                await connection.execute(f'prepare "{name}" as {statement}')
                await connection.execute(f'explain execute "{name}"' + (f"({nulls})" if nulls else ""))
            except asyncpg.PostgresError as problem:
                pytest.fail(f"{stem}.{name}: {problem}")
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
