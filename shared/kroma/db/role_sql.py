"""What a server's superuser says to make the role that Kroma works as.

Text alone: `kroma up` says it before it has loaded anything that talks to a database.
"""

from typing import Final

_FOREIGN: Final = """
    SELECT format('ALTER SCHEMA %I OWNER TO {role}', nspname) FROM pg_namespace
    WHERE nspname !~ '^(pg_|information_schema$)' AND nspowner NOT IN ({oid}, 'pg_database_owner'::regrole)
    UNION ALL
    SELECT format('ALTER %s %s OWNER TO {role}',
        CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
            ELSE 'TABLE' END, c.oid::regclass)
    FROM pg_class c WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND relowner <> {oid}
        AND relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype IN ('a', 'i', 'e'))
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO {role}', p.oid::regprocedure) FROM pg_proc p
    WHERE proowner <> {oid} AND pronamespace::regnamespace::text !~ '^(pg_|information_schema$)'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
    UNION ALL
    SELECT format('ALTER %s %s OWNER TO {role}', CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END,
        t.oid::regtype)
    FROM pg_type t WHERE typtype IN ('e', 'd', 'r') AND typowner <> {oid}
        AND typnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = t.oid AND deptype = 'e')
"""
"""A statement for everything in the database that is somebody else's; what belongs to a table follows it."""
_NEXT: Final = "-- next"
_MAKING: Final = f"""
    DO $do$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{text}}) THEN CREATE ROLE {{name}}; END IF;
    END $do$;
    {_NEXT}
    ALTER ROLE {{name}} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
        PASSWORD {{password}};
    {_NEXT}
    DO $do$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO %I', current_database(), {{text}}); END $do$;
    {_NEXT}
    DO $do$ DECLARE said text; BEGIN FOR said IN {{foreign}} LOOP EXECUTE said; END LOOP; END $do$;
"""


def role_statements(role: str, password: str) -> tuple[str, ...]:
    """What a superuser says in Kroma's database to make the role, new or not, its ordinary owner.

    Each is one line, since the server's single-user mode takes one statement a line. All may be said again.
    """
    name, text = _identifier(role), literal(role)
    in_format = name.replace("'", "''").replace("%", "%%")
    foreign = _one_line(_FOREIGN).format(role=in_format, oid=f"{literal(name)}::regrole")
    given = {"name": name, "text": text, "password": literal(password), "foreign": foreign}
    return tuple(_one_line(statement).format_map(given) for statement in _MAKING.split(_NEXT))


def _one_line(sql: str) -> str:
    return " ".join(sql.split())


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"
