# Each misbehaviour is what it is said to be, seen on the wire.
import base64
import gzip
import json
import socket
import zlib

import pytest
import requests
from conftest import ACCOUNT, SUBACCOUNT, SUBTOKEN, TOKEN, eventually, sid, uri

ONE = uri(ACCOUNT, sid(1))
MANY = uri(ACCOUNT)


@pytest.fixture(autouse=True)
def messages(simulator):
    simulator.messages(*({"sid": sid(n), "date_created": f"2024-03-01T12:00:{n:02}Z"} for n in range(1, 9)))


class Wire:
    """A connection without a library between."""

    def __init__(self, simulator, path, timeout=10):
        host, port = simulator.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        secret = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        headers = [f"Host: {host}:{port}", f"Authorization: Basic {secret}", "Connection: close"]
        self.socket.sendall("\r\n".join([f"GET {path} HTTP/1.1", *headers, "", ""]).encode())
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read(self):
        """All that comes, and how it ends."""
        while True:
            try:
                part = self.socket.recv(65536)
            except (ConnectionResetError, TimeoutError) as error:
                return type(error).__name__
            if not part:
                return "closed"
            self.data += part

    def parts(self):
        head, _, body = self.data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        return lines[0], {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}, body


def normal(simulator, path=ONE):
    simulator.control("DELETE", "misbehave")
    return simulator.get(path).json()


def test_statuses(simulator):
    for status, code in [(401, 20003), (403, 20403), (404, 20404), (429, 20429), (500, 20500), (503, 20503)]:
        simulator.misbehave({"status": status})
        answer = simulator.get(ONE)
        assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (status, code, status)
        assert answer.headers["Content-Type"] == "application/json" and "Retry-After" not in answer.headers
        assert set(answer.json()) == {"code", "message", "more_info", "status"}
    assert simulator.stats()["by_status"] == dict.fromkeys("401 403 404 429 500 503".split(), 1)
    assert simulator.stats()["unauthorized"] == 0, "it was authorized, but misbehaved"


def test_headers_and_bodies(simulator):
    simulator.misbehave({"status": 429, "headers": {"Retry-After": 7}})
    answer = simulator.get(ONE)
    assert (answer.headers["Retry-After"], answer.json()["code"]) == ("7", 20429)
    page = "<html><body>503 Service Temporarily Unavailable</body></html>"
    simulator.misbehave({"status": 503, "body": page})
    answer = simulator.get(ONE)
    assert (answer.status_code, answer.text) == (503, page)
    assert answer.headers["Content-Type"].startswith("text/html")
    simulator.misbehave({"body": {"a": 1}, "headers": {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}})
    answer = simulator.get(ONE)
    assert (answer.status_code, answer.json()) == (200, {"a": 1})
    assert answer.headers["Date"] == "Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirects(simulator, status):
    simulator.misbehave({"status": status, "headers": {"Location": "http://127.0.0.1:9/elsewhere"}})
    answer = simulator.get(ONE)
    assert (answer.status_code, answer.text) == (status, "")
    assert answer.headers["Location"] == "http://127.0.0.1:9/elsewhere"


@pytest.mark.parametrize("action, end", [("reset", "ConnectionResetError"), ("cut", "closed")])
def test_broken_in_mid_body(simulator, action, end):
    whole = len(simulator.get(ONE).content)
    simulator.misbehave({action: True})
    with Wire(simulator, ONE) as wire:
        assert wire.read() == end
        status, headers, body = wire.parts()
    assert status == "HTTP/1.1 200 OK" and int(headers["content-length"]) == whole
    assert len(body) == whole // 2
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        simulator.get(ONE)
    assert [request["complete"] for request in simulator.requests()] == [True, False, False]


def test_dropped(simulator):
    simulator.misbehave({"drop": True})
    with Wire(simulator, ONE) as wire:
        wire.read()
        assert wire.data == b""


