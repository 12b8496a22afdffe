# psycopg 3. Nothing is to be declared: a str parameter writes the log and messages.status, and status is read as a str.
# With register_enum (below) it is read as an Enum of your own. Only binary (%b) and cast parameters need care.
import enum

import psycopg
import pytest
from psycopg.types.enum import EnumInfo, register_enum

COLUMNS = "sid, status, error_code, event_at"
MESSAGES = "SELECT sid, status, error_code, sent_at, delivered_at, read_at, failed_at FROM messages ORDER BY sid"


def insert(placeholder):
    values = ", ".join(f"%({column}){placeholder}" for column in COLUMNS.split(", "))
    return f"INSERT INTO delivery_log ({COLUMNS}) VALUES ({values})"


def text(conn, callbacks):
    for callback in callbacks:
        conn.execute(insert("s"), callback)


def binary(conn, callbacks):
    for callback in callbacks:
        conn.execute(insert("b"), callback)


def prepared(conn, callbacks):
    for callback in callbacks:
        conn.execute(insert("s"), callback, prepare=True)
    assert conn.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ '^INSERT'").fetchone() > (0,)


def executemany(conn, callbacks):
    conn.cursor().executemany(insert("s"), callbacks)


def copy_text(conn, callbacks):
    with conn.cursor().copy(f"COPY delivery_log ({COLUMNS}) FROM STDIN") as copy:
        for callback in callbacks:
            copy.write_row(list(callback.values()))


def copy_binary(conn, callbacks):
    with conn.cursor().copy(f"COPY delivery_log ({COLUMNS}) FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["text", "text", "text", "timestamptz"])
        for callback in callbacks:
            copy.write_row(list(callback.values()))


@pytest.mark.parametrize("write", [text, binary, prepared, executemany, copy_text, copy_binary])
def test_callbacks(conn, callbacks, expected, early, late, write):
    conn.cursor().executemany("INSERT INTO messages (sid) VALUES (%s)", [(sid,) for sid in early])
    write(conn, callbacks)
    conn.execute("INSERT INTO messages (sid) VALUES (%s)", (late,))
    assert conn.execute(MESSAGES).fetchall() == expected


@pytest.mark.parametrize("placeholder", ["%s", "%t", "%b", "%s::text", "%s::varchar", "%s::msgstatus.delivery_status"])
def test_str_writes_status(conn, placeholder):
    insert = f"INSERT INTO messages (sid, status) VALUES ('SM1', {placeholder}) RETURNING status"
    assert conn.execute(insert, ("sent",)).fetchone() == ("sent",)
    update = f"UPDATE messages SET status = {placeholder}, batch = %s RETURNING status, batch"
    assert conn.execute(update, ("delivered", "june")).fetchone() == ("delivered", "june")
    # A step back is absorbed, the rest of the UPDATE goes through.
    assert conn.execute(update, ("queued", "july")).fetchone() == ("delivered", "july")
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        conn.execute(update, ("bounced", "august"))


def test_copy_writes_and_reads_status(conn):
    rows = [("SM1", "sent"), ("SM2", "read")]
    for how in "", "(FORMAT binary)":
        with conn.cursor().copy(f"COPY messages (sid, status) FROM STDIN {how}") as copy:
            copy.set_types(["text", "text"])
            for row in rows:
                copy.write_row(row)
        with conn.cursor().copy(f"COPY (SELECT sid, status FROM messages ORDER BY sid) TO STDOUT {how}") as copy:
            copy.set_types(["text", "text"])
            assert list(copy.rows()) == rows
        conn.execute("DELETE FROM messages")


def test_comparing_with_a_str(conn):
    conn.execute("INSERT INTO messages (sid, status) VALUES ('SM1', 'sent'), ('SM2', 'delivered')")
    count = "SELECT count(*) FROM messages WHERE status "
    assert conn.execute(count + ">= %s", ("delivered",)).fetchone() == (1,)
    assert conn.execute(count + "= ANY (%s)", (["sent", "delivered"],)).fetchone() == (2,)
    # A binary str is declared as text to the server, and an enum has no operators with text.
    with pytest.raises(psycopg.errors.UndefinedFunction):
        conn.execute(count + "= %b", ("delivered",))
    assert conn.execute(count + "= %b::msgstatus.delivery_status", ("delivered",)).fetchone() == (1,)


def test_a_binary_cursor_gives_bytes_until_the_type_is_registered(conn):
    conn.execute("INSERT INTO messages (sid, status) VALUES ('SM1', 'sent')")
    cursor = conn.cursor(binary=True)
    assert cursor.execute("SELECT status FROM messages").fetchone() == (b"sent",)
    assert cursor.execute("SELECT status::text FROM messages").fetchone() == ("sent",)
    info = EnumInfo.fetch(conn, "msgstatus.delivery_status")
    register_enum(info, conn)  # for cursors made from now on
    cursor = conn.cursor(binary=True)
    assert cursor.execute("SELECT status FROM messages").fetchone()[0].name == "sent"


class DeliveryStatus(str, enum.Enum):
    """To be complete: a label without a member makes reading fail."""

    RECEIVING = "receiving"
    RECEIVED = "received"
    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERY_UNKNOWN = "delivery_unknown"
    PARTIALLY_DELIVERED = "partially_delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"
    DELIVERED = "delivered"
    READ = "read"


def test_python_enum(conn):
    info = EnumInfo.fetch(conn, "msgstatus.delivery_status")  # with the schema, unless it is on the search_path
    assert list(info.labels) == [status.value for status in DeliveryStatus]
    # Without the mapping psycopg takes the labels for the names of the members.
    register_enum(info, conn, DeliveryStatus, mapping={status: status.value for status in DeliveryStatus})
    for placeholder in "%s", "%t", "%b":
        conn.execute("TRUNCATE messages, delivery_log")
        insert = f"INSERT INTO messages (sid, status) VALUES ('SM1', {placeholder})"
        conn.execute(insert, (DeliveryStatus.DELIVERED,))
        for cursor in conn.cursor(), conn.cursor(binary=True):
            cursor.execute(f"SELECT status FROM messages WHERE status = {placeholder}", (DeliveryStatus.DELIVERED,))
            assert cursor.fetchone() == (DeliveryStatus.DELIVERED,)
            array = f"SELECT array_agg(status) FROM messages WHERE status = ANY ({placeholder})"
            cursor.execute(array, (list(DeliveryStatus),))
            assert cursor.fetchone() == ([DeliveryStatus.DELIVERED],)
        # The enum writes the log's word, too; its generated column is the enum again.
        log = f"INSERT INTO delivery_log (sid, status) VALUES ('SM1', {placeholder}) RETURNING status, delivery_status"
        assert conn.execute(log, (DeliveryStatus.READ,)).fetchone() == ("read", DeliveryStatus.READ)
