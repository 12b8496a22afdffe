# What the tests of webhooks share: who the provider is, requests as it signs them (Twilio's by its own SDK), and what became of
# them in the database.
import hashlib
import hmac
import json
import pathlib
import secrets
import time

from twilio.request_validator import RequestValidator

ROOT = pathlib.Path(__file__).resolve().parents[3]
ROLE = "msgstatus_test_webhooks"
PUBLIC_URL = "https://hooks.example.com"
ACCOUNT = "AC" + secrets.token_hex(16)
AUTH_TOKEN, APP_SECRET, VERIFY_TOKEN, PASSWORD = (secrets.token_hex(16) for _ in range(4))
SETTINGS = {
    "msgstatus.twilio_account_sid": ACCOUNT,
    "msgstatus.twilio_auth_token": AUTH_TOKEN,
    "msgstatus.whatsapp_app_secret": APP_SECRET,
}
FUNCTIONS = "msgstatus.twilio_callback(text, text, text, regclass), msgstatus.whatsapp_callback(bytea, text, regclass)"


def soon(condition, seconds=20):
    """Waits until the condition gives something."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
    return result


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


FIELDS = callback("SM1", "delivered")
SENT = webhook({"id": "wamid.1", "status": "sent", "timestamp": "1750064701"})
