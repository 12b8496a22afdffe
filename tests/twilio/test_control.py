# The control, the clock, the statistics, and that the program is what it says on its command line.
import email.utils
import json
import os
import shutil
import subprocess
import time

import certifi
import pytest
import requests
from conftest import ACCOUNT, KEY, SECRET, STRANGER, SUBACCOUNT, SUBTOKEN, TOKEN, Simulator, eventually, sid, uri

ONE = uri(ACCOUNT, sid(1))


def test_statistics(simulator):
    simulator.messages({"sid": sid(1)}, {"sid": sid(2), "account_sid": SUBACCOUNT})
    simulator.get(ONE)
    simulator.get(uri(ACCOUNT) + "?PageSize=5&DateSent%3E=2024-03-01")
    simulator.get(uri(SUBACCOUNT, sid(2)))
    simulator.get(ONE, (ACCOUNT, "wrong"))
    simulator.get(ONE, None)
    simulator.get("/elsewhere", None)
    assert simulator.stats() == {
        "requests": 6,
        "fetches": 4,
        "lists": 1,
        "others": 1,
        "unauthorized": 2,
        "throttled": 0,
        "misbehaved": 0,
        "by_status": {"200": 3, "401": 2, "404": 1},
        "by_account": {ACCOUNT: 4, SUBACCOUNT: 1},
        "concurrent": 0,
        "max_concurrent": 1,
        "max_concurrent_by_account": {ACCOUNT: 1, SUBACCOUNT: 1},
        "messages": 2,
    }
    simulator.control("DELETE", "stats")
    assert simulator.stats()["requests"] == 0 and simulator.requests() == []


def test_requests_are_remembered_without_their_secrets(simulator):
    simulator.messages({"sid": sid(1)})
    simulator.get(ONE, (KEY, SECRET))
    simulator.get(uri(ACCOUNT) + "?PageSize=5&DateSent%3E=2024-03-01")
    simulator.get("/elsewhere?x=1", None)
    requested = simulator.requests()
    host = simulator.url.removeprefix("http://")
    common = {"method": "GET", "complete": True, "rule": None, "host": host}
    fetch = {"kind": "fetch", "path": ONE, "account": ACCOUNT, "sid": sid(1), "query": "", "params": {}}
    lists = {"kind": "list", "path": uri(ACCOUNT), "account": ACCOUNT, "sid": None}
    lists |= {"query": "PageSize=5&DateSent%3E=2024-03-01", "params": {"PageSize": "5", "DateSent>": "2024-03-01"}}
    other = {"kind": "other", "path": "/elsewhere", "account": None, "sid": None, "query": "x=1", "params": {"x": "1"}}
    untimed = [{name: value for name, value in r.items() if not name.endswith("_ms")} for r in requested]
    assert untimed == [
        common | fetch | {"status": 200, "user": KEY},
        common | lists | {"status": 200, "user": ACCOUNT},
        common | other | {"status": 404, "user": None},
    ]
    times = [time for request in requested for time in (request["started_ms"], request["finished_ms"])]
    assert times == sorted(times)
    assert SECRET not in json.dumps(requested) and TOKEN not in json.dumps(requested)


def test_the_last_ten_thousand_are_remembered(simulator):
    simulator.messages({"sid": sid(1)})
    with requests.Session() as session:
        for _ in range(10_005):
            session.get(simulator.url + ONE, auth=(ACCOUNT, TOKEN), timeout=10)
    requested = simulator.requests()
    assert len(requested) == 10_000 and simulator.stats()["requests"] == 10_005
    assert all(request["status"] == 200 for request in requested)


def test_one_after_the_other_is_never_two_at_once(simulator):
    """Each over a connection of its own: that the next is asked is no reason to count both."""
    simulator.control(
        "POST",
        "generate",
        {
            "account_sid": ACCOUNT,
            "count": 1000,
            "sid_prefix": "SM00",
            "from": "2024-03-01T00:00:00Z",
            "to": "2024-03-02T00:00:00Z",
        },
    )
    for _ in range(50):
        simulator.get(uri(ACCOUNT) + "?PageSize=1000")
        simulator.get(uri(ACCOUNT, sid(1)))
    assert simulator.stats()["max_concurrent"] == 1


