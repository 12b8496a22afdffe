# The web handlers of doc/webhooks as an application has them: processes that answer HTTP, with a role that may do nothing but
# call the two functions.
import datetime
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import urllib.parse

import psycopg
import pytest

from providers import (
    ACCOUNT, APP_SECRET, FIELDS, FUNCTIONS, PUBLIC_URL, ROLE, ROOT, SENT, VERIFY_TOKEN, add, arrived,
    callback, is_untouched, message, payloads, soon, twilio_signature, webhook, whatsapp_signature,
)

COMMANDS = {
    "flask": [sys.executable, ROOT / "doc/webhooks/handler.py"],
    # Where node finds its modules, too: scripts/clients makes that directory.
    "express": ["node", pathlib.Path(os.environ["MSGSTATUS_NODE_DIR"], "handler.mjs")],
}
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}  # as Twilio has it
JSON = {"Content-Type": "application/json"}


class Handler:
    """A handler that runs."""

    def __init__(self, command, environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {"PUBLIC_URL": PUBLIC_URL, "WHATSAPP_VERIFY_TOKEN": VERIFY_TOKEN, **environment}
        self.process = subprocess.Popen(command, env={**os.environ, **environment, "PORT": str(self.port)})

    def answers(self):
        # That it knows the token shows that it is this one and not another that took the port.
        try:
            if self.subscribe() == (200, "ready"):
                return True
        except ConnectionError:
            pass
        try:
            pytest.fail(f"the handler ended with {self.process.wait(0.05)}")
        except subprocess.TimeoutExpired:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(20)

    def request(self, method, target, body=None, headers={}):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            conn.request(method, target, body, headers)
            response = conn.getresponse()
            self.headers = response.headers
            return response.status, response.read().decode()
        finally:
            conn.close()

    def subscribe(self, mode="subscribe", token=VERIFY_TOKEN, challenge="ready"):
        query = {"hub.mode": mode, "hub.challenge": challenge, "hub.verify_token": token}
        query = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        return self.request("GET", f"/whatsapp?{query}")

    def twilio(self, fields, /, **forged):
        """Posts a form as Twilio does, and gives the answer's status."""
        target = forged.get("target", "/twilio")
        request = {"target": target, "body": urllib.parse.urlencode(fields), **forged}
        request.setdefault("signature", twilio_signature(fields, target))
        signature = {} if request["signature"] is None else {"X-Twilio-Signature": request["signature"]}
        return self.request("POST", request["target"], request["body"], FORM | signature)[0]

    def whatsapp(self, body, /, **forged):
        """Posts bytes as Meta does, and gives the answer's status."""
        request = {"body": body, "signature": whatsapp_signature(body), **forged}
        signature = {} if request["signature"] is None else {"X-Hub-Signature-256": request["signature"]}
        return self.request("POST", "/whatsapp", request["body"], JSON | signature)[0]


@pytest.fixture(scope="module", params=COMMANDS)
def handler(request, settings, role):
    handler = Handler(COMMANDS[request.param], role)
    try:
        soon(handler.answers)
        yield handler
    finally:
        handler.stop()


# --- Twilio ------------------------------------------------------------------------------------------------------


def test_callbacks_in_any_order(handler, conn):
    add(conn, "SM1", "SM2", "SM3")
    said = [
        ("SM1", "delivered"), ("SM2", "sent"), ("SM3", "sent"), ("SM1", "sent"), ("SM3", "delivered"),
        ("SM2", "undelivered", ("ErrorCode", "30005")), ("SM1", "queued"), ("SM2", "sending"),
    ]
    for one in said:
        assert handler.twilio(callback(*one)) == 200
        assert handler.headers.get("Content-Length", "0") == "0"
    # Twilio says no times, so these are when they came. What was delivered had been sent by then.
    one, two, three = (arrived(conn, sid) for sid in ("SM1", "SM2", "SM3"))
    assert message(conn, "SM1") == ("delivered", one["delivered"], one["delivered"], None, None, None)
    assert message(conn, "SM2") == ("undelivered", two["sent"], None, None, two["undelivered"], "30005")
    assert message(conn, "SM3") == ("delivered", three["sent"], three["delivered"], None, None, None)
    assert len(payloads(conn)) == len(said)


def test_the_payload_has_all_that_was_said(handler, conn):
    add(conn, "SM1")
    odd = [
        ("Tag", "one"), ("Tag", "two"), ("Tag", "one"), ("Empty", ""), ("Body", "a+b & c=d 100% «ñ» 🚕\n"),
        ("ñ & =", "name"), ("RawDlrDoneDate", "2506160903"),
    ]
    assert handler.twilio(callback("SM1", "sent", *odd)) == 200
    expected = {name: value for name, value in callback("SM1", "sent", *odd)}
    expected["Tag"] = ["one", "two", "one"]
    assert payloads(conn) == [expected]
    assert message(conn, "SM1")[0] == "sent"


FORGERIES = {
    "none": {"signature": None},
    "empty": {"signature": ""},
    "truncated": {"signature": twilio_signature(FIELDS)[:-2]},
    "by another token": {"signature": twilio_signature(FIELDS, token=secrets.token_hex(16))},
    "of another body": {"signature": twilio_signature(callback("SM1", "sent"))},
    "of another path": {"signature": twilio_signature(FIELDS, "/whatsapp")},
    "of a query that is not there": {"signature": twilio_signature(FIELDS, "/twilio?a=1")},
    "of no query": {"target": "/twilio?a=1", "signature": twilio_signature(FIELDS)},
    "of http": {"signature": twilio_signature(FIELDS, base=PUBLIC_URL.replace("https", "http"))},
    "body changed": {"body": urllib.parse.urlencode(callback("SM2", "delivered"))},
    "parameter added": {"body": urllib.parse.urlencode(callback("SM1", "delivered", ("ErrorCode", "30003")))},
    "parameter missing": {"body": urllib.parse.urlencode(FIELDS[:-1])},
    "no body": {"body": ""},
    "account changed": {"body": urllib.parse.urlencode(FIELDS[1:] + [("AccountSid", "AC" + "0" * 32)])},
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_twilio_did_not_sign_it(handler, conn, forgery):
    add(conn, "SM1", "SM2")
    assert handler.twilio(FIELDS, **FORGERIES[forgery]) == 403
    assert is_untouched(conn)
    assert handler.twilio(FIELDS) == 200
    assert message(conn, "SM1")[0] == "delivered"


def test_the_host_that_was_asked_does_not_count(handler, conn):
    """What is signed is the public URL; whoever sends a request says himself which host it is for."""
    add(conn, "SM1")
    signature = twilio_signature(FIELDS, base=f"http://127.0.0.1:{handler.port}")
    assert handler.twilio(FIELDS, signature=signature) == 403
    headers = FORM | {"Host": "evil.example.com", "X-Forwarded-Host": "evil.example.com", "X-Forwarded-Proto": "https"}
    headers["X-Twilio-Signature"] = twilio_signature(FIELDS, base="https://evil.example.com")
    assert handler.request("POST", "/twilio", urllib.parse.urlencode(FIELDS), headers)[0] == 403
    assert is_untouched(conn)
    headers["X-Twilio-Signature"] = twilio_signature(FIELDS)
    assert handler.request("POST", "/twilio", urllib.parse.urlencode(FIELDS), headers)[0] == 200


@pytest.mark.parametrize("query", ["tenant=7&tenant=8", "b=%C3%A9+%26&a=%c3%a9", "a=x%20y?z=/&&=", "q", "a=b?"])
def test_a_query_in_the_url(handler, conn, query):
    add(conn, "SM1")
    target = f"/twilio?{query}"
    assert handler.twilio(FIELDS, target=f"{target}&c=1", signature=twilio_signature(FIELDS, target)) == 403
    assert is_untouched(conn)
    assert handler.twilio(FIELDS, target=target) == 200
    assert message(conn, "SM1")[0] == "delivered"


def test_an_inbound_message_is_no_status(handler, conn):
    add(conn, "SM1")
    inbound = [
        ("AccountSid", ACCOUNT), ("From", "+12025550101"), ("To", "+12025550100"), ("Body", "STOP"), ("NumMedia", "0"),
        ("MessageSid", "SM1"), ("SmsMessageSid", "SM1"), ("SmsSid", "SM1"), ("SmsStatus", "received"),
    ]
    assert handler.twilio(inbound) == 200
    assert is_untouched(conn)
    assert handler.twilio(inbound, signature=None) == 403


def test_signed_but_no_callback(handler, conn):
    assert handler.twilio([("AccountSid", ACCOUNT), ("MessageStatus", "sent")]) == 400
    assert is_untouched(conn)


# --- WhatsApp ----------------------------------------------------------------------------------------------------

# As Meta may write it: in two entries, three changes and six statuses; text beyond ASCII escaped here and raw there.
BATCH = """{"object":"whatsapp_business_account", "entry":[
 {"id":"1","changes":[
  {"value":{"messaging_product":"whatsapp","statuses":[
    {"id":"wamid.1","status":"read","timestamp":"1750064708","recipient_id":"1","biz":"caf\\u00e9 \\/ \\ud83d\\ude95"},
    {"id":"wamid.1","status":"sent","timestamp":"1750064701","recipient_id":"1","price":1.50}]},"field":"messages"},
  {"value":{"messaging_product":"whatsapp","statuses":[
    {"id":"wamid.2","status":"failed","timestamp":"1750064709","recipient_id":"2","biz":"café / 🚕",
     "errors":[{"code":131026,"title":"Undeliverable"}]}]},"field":"messages"}]},
 {"id":"2","changes":[
  {"value":{"messaging_product":"whatsapp","statuses":[
    {"status":"delivered","id":"wamid.3","timestamp":"1750064703"},
    {"id":"wamid.3","status":"sent","timestamp":"1750064702"},
    {"id":"wamid.3","status":"delivered","timestamp":"1750064703"}]},"field":"messages"}]}]}
""".encode()


def test_a_batch(handler, conn):
    # Else this would not show that the bytes matter.
    for escaped in False, True:
        for separators in (", ", ": "), (",", ":"):
            again = json.dumps(json.loads(BATCH), ensure_ascii=escaped, separators=separators).encode()
            assert again != BATCH and whatsapp_signature(again) != whatsapp_signature(BATCH)
    add(conn, "wamid.1", "wamid.2", "wamid.3", provider="whatsapp")
    assert handler.whatsapp(BATCH) == 200
    assert handler.headers.get("Content-Length", "0") == "0"
    at = [datetime.datetime.fromtimestamp(1750064700 + second, datetime.timezone.utc) for second in range(10)]
    assert message(conn, "wamid.1") == ("read", at[1], at[8], at[8], None, None)
    assert message(conn, "wamid.2") == ("failed", None, None, None, at[9], "131026")
    assert message(conn, "wamid.3") == ("delivered", at[2], at[3], None, None, None)
    changes = [change for entry in json.loads(BATCH)["entry"] for change in entry["changes"]]
    statuses = [status for change in changes for status in change["value"]["statuses"]]
    assert payloads(conn) == statuses
    assert statuses[0]["biz"] == statuses[2]["biz"] == "café / 🚕"


def test_a_thousand_statuses(handler, conn):
    sids = [f"wamid.{n:04}" for n in range(1000)]
    add(conn, *sids, provider="whatsapp")
    body = webhook(*({"id": sid, "status": "delivered", "timestamp": "1750064703", "more": "x" * 2500} for sid in sids))
    assert 2_500_000 < len(body) < 3 * 1024 * 1024
    assert handler.whatsapp(body) == 200
    assert conn.execute("SELECT status, count(*) FROM messages GROUP BY 1").fetchall() == [("delivered", 1000)]
    assert len(payloads(conn)) == 1000


META_FORGERIES = {
    "none": {"signature": None},
    "empty": {"signature": ""},
    "truncated": {"signature": whatsapp_signature(SENT)[:-2]},
    "by another secret": {"signature": whatsapp_signature(SENT, secrets.token_hex(16))},
    "by the verify token": {"signature": whatsapp_signature(SENT, VERIFY_TOKEN)},
    "sha1": {"signature": "sha1=" + hmac.new(APP_SECRET.encode(), SENT, hashlib.sha1).hexdigest()},
    "body changed": {"body": SENT.replace(b"sent", b"read")},
    "blank added": {"body": SENT + b" "},
}


@pytest.mark.parametrize("forgery", META_FORGERIES)
def test_meta_did_not_sign_it(handler, conn, forgery):
    add(conn, "wamid.1", provider="whatsapp")
    assert handler.whatsapp(SENT, **META_FORGERIES[forgery]) == 403
    assert is_untouched(conn)
    assert handler.whatsapp(SENT) == 200
    assert message(conn, "wamid.1")[0] == "sent"


@pytest.mark.parametrize("body", [b"", b"{", b"statuses=1", SENT[:-1], b"\xff\xfe", b'{"object": "page", "entry": []}'])
def test_signed_but_no_webhook_of_whatsapps(handler, conn, body):
    assert handler.whatsapp(body) == 400
    assert handler.whatsapp(body, signature=whatsapp_signature(body, "other")) == 403
    assert is_untouched(conn)


def test_what_customers_write_is_no_status(handler, conn):
    value = {"messaging_product": "whatsapp", "messages": [{"from": "1", "id": "wamid.1", "type": "text"}]}
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    assert handler.whatsapp(body) == 200
    assert is_untouched(conn)


def test_subscription(handler):
    assert handler.subscribe(challenge="1158201444") == (200, "1158201444")
    assert handler.headers.get_content_type() == "text/plain"  # no page could be made of it
    assert handler.subscribe(challenge="<b>&é") == (200, "<b>&é")
    assert handler.headers.get_content_type() == "text/plain"


@pytest.mark.parametrize("wrong", [
    {"token": "wrong"}, {"token": VERIFY_TOKEN[:-1]}, {"token": VERIFY_TOKEN + "x"}, {"token": ""}, {"token": None},
    {"token": "é"}, {"token": "undefined"}, {"mode": "unsubscribe"}, {"mode": None},
])
def test_no_subscription(handler, wrong):
    status, body = handler.subscribe(**wrong, challenge="1158201444")
    assert status == 403
    assert "1158201444" not in body


# --- both --------------------------------------------------------------------------------------------------------


def test_callbacks_before_their_messages(handler, conn):
    assert handler.twilio(callback("SM1", "undelivered", ("ErrorCode", "30003"))) == 200
    assert handler.twilio(callback("SM1", "sent")) == 200
    assert handler.whatsapp(SENT) == 200
    waiting = conn.execute("SELECT message_key, word FROM msgstatus.unmatched() ORDER BY 1, 2").fetchall()
    assert waiting == [("SM1", "sent"), ("SM1", "undelivered"), ("wamid.1", "sent")]
    add(conn, "SM1")
    add(conn, "wamid.1", provider="whatsapp")
    undelivered = arrived(conn, "SM1")["undelivered"]
    assert message(conn, "SM1") == ("undelivered", undelivered, None, None, undelivered, "30003")
    assert message(conn, "wamid.1")[0] == "sent"
    assert conn.execute("SELECT count(*) FROM msgstatus.unmatched()").fetchone() == (0,)
    assert conn.execute("SELECT count(*) FROM msgstatus.verify()").fetchone() == (0,)


def test_the_role_may_do_nothing_else(role, settings):
    forbidden = [
        "SELECT FROM public.messages", "SELECT FROM public.delivery_log", "UPDATE public.messages SET status = 'read'",
        "INSERT INTO public.delivery_log (sid, status) VALUES ('SM1', 'read')",
        "SELECT msgstatus.apply_status('SM1', 'read')", "SELECT msgstatus.history('SM1')",
        "SELECT msgstatus.check_status('SM1')", "SELECT FROM msgstatus.poll_run",
        "SELECT FROM msgstatus.waiting_callback", "SHOW msgstatus.twilio_account_sid",
    ]
    with psycopg.connect(user=role["PGUSER"], password=role["PGPASSWORD"], autocommit=True) as conn:
        # First, as who may see a setting is not known before the library is loaded.
        for call in "SELECT msgstatus.twilio_callback('', '', '')", "SELECT msgstatus.whatsapp_callback('', '')":
            with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
                conn.execute(call)
        for statement in forbidden:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)


def test_the_handlers_have_that_role(handler, conn):
    assert handler.twilio(FIELDS) == 200
    users = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = %s"
    assert conn.execute(users, (ROLE,)).fetchall() == [(ROLE,)]


def test_what_the_database_can_not_do_now_is_to_be_tried_again(handler, conn):
    add(conn, "SM1")
    conn.execute(f"REVOKE EXECUTE ON FUNCTION {FUNCTIONS} FROM {ROLE}")
    try:
        assert handler.twilio(FIELDS) == 500
        assert handler.whatsapp(SENT) == 500
    finally:
        conn.execute(f"GRANT EXECUTE ON FUNCTION {FUNCTIONS} TO {ROLE}")
    assert is_untouched(conn)
    assert handler.twilio(FIELDS) == 200
    assert handler.whatsapp(SENT) == 200
    assert message(conn, "SM1")[0] == "delivered"


def test_connections_that_were_lost_are_replaced(handler, conn):
    add(conn, "SM1")
    assert handler.twilio(FIELDS) == 200
    theirs = "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE usename = %s"
    ended = conn.execute(theirs, (ROLE,)).fetchall()
    assert ended and all(row == (True,) for row in ended)
    assert handler.twilio(FIELDS) == 200
    assert handler.whatsapp(SENT) == 200
    assert handler.process.poll() is None
    assert len(payloads(conn)) == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_who_may_not_connect_is_not_the_provider(command, settings, role, conn):
    """PostgreSQL says 28000 of a login that it refuses, too."""
    refused = Handler(COMMANDS[command], {"PGUSER": "msgstatus_test_nobody", "PGAPPNAME": ROLE})
    try:
        soon(refused.answers)
        assert refused.twilio(FIELDS) == 500
    finally:
        refused.stop()


def test_the_table_may_be_named(settings, role, conn):
    """Where others make tables, too: they can't stop the handlers that name theirs."""
    conn.execute("DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA other; SELECT msgstatus.create_tables('other')")
    conn.execute(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
    try:
        for command in COMMANDS.values():
            for messages, answer in [("public.messages", 200), ("public.nobody", 500), (None, 500)]:
                named = Handler(command, role | ({"MESSAGES": messages} if messages else {}))
                try:
                    soon(named.answers)
                    assert named.twilio(FIELDS) == answer
                    assert named.whatsapp(SENT) == answer
                finally:
                    named.stop()
        assert len(payloads(conn)) == 2 * len(COMMANDS)
    finally:
        conn.execute(f"REVOKE USAGE ON SCHEMA public FROM {ROLE}; DROP SCHEMA other CASCADE")


def test_more_than_anybody_sends(handler, conn):
    body = SENT + b" " * (3 << 20)
    assert handler.whatsapp(body) == 413
    assert is_untouched(conn)
