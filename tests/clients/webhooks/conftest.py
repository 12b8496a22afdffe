# The server as the webhook functions need it: with the providers' secrets, and a role that may call them.
import psycopg
import pytest
from psycopg import sql

from providers import ACCOUNT, FUNCTIONS, PASSWORD, ROLE, SETTINGS, soon


def shown():
    """What a fresh session sees of the settings."""
    with psycopg.connect() as conn:
        conn.execute("LOAD 'msgstatus'")  # where it is not preloaded
        return [conn.execute("SELECT current_setting(%s)", (name,)).fetchone()[0] for name in SETTINGS]


@pytest.fixture(scope="module")
def settings():
    with psycopg.connect(autocommit=True) as conn:
        conn.execute("LOAD 'msgstatus'")
        alter, reset = sql.SQL("ALTER SYSTEM SET {} = {}"), sql.SQL("ALTER SYSTEM RESET {}")
        try:
            for name, value in SETTINGS.items():
                conn.execute(alter.format(sql.Identifier(*name.split(".")), value))
            conn.execute("SELECT pg_reload_conf()")
            soon(lambda: shown() == [ACCOUNT, "********", "********"])
            yield
        finally:
            for name in SETTINGS:
                conn.execute(reset.format(sql.Identifier(*name.split("."))))
            conn.execute("SELECT pg_reload_conf()")
            soon(lambda: not any(shown()))


@pytest.fixture(scope="module")
def role():
    """A role that has what it is granted, and of what PUBLIC has only that the extension's tables may be read."""
    with psycopg.connect(autocommit=True) as conn:
        database = sql.Identifier(conn.info.dbname)
        conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(ROLE)))
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(ROLE), PASSWORD))
        conn.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        conn.execute("REVOKE ALL ON SCHEMA public, msgstatus FROM PUBLIC")
        conn.execute("REVOKE ALL ON ALL ROUTINES IN SCHEMA msgstatus FROM PUBLIC")
        conn.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(ROLE)))
        conn.execute(f"GRANT USAGE ON SCHEMA msgstatus TO {ROLE}")
        conn.execute(f"GRANT EXECUTE ON FUNCTION {FUNCTIONS} TO {ROLE}")
        try:
            yield {"PGUSER": ROLE, "PGPASSWORD": PASSWORD, "PGAPPNAME": ROLE}
        finally:
            conn.execute(f"DROP OWNED BY {ROLE}")
            conn.execute(f"DROP ROLE {ROLE}")
