# What the Python clients share: the callbacks that all of them write, the rows that have to come of it, and for each
# test a connection and fresh tables. libpq's variables say which database.
import csv
import datetime
import pathlib

import psycopg
import pytest

LATE = "SMlate"  # the message that is stored when its callbacks are there already


def read(name):
    """The rows of a data file as dicts; an empty field is None, a time a datetime."""

    def value(column, text):
        if text == "":
            return None
        return datetime.datetime.fromisoformat(text) if column.endswith("_at") else text

    path = pathlib.Path(__file__).with_name(name)
    with path.open(newline="") as file:
        return [{c: value(c, t) for c, t in row.items()} for row in csv.DictReader(file)]


@pytest.fixture
def callbacks():
    return read("callbacks.csv")


@pytest.fixture
def expected():
    """The messages as tuples, in order of sid."""
    return [tuple(row.values()) for row in read("messages.csv")]


@pytest.fixture
def early(expected):
    """The sids of the messages that are stored before their callbacks come."""
    return [sid for sid, *_ in expected if sid != LATE]


@pytest.fixture
def late():
    return LATE


@pytest.fixture
def conn():
    with psycopg.connect(autocommit=True) as conn:
        yield conn


@pytest.fixture(autouse=True)
def tables(conn):
    conn.execute("DROP TABLE IF EXISTS messages, delivery_log")
    conn.execute("SELECT msgstatus.create_tables()")
