# The webhook functions, called as PostgREST does and by hand.
import json
import urllib.parse

import psycopg
import pytest

from providers import (
    ACCOUNT, FIELDS, PUBLIC_URL, ROLE, ROOT, SENT, add, callback, message, payloads, twilio_signature,
    webhook, whatsapp_signature,
)


def test_as_postgrest_calls_it(settings, role, conn):
    """The wrappers of the manual: the body is the one unnamed argument, the headers are in a setting of the transaction."""
    manual = (ROOT / "doc/webhooks.md").read_text()
    wrappers = next(block for block in manual.split("```sql\n") if block.startswith("CREATE SCHEMA api;")).split("```")[0]
    conn.execute("DROP SCHEMA IF EXISTS api CASCADE")
    conn.execute(wrappers.replace("TO webhook", f"TO {ROLE}"))
    add(conn, "SM1")

    def call(function, body, **headers):
        with psycopg.connect(user=role["PGUSER"], password=role["PGPASSWORD"]) as web:
            web.execute("SELECT set_config('request.headers', %s, true)", (json.dumps({"host": "example.com", **headers}),))
            web.execute(f"SELECT api.{function}(%s)", (body,), prepare=True)

    form = urllib.parse.urlencode(FIELDS)
    signature = {"x-twilio-signature": twilio_signature(FIELDS, base="https://callbacks.example.com")}
    call("twilio", form, **signature)
    call("whatsapp", SENT, **{"x-hub-signature-256": whatsapp_signature(SENT)})
    assert message(conn, "SM1")[0] == "delivered"
    assert len(payloads(conn)) == 2
    for function, body, headers in [
        ("twilio", form, {}), ("twilio", form + "&x=y", signature), ("whatsapp", SENT, {}),
        ("whatsapp", SENT + b" ", {"x-hub-signature-256": whatsapp_signature(SENT)}),
    ]:
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            call(function, body, **headers)
    assert len(payloads(conn)) == 2
    conn.execute("DROP SCHEMA api CASCADE")


def twilio_callback(conn, fields):
    """The verdict that the function gives, called as itself."""
    call = "SELECT msgstatus.twilio_callback(%s, %s, %s, 'messages')"
    url = PUBLIC_URL + "/twilio"
    return conn.execute(call, (url, urllib.parse.urlencode(fields), twilio_signature(fields))).fetchone()[0]


def test_verdicts(settings, conn):
    add(conn, "SM1")
    for status, verdict in [
        ("delivered", "applied"), ("delivered", "duplicate"), ("sent", "stale"), ("undelivered", "conflict"),
        ("rerouted", "unrecognized"),
    ]:
        assert twilio_callback(conn, callback("SM1", status)) == verdict
    assert twilio_callback(conn, callback("SM2", "sent")) == "unmatched"
    inbound = [("AccountSid", ACCOUNT), ("MessageSid", "SM3"), ("SmsStatus", "received"), ("Body", "Hello")]
    assert twilio_callback(conn, inbound) is None
    # A callback that is not sent again is not refused for a trigger that is off.
    conn.execute("ALTER TABLE delivery_log DISABLE TRIGGER USER")
    assert twilio_callback(conn, callback("SM1", "read")) is None
    conn.execute("ALTER TABLE delivery_log ENABLE TRIGGER USER")
    assert conn.execute("SELECT msgstatus.settle()").fetchone() == (1,)
    assert message(conn, "SM1")[0] == "read"


def test_several_messages_with_one_sid(settings, conn):
    """Where the log goes by another key: each of them gets the callback, and what waited."""
    conn.execute(
        """DROP TABLE messages, delivery_log;
           CREATE TABLE messages (id bigint PRIMARY KEY, sid text, status msgstatus.delivery_status DEFAULT 'queued');
           CREATE INDEX ON messages (sid);
           CREATE TABLE delivery_log (id bigint NOT NULL, status text);
           CREATE INDEX ON delivery_log (id);
           SELECT msgstatus.attach('messages', 'delivery_log', 'id', 'id')"""
    )
    statuses = "SELECT array_agg(status::text ORDER BY id) FROM messages"
    assert twilio_callback(conn, callback("SM1", "sent")) == "unmatched"
    conn.execute("INSERT INTO messages (id, sid) VALUES (1, 'SM1'), (2, 'SM1'), (3, 'SM2')")
    assert conn.execute(statuses).fetchone()[0] == ["sent", "sent", "queued"]
    assert twilio_callback(conn, callback("SM1", "delivered")) == "applied"
    assert conn.execute(statuses).fetchone()[0] == ["delivered", "delivered", "queued"]
    assert conn.execute("SELECT count(*) FROM msgstatus.waiting_callback").fetchone() == (0,)


def test_a_database_in_latin1(settings, conn):
    """What its encoding lacks becomes question marks, and no status is lost for it."""
    name = f"{conn.info.dbname}_latin1"
    conn.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with psycopg.connect(dbname=name, autocommit=True, client_encoding="utf8") as latin1:
            latin1.execute("CREATE EXTENSION msgstatus")
            latin1.execute("SELECT msgstatus.create_tables()")
            add(latin1, "SM1", "wamid.1")
            fields = callback("SM1", "failed", ("ErrorCode", "30007"), ("ErrorMessage", "Zoë 🚕 日\0"))
            assert twilio_callback(latin1, fields) == "applied"
            body = webhook({"id": "wamid.1", "status": "read", "name": "Zoë 🚕", "日": "é"})
            call = "SELECT msgstatus.whatsapp_callback(%s, %s)"
            assert latin1.execute(call, (body, whatsapp_signature(body))).fetchone() == (1,)
            assert message(latin1, "SM1")[0] == "failed" and message(latin1, "wamid.1")[0] == "read"
            error = latin1.execute("SELECT error_message FROM messages WHERE sid = 'SM1'").fetchone()
            assert error == ("Zoë ? ??",)
            assert payloads(latin1)[1] == {"id": "wamid.1", "status": "read", "name": "Zoë ?", "?": "é"}
    finally:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
