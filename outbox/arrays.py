"""Arrays of Postgres's own types, told to the driver, which would otherwise ask the server for them in each new connection.

The question costs the server 10 to 40 ms before the first claim or settlement can be sent. The numbers of these types are the same in
every Postgres. Owns nothing else; types of an app are still asked for.
"""

from collections.abc import Iterator
from typing import Any, Final

import asyncpg

# The array's number, its name and its element's number: of pg_type.dat, where they never change.
_ARRAYS: Final = (
    (1000, "_bool", 16),
    (1001, "_bytea", 17),
    (1005, "_int2", 21),
    (1007, "_int4", 23),
    (1016, "_int8", 20),
    (1022, "_float8", 701),
    (1115, "_timestamp", 1114),
    (1182, "_date", 1082),
    (1185, "_timestamptz", 1184),
    (1187, "_interval", 1186),
    (1231, "_numeric", 1700),
    (2951, "_uuid", 2950),
    (3807, "_jsonb", 3802),
)


def _rows() -> Iterator[dict[str, Any]]:
    """As the driver's own question is answered."""
    for oid, name, element in _ARRAYS:
        nothing = dict.fromkeys(("basetype", "range_subtype", "attrtypoids", "attrnames", "basetype_name", "range_subtype_name"))
        yield {**nothing, "oid": oid, "ns": "pg_catalog", "name": name, "kind": b"b", "elemtype": element, "elemdelim": ",", "depth": 0}


ROWS: Final = tuple(_rows())


def tell(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Before the connection's first statement."""
    connection._protocol.get_settings().register_data_types(ROWS)  # type: ignore[attr-defined] # the stubs leave it out
