# Webhooks of Twilio and WhatsApp with Flask and psycopg. The database checks the signature, reads the body and stores
# what it says; the application has only to pass on the request as it came. Its role needs nothing but
#     GRANT EXECUTE ON FUNCTION msgstatus.twilio_callback, msgstatus.whatsapp_callback TO ...
import hmac
import os

import psycopg
from flask import Flask, abort, request
from psycopg_pool import ConnectionPool

PUBLIC_URL = os.environ["PUBLIC_URL"]  # as in https://example.com: what precedes /twilio in the URL given to Twilio
VERIFY_TOKEN = os.environ["WHATSAPP_VERIFY_TOKEN"]  # as entered in Meta's dashboard
# As in app.messages, and the role needs USAGE on that schema. Without, it is the only table that is tracked: good where nobody
# else may make tables in this database.
MESSAGES = os.environ.get("MESSAGES")

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 3 * 1024 * 1024  # a webhook of Meta's may have 1000 statuses
# PGHOST and the others say which server. check replaces connections that were lost.
pool = ConnectionPool(min_size=1, max_size=10, timeout=5, check=ConnectionPool.check_connection, open=True)


def store(call, *parameters):
    with pool.connection() as conn:
        conn.execute(call, parameters)
    return ""


@app.post("/twilio")
def twilio():
    # Twilio signs the URL that it was given. Host says what a proxy or the sender made of it: hence PUBLIC_URL.
    query = request.query_string.decode(errors="replace")
    url = PUBLIC_URL + request.path + (query and "?" + query)
    signature = request.headers.get("X-Twilio-Signature")
    body = request.get_data(as_text=True)
    return store("SELECT msgstatus.twilio_callback(%s, %s, %s, %s)", url, body, signature, MESSAGES)


@app.post("/whatsapp")
def whatsapp():
    # Meta signs the bytes: JSON that was parsed and written again has others.
    signature = request.headers.get("X-Hub-Signature-256")
    return store("SELECT msgstatus.whatsapp_callback(%s, %s, %s)", request.get_data(), signature, MESSAGES)


@app.get("/whatsapp")
def subscribe():
    # Meta asks once, when the URL is entered in its dashboard.
    token = request.args.get("hub.verify_token", "")
    if request.args.get("hub.mode") != "subscribe" or not hmac.compare_digest(token.encode(), VERIFY_TOKEN.encode()):
        abort(403)
    return request.args.get("hub.challenge", ""), {"Content-Type": "text/plain"}


@app.errorhandler(psycopg.Error)
def refuse(error):
    # A wrong signature, a body that is no callback; after anything else the provider is to try again.
    app.logger.error("%s", error)
    return "", {"28000": 403, "22023": 400}.get(error.sqlstate, 500)


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", 8080)))