def test_concurrency(simulator):
    simulator.messages({"sid": sid(1)}, {"sid": sid(2), "account_sid": SUBACCOUNT})
    simulator.misbehave({"hang": True}, times=3)
    simulator.control("PUT", "concurrency", {"limit": 3})
    waiting = [simulator.get(ONE, stream=True) for _ in range(3)]
    assert [answer.headers["Twilio-Concurrent-Requests"] for answer in waiting] == ["1", "2", "3"]
    refused = simulator.get(ONE)
    assert (refused.status_code, refused.json()["code"]) == (429, 20429)
    assert refused.headers["Twilio-Concurrent-Requests"] == "4"
    other = uri(SUBACCOUNT, sid(2))
    assert simulator.get(other, (SUBACCOUNT, SUBTOKEN)).status_code == 200, "each account has its own limit"
    stats = simulator.stats()
    assert (stats["throttled"], stats["concurrent"], stats["max_concurrent"]) == (1, 3, 4)
    assert stats["max_concurrent_by_account"] == {ACCOUNT: 4, SUBACCOUNT: 1}
    simulator.control("PUT", "concurrency", {"limit": None})
    assert simulator.get(ONE).status_code == 200
    simulator.control("PUT", "concurrency", {"limit": 3})
    waiting.pop().close()
    eventually(lambda: simulator.stats()["concurrent"] == 2)
    assert simulator.get(ONE).status_code == 200
    for answer in waiting:
        answer.close()


def test_the_clock(simulator):
    simulator.messages({"sid": sid(1)})
    for offset in [-86_400, 3600.5, 0]:
        simulator.control("PUT", "clock", {"offset_seconds": offset})
        before = time.time()
        date = email.utils.parsedate_to_datetime(simulator.get(ONE).headers["Date"]).timestamp()
        assert before - 1 <= date - offset <= time.time() + 1
    simulator.control("PUT", "clock", {"now": "2031-01-01T00:00:00+01:00"})
    answer = simulator.get(ONE)
    assert answer.headers["Date"].startswith("Tue, 31 Dec 2030 23:0")
    assert answer.headers["Twilio-Request-Id"].startswith("RQ") and len(answer.headers["Twilio-Request-Id"]) == 34
    simulator.messages({"sid": sid(2)})
    assert simulator.get(uri(ACCOUNT, sid(2))).json()["date_created"].startswith("Tue, 31 Dec 2030 23:0")


def test_messages_come_and_go(simulator):
    simulator.messages({"sid": sid(1), "body": "first"}, {"sid": sid(2)})
    simulator.messages({"sid": sid(1), "body": "second"})
    assert simulator.get(ONE).json()["body"] == "second" and simulator.stats()["messages"] == 2
    simulator.control("DELETE", "messages/" + sid(1))
    assert simulator.get(ONE).status_code == 404
    assert requests.delete(f"{simulator.url}/_control/messages/{sid(1)}", timeout=10).status_code == 404
    simulator.control("DELETE", "messages")
    assert simulator.get(uri(ACCOUNT)).json()["messages"] == []


def test_generated_messages(simulator):
    order = {
        "account_sid": ACCOUNT,
        "count": 4,
        "sid_prefix": "MM00",
        "start": 254,
        "from": "2024-03-01T00:00:00Z",
        "to": "2024-03-01T03:00:00Z",
        "life": [{"after": 60, "status": "sent"}],
        "sender": "+15005550001",
        "price": None,
    }
    simulator.control("POST", "generate", order)
    found = simulator.get(uri(ACCOUNT)).json()["messages"]
    assert [message["sid"] for message in found] == [f"MM{number:032x}" for number in [257, 256, 255, 254]]
    assert [message["date_sent"][17:22] for message in found] == ["03:01", "02:01", "01:01", "00:01"]
    assert {(message["from"], message["status"], message["price"]) for message in found} == {
        ("+15005550001", "sent", None)
    }
    assert len({message["to"] for message in found}) == 4


