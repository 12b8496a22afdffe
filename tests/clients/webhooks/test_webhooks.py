# The web handlers of doc/webhooks as an application has them: processes that answer HTTP, with a role that may do
# nothing but call the two functions. Twilio's requests are signed by its own SDK.
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
import time
import urllib.parse

import psycopg
import pytest
from psycopg import sql
from twilio.request_validator import RequestValidator

ROOT = pathlib.Path(__file__).resolve().parents[3]
COMMANDS = {
    "flask": [sys.executable, ROOT / "doc/webhooks/handler.py"],
    # Where node finds its modules, too: scripts/clients makes that directory.
    "express": ["node", pathlib.Path(os.environ["MSGSTATUS_NODE_DIR"], "handler.mjs")],
}
ROLE = "msgstatus_test_webhooks"
PUBLIC_URL = "https://hooks.example.com"
ACCOUNT = "AC" + secrets.token_hex(16)
AUTH_TOKEN, APP_SECRET, VERIFY_TOKEN, PASSWORD = (secrets.token_hex(16) for _ in range(4))
SETTINGS = {
    "msgstatus.twilio_account_sid": ACCOUNT,
    "msgstatus.twilio_auth_token": AUTH_TOKEN,
    "msgstatus.whatsapp_app_secret": APP_SECRET,
}
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}  # as Twilio has it
JSON = {"Content-Type": "application/json"}
FUNCTIONS = "msgstatus.twilio_callback(text, text, text, regclass), msgstatus.whatsapp_callback(bytea, text, regclass)"


def soon(condition, seconds=20):
    """Waits until the condition gives something."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
    return result


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


def twilio_signature(fields, target="/twilio", token=AUTH_TOKEN, base=PUBLIC_URL):
    values = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)

    class Form(dict):  # how the SDK is given names with several values
        getlist = dict.__getitem__

    return RequestValidator(token).compute_signature(base + target, Form(values))


def whatsapp_signature(body, secret=APP_SECRET):
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def callback(sid, status, *more):
    """The parameters of a callback of Twilio's."""
    return [
        ("AccountSid", ACCOUNT), ("ApiVersion", "2010-04-01"), ("From", "+12025550100"), ("To", "+12025550101"),
        ("MessageSid", sid), ("MessageStatus", status), ("SmsSid", sid), ("SmsStatus", status), *more,
    ]


def webhook(*statuses):
    """A webhook of Meta's with these statuses."""
    value = {"messaging_product": "whatsapp", "statuses": statuses}
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def add(conn, *sids, provider="twilio"):
    conn.cursor().executemany("INSERT INTO messages (sid, provider) VALUES (%s, %s)", [(sid, provider) for sid in sids])


def message(conn, sid):
    row = "SELECT status, sent_at, delivered_at, read_at, failed_at, error_code FROM messages WHERE sid = %s"
    return conn.execute(row, (sid,)).fetchone()


def arrived(conn, sid):
    """The times at which the callbacks about a message came, by their words."""
    return dict(conn.execute("SELECT status, created_at FROM delivery_log WHERE sid = %s", (sid,)).fetchall())


def payloads(conn):
    return [row[0] for row in conn.execute("SELECT payload FROM delivery_log ORDER BY delivery_id")]


def is_untouched(conn):
    """Nothing was stored, and the messages are as they were."""
    log = conn.execute("SELECT count(*) FROM delivery_log").fetchone()
    moved = conn.execute("SELECT count(*) FROM messages WHERE status <> 'queued'").fetchone()
    waiting = conn.execute("SELECT count(*) FROM msgstatus.unmatched()").fetchone()
    return (log, moved, waiting) == ((0,), (0,), (0,))


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


FIELDS = callback("SM1", "delivered")
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


SENT = webhook({"id": "wamid.1", "status": "sent", "timestamp": "1750064701"})
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
