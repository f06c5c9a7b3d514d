"""What tables an installation has in Cassandra, how they come to be, and whether they are what this program needs.

Tables are described once, as data: statements and checks are both made of that. What was made is recorded by component
and version, so that a newer program knows what is left to do and an older one refuses what it does not know. One
program at a time changes a schema: a lock with a time limit says whose turn it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cluster.cassandra.session import CassandraSession
from stepwell.errors import ConflictError

LOCK_S: Final = 300
"""How long one program may take to change a schema. One that dies holds up the next for as long."""

_RECORDS: Final = (
    "CREATE TABLE IF NOT EXISTS {keyspace}.schema_versions"
    " (component text PRIMARY KEY, version int, print text, applied_at timestamp)"
)
_LOCKS: Final = "CREATE TABLE IF NOT EXISTS {keyspace}.schema_locks (name text PRIMARY KEY, owner text)"


@dataclass(frozen=True, slots=True)
class Table:
    """Column → CQL type, in their order. `descending`: clustering columns that are kept newest first."""

    name: str
    partition: Mapping[str, str]
    clustering: Mapping[str, str]
    cells: Mapping[str, str] = field(default_factory=dict)
    descending: bool = False
    options: Sequence[str] = ()
    """As CQL has them behind WITH."""

    def columns(self) -> dict[str, tuple[str, str]]:
        """Column → (kind, type), as system_schema.columns has them."""
        return {
            **{name: ("partition_key", kind) for name, kind in self.partition.items()},
            **{name: ("clustering", kind) for name, kind in self.clustering.items()},
            **{name: ("regular", kind) for name, kind in self.cells.items()},
        }

    def create(self, keyspace: str) -> str:
        """The statement that makes it, unless it is there."""
        columns = ", ".join(f"{name} {kind}" for name, (_, kind) in self.columns().items())
        key = ", ".join([f"({', '.join(self.partition)})", *self.clustering])
        options = list(self.options)
        if self.descending:
            options.insert(0, f"CLUSTERING ORDER BY ({', '.join(f'{name} DESC' for name in self.clustering)})")
        behind = f" WITH {' AND '.join(options)}" if options else ""
        return f"CREATE TABLE IF NOT EXISTS {keyspace}.{self.name} ({columns}, PRIMARY KEY ({key})){behind}"


@dataclass(frozen=True, slots=True)
class Component:
    """The tables of one store. `migrations` is version → what makes the tables of the version before those of this one,
    with {keyspace} in place of its name; version 1 is made by creating the tables."""

    name: str
    version: int
    tables: Sequence[Table]
    migrations: Mapping[int, Sequence[str]] = field(default_factory=dict)

    def statements(self, keyspace: str, since: int = 0) -> list[str]:
        """What leads from that version to this one; 0: from nothing."""
        if since == 0:
            return [table.create(keyspace) for table in self.tables]
        steps = range(since + 1, self.version + 1)
        return [cql.replace("{keyspace}", keyspace) for step in steps for cql in self.migrations[step]]

    def print(self) -> str:
        """Tells one description of the tables from another."""
        text = "\n".join(self.statements("k"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def create_keyspace(keyspace: str, datacenter: str, replication_factor: int) -> str:
    """The statement that makes the keyspace, unless it is there."""
    replication = f"{{'class': 'NetworkTopologyStrategy', '{datacenter}': {replication_factor}}}"
    return f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication} AND durable_writes = true"


def script(keyspace: str, datacenter: str, replication_factor: int, components: Sequence[Component]) -> list[str]:
    """All that makes a new installation's schema, to be read, or to be run by somebody else."""
    return [
        create_keyspace(keyspace, datacenter, replication_factor),
        _RECORDS.format(keyspace=keyspace),
        _LOCKS.format(keyspace=keyspace),
        *(statement for component in components for statement in component.statements(keyspace)),
    ]