def test_hangs_after_the_headers(simulator):
    simulator.misbehave({"hang": True})
    with Wire(simulator, ONE) as wire:
        while b"\r\n\r\n" not in wire.data:
            wire.data += wire.socket.recv(65536)
        wire.socket.settimeout(0.2)
        assert wire.read() == "TimeoutError"
        status, headers, body = wire.parts()
        assert status == "HTTP/1.1 200 OK" and int(headers["content-length"]) > 0 and body == b""
        assert simulator.stats()["concurrent"] == 1
        assert simulator.requests()[0]["finished_ms"] is None
    eventually(lambda: simulator.stats()["concurrent"] == 0)
    assert simulator.requests()[0]["complete"] is False


def test_slow(simulator):
    simulator.misbehave({}, delay_ms=150)
    answer = simulator.get(ONE)
    assert answer.json()["sid"] == sid(1) and answer.elapsed.total_seconds() >= 0.15
    simulator.misbehave({}, delay_ms=3000)
    with Wire(simulator, ONE, timeout=0.05) as wire:
        assert (wire.read(), wire.data) == ("TimeoutError", b"")


def test_drips(simulator):
    expected = normal(simulator)
    simulator.misbehave({"drip_ms": 1})
    answer = simulator.get(ONE)
    assert answer.json() == expected
    request = simulator.requests()[-1]
    assert request["finished_ms"] - request["started_ms"] >= len(answer.content)


@pytest.mark.parametrize("path", [ONE, MANY, MANY + "?DateSent%3C=2008-01-02"])
def test_huge(simulator, path):
    expected = normal(simulator, path)
    simulator.misbehave({"huge": 3_000_000})
    answer = simulator.get(path)
    assert len(answer.content) == 3_000_000
    content = answer.json()
    first = content["messages"][0] if content.get("messages") else content
    assert len(first["body"]) > 2_990_000
    first["body"] = "simulated"
    assert content == expected | ({"body": "simulated"} if path.endswith("02") else {})


def test_a_hundred_megabytes(simulator):
    simulator.misbehave({"huge": 100 << 20})
    with simulator.get(ONE, stream=True) as answer:
        assert sum(map(len, answer.iter_content(1 << 20))) == 100 << 20


def test_gzip(simulator):
    expected = normal(simulator)
    simulator.misbehave({"gzip": True})
    with Wire(simulator, ONE) as wire:
        wire.read()
        _, headers, body = wire.parts()
        assert headers["content-encoding"] == "gzip"
    answer = simulator.get(ONE)
    assert answer.json() == expected and answer.headers["Content-Encoding"] == "gzip"
    raw = simulator.get(ONE, stream=True).raw.read(decode_content=False)
    assert json.loads(gzip.decompress(raw)) == expected


def test_gzip_bomb(simulator):
    simulator.misbehave({"gzip_bomb": 50_000_000})
    with simulator.get(ONE, stream=True) as answer:
        raw = answer.raw.read(decode_content=False)
    assert answer.headers["Content-Encoding"] == "gzip" and len(raw) < 200_000
    inflate, size, rest = zlib.decompressobj(wbits=31), 0, raw
    while rest:
        size += len(inflate.decompress(rest, 1 << 20))
        rest = inflate.unconsumed_tail
    assert inflate.eof and size == 50_000_000


def test_no_json(simulator):
    simulator.misbehave({"invalid_json": True})
    answer = simulator.get(ONE)
    assert answer.status_code == 200 and answer.text.startswith("{")
    with pytest.raises(ValueError):
        answer.json()
    simulator.misbehave({"empty": True})
    answer = simulator.get(ONE)
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")


def test_strange_resources(simulator):
    expected = normal(simulator)
    for action, difference in [
        ({"unknown_status": True}, {"status": "teleported"}),
        ({"unknown_status": "rerouted"}, {"status": "rerouted"}),
        ({"null_status": True}, {"status": None}),
    ]:
        simulator.misbehave(action)
        assert simulator.get(ONE).json() == expected | difference
    simulator.misbehave({"missing_fields": ["status", "price", "date_sent"]})
    assert set(expected) - set(simulator.get(ONE).json()) == {"status", "price", "date_sent"}
    simulator.misbehave({"extra_fields": True})
    more = simulator.get(ONE).json()
    assert expected.items() <= more.items()
    types = {type(value) for field, value in more.items() if field not in expected}
    assert types >= {dict, list, int, float, bool, str, type(None)}