def test_a_day_of_200000_messages_is_paged_through_in_no_time(simulator):
    began = time.monotonic()
    simulator.control(
        "POST",
        "generate",
        {
            "account_sid": ACCOUNT,
            "count": 200_000,
            "sid_prefix": "SM00",
            "from": "2024-03-01T00:00:00Z",
            "to": "2024-03-01T23:59:00Z",
        },
    )
    generated = time.monotonic()
    path, count = uri(ACCOUNT) + "?PageSize=1000&DateSent%3E=2024-03-01", 0
    slowest = 0
    while path:
        asked = time.monotonic()
        answer = simulator.get(path)
        slowest = max(slowest, time.monotonic() - asked)
        page = answer.json()
        count += len(page["messages"])
        path = page["next_page_uri"]
    assert count == 200_000 and simulator.stats()["lists"] == 200
    # Generous: the machine may be busy. A scan for each page takes longer by far.
    assert generated - began < 30 and slowest < 10 and time.monotonic() - generated < 60


@pytest.mark.parametrize(
    "method, what, body",
    [
        ("PUT", "misbehave", [{"action": {"explode": True}}]),
        ("PUT", "misbehave", [{"actions": {}}]),
        ("PUT", "misbehave", [{"action": {"status": 100}}]),
        ("PUT", "misbehave", [{"action": {"headers": {"a b": "c"}}}]),
        ("PUT", "clock", {}),
        ("POST", "messages", [{"sid": sid(1)}]),
        ("POST", "messages", [{"sid": sid(1), "account_sid": ACCOUNT, "state": "sent"}]),
        ("POST", "generate", {"account_sid": ACCOUNT}),
        ("PUT", "accounts", [{"sid": ACCOUNT}]),
    ],
)
def test_what_is_not_understood_is_refused(simulator, method, what, body):
    answer = requests.request(method, f"{simulator.url}/_control/{what}", json=body, timeout=10)
    assert answer.status_code == 400 and answer.json()["error"]
    assert simulator.stats()["requests"] == 0


def test_unknown_controls(simulator):
    assert requests.get(simulator.url + "/_control/elsewhere", timeout=10).status_code == 404
    assert simulator.stats()["requests"] == 0


def test_accounts_are_replaced(simulator):
    simulator.messages({"sid": sid(1)})
    assert simulator.get(ONE).status_code == 200
    simulator.control("PUT", "accounts", [{"sid": STRANGER, "auth_token": "x"}])
    answer = simulator.get(ONE)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Basic")


def test_it_ends_with_its_stdin():
    Simulator().ends_with_its_stdin()


def test_usage():
    wrong = subprocess.run([os.environ["TWILIO_SIMULATOR"], "--loud"], capture_output=True, text=True, timeout=10)
    assert wrong.returncode == 1 and wrong.stderr.startswith("usage:") and wrong.stdout == ""


def is_tls(simulator):
    assert simulator.url.startswith("https://127.0.0.1:")
    simulator.control("PUT", "accounts", [{"sid": ACCOUNT, "auth_token": TOKEN}])
    simulator.messages({"sid": sid(1)})
    assert simulator.get(ONE).json()["sid"] == sid(1)
    by_name = simulator.url.replace("127.0.0.1", "localhost")
    answer = requests.get(by_name + ONE, auth=(ACCOUNT, TOKEN), verify=simulator.verify, timeout=10)
    assert answer.json()["sid"] == sid(1)
    with pytest.raises(requests.exceptions.SSLError):
        simulator.get(ONE, verify=certifi.where())
    simulator.misbehave({"reset": True})
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        simulator.get(ONE)


def test_tls_self_signed(tmp_path):
    with Simulator("--tls-self-signed", tmp_path, verify=tmp_path / "cert.pem") as simulator:
        is_tls(simulator)
    assert [file.name for file in tmp_path.iterdir()] == ["cert.pem"]


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")
def test_tls_from_files(tmp_path):
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=simulator"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with Simulator("--tls", certificate, key, verify=certificate) as simulator:
        is_tls(simulator)