async def apply(
    session: CassandraSession,
    datacenter: str,
    replication_factor: int,
    components: Sequence[Component],
    *,
    owner: str,
) -> list[str]:
    """Make what is missing, and say what was done, a line each: nothing, where all is there.

    `owner` names whoever calls, to another one that waits. Safe to do again after it was interrupted. Raises
    ConflictError (another program is at it; a newer one was), UnavailableError.
    """
    keyspace = session.keyspace
    for cql in (create_keyspace(keyspace, datacenter, replication_factor), _RECORDS, _LOCKS):
        await session.execute(cql.replace("{keyspace}", keyspace))
    locks = f"{keyspace}.schema_locks"
    taken = await session.execute(
        f"INSERT INTO {locks} (name, owner) VALUES ('schema', %s) IF NOT EXISTS USING TTL {LOCK_S}", [owner]
    )
    if not taken[0][0]:
        raise ConflictError(
            f"{taken[0][-1]} changes the schema of {keyspace!r}: try again when it is done, "
            f"or {LOCK_S // 60} minutes after it was ended."
        )
    try:
        return [line for component in components for line in await _apply(session, component)]
    finally:
        await session.execute(f"DELETE FROM {locks} WHERE name = 'schema' IF owner = %s", [owner])


async def _apply(session: CassandraSession, component: Component) -> list[str]:
    since = (await _recorded(session)).get(component.name, (0, ""))[0]
    if since > component.version:
        raise ConflictError(_newer(component, since))
    if since == component.version:
        return []
    for cql in component.statements(session.keyspace, since):
        await session.execute(cql)
    await session.execute(
        f"INSERT INTO {session.keyspace}.schema_versions (component, version, print, applied_at)"
        " VALUES (%s, %s, %s, toTimestamp(now()))",
        [component.name, component.version, component.print()],
    )
    return [f"{component.name}: version {since or 'none'} → {component.version}"]


async def faults(session: CassandraSession, components: Sequence[Component]) -> list[str]:
    """What is not as this program needs it, a sentence each; none, when all is. Raises UnavailableError."""
    found: list[str] = []
    keyspace = session.keyspace
    names = await session.execute("SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", [keyspace])
    if ("schema_versions",) not in names:
        return [f"The keyspace {keyspace!r} has no schema: run `stepwell schema apply`."]
    recorded = await _recorded(session)
    rows = await session.execute(
        "SELECT table_name, column_name, kind, type FROM system_schema.columns WHERE keyspace_name = %s", [keyspace]
    )
    columns: dict[str, dict[str, tuple[str, str]]] = {}
    for table_name, column, kind, type_ in rows:
        columns.setdefault(table_name, {})[column] = (kind, type_)
    for component in components:
        version, print_ = recorded.get(component.name, (0, ""))
        if version > component.version:
            found.append(_newer(component, version))
        elif version < component.version:
            found.append(
                f"{component.name} is at version {version}, {component.version} is needed: run `stepwell schema apply`."
            )
        elif print_ != component.print():
            found.append(f"{component.name} at version {version} was made by another program than this one.")
        else:
            found += [
                fault for table in component.tables for fault in _table_faults(table, columns.get(table.name, {}))
            ]
    return found


def _table_faults(table: Table, has: Mapping[str, tuple[str, str]]) -> list[str]:
    if not has:
        return [f"The table {table.name} is missing."]
    found = []
    for column, needed in table.columns().items():
        if has.get(column) != needed:
            is_ = " ".join(has[column]) if column in has else "missing"
            found.append(f"The column {column} of {table.name} is {is_}, not {' '.join(needed)}.")
    return found


def _newer(component: Component, version: int) -> str:
    return (
        f"{component.name} is at version {version}, and this program knows versions up to {component.version}: "
        "run the version of Stepwell that made it, or a newer one."
    )


async def _recorded(session: CassandraSession) -> dict[str, tuple[int, str]]:
    """Component → its version and print."""
    rows = await session.execute(f"SELECT component, version, print FROM {session.keyspace}.schema_versions")
    return {component: (version, print_) for component, version, print_ in rows}