def test_strange_lists(simulator):
    simulator.misbehave({"extra_fields": True, "unknown_status": True})
    page = simulator.get(MANY).json()
    assert {message["status"] for message in page["messages"]} == {"teleported"}
    assert "carrier" in page and all("carrier" in message for message in page["messages"])
    simulator.misbehave({"null_status": True}, sid=sid(3))
    page = simulator.get(MANY).json()
    assert [m["sid"] for m in page["messages"] if m["status"] is None] == [sid(3)]
    assert simulator.get(MANY + "?PageSize=2").json()["messages"][0]["status"] == "delivered", "not on this page"


def test_wrong_sid(simulator):
    simulator.misbehave({"wrong_sid": True})
    other = simulator.get(ONE).json()
    assert other == normal(simulator, uri(ACCOUNT, other["sid"])) and other["sid"] != sid(1)
    simulator.misbehave({"wrong_sid": sid(5)})
    assert simulator.get(ONE).json() == normal(simulator, uri(ACCOUNT, sid(5)))
    simulator.misbehave({"wrong_sid": sid(99)})
    unknown = simulator.get(ONE).json()
    assert (unknown["sid"], unknown["uri"]) == (sid(99), uri(ACCOUNT, sid(99)))


def test_a_list_that_goes_on_elsewhere(simulator):
    simulator.misbehave({"next_page_uri": "https://elsewhere.example/2010-04-01/next"})
    assert simulator.get(MANY).json()["next_page_uri"] == "https://elsewhere.example/2010-04-01/next"


def test_a_list_without_end(simulator):
    simulator.misbehave({"repeat_first_page": True})
    path, seen = MANY + "?DateSent%3E=2024-03-01&PageSize=3", []
    for number in range(5):
        page = simulator.get(path).json()
        assert (page["page"], page["uri"]) == (number, path + "&Page=0" * (number == 0))
        seen.append([message["sid"] for message in page["messages"]])
        path = page["next_page_uri"]
    assert seen == [[sid(8), sid(7), sid(6)]] * 5


def test_the_first_rule_that_matches(simulator):
    simulator.messages({"sid": sid(20), "account_sid": SUBACCOUNT})
    simulator.control(
        "PUT",
        "misbehave",
        [
            {"kind": "fetch", "sid": sid(1), "after": 1, "times": 2, "action": {"status": 500}},
            {"kind": "list", "action": {"status": 503}},
            {"account": SUBACCOUNT, "action": {"status": 403}},
            {"sid": sid(1), "action": {"status": 429}},
        ],
    )
    assert [simulator.get(ONE).status_code for _ in range(4)] == [429, 500, 500, 429]
    assert simulator.get(uri(ACCOUNT, sid(2))).status_code == 200
    assert simulator.get(MANY).status_code == 503
    assert simulator.get(uri(SUBACCOUNT, sid(20)), (SUBACCOUNT, SUBTOKEN)).status_code == 403
    assert [(rule["seen"], rule["struck"]) for rule in simulator.control("GET", "misbehave")] == [
        (3, 2),
        (1, 1),
        (1, 1),
        (2, 2),
    ]
    assert [request["rule"] for request in simulator.requests()] == [3, 0, 0, 3, None, 1, 2]
    assert simulator.stats()["misbehaved"] == 6
    simulator.control("DELETE", "misbehave")
    assert simulator.get(ONE).status_code == 200


def test_actions_combine(simulator):
    simulator.misbehave({"unknown_status": True, "extra_fields": True, "gzip": True}, delay_ms=1)
    answer = simulator.get(ONE)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json()["status"] == "teleported" and "carrier" in answer.json()
