# Every answer against the schemas of Twilio's OpenAPI file, where that is at hand.
import email.utils
import functools
import json
import os
import pathlib
import re

import pytest
from conftest import ACCOUNT, sid, uri
from jsonschema import FormatChecker
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

FILE = pathlib.Path(os.environ.get("TWILIO_OPENAPI", ""))
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="no OpenAPI file of Twilio")

STATUSES = [
    *["accepted", "scheduled", "canceled", "queued", "sending", "sent", "failed", "delivered", "undelivered"],
    *["receiving", "received", "read", "partially_delivered"],
]
FETCH = "/2010-04-01/Accounts/{AccountSid}/Messages/{Sid}.json"
LIST = "/2010-04-01/Accounts/{AccountSid}/Messages.json"

formats = FormatChecker(formats=())


@formats.checks("date-time-rfc-2822", raises=ValueError)
def is_rfc_2822(text):
    if text is None:
        return True
    same = email.utils.format_datetime(email.utils.parsedate_to_datetime(text)) == text
    return same and text.endswith(" +0000")


@formats.checks("uri")
def is_uri(text):
    return text is None or re.fullmatch(r"/2010-04-01/[!-~]*", text) is not None


@formats.checks("uri-map")
def is_uri_map(uris):
    return uris is None or all(map(is_uri, uris.values()))


@formats.checks("phone-number")
def is_sender(text):
    return text is None or re.fullmatch(r"([a-z]+:)?\S+", text) is not None


@formats.checks("currency")
def is_currency(text):
    return text is None or re.fullmatch(r"[A-Za-z]{3}", text) is not None


@pytest.fixture(scope="module")
def openapi():
    return json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def valid(openapi):
    """Checks the answer of an endpoint, which has to have all the fields that the schemas have, and no others."""
    registry = Registry().with_resource("urn:twilio", DRAFT202012.create_resource(openapi))
    message = openapi["components"]["schemas"]["api.v2010.account.message"]

    def check(answer, path):
        assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
        content = answer.json()
        steps = ["paths", path, "get", "responses", "200", "content", "application/json", "schema"]
        schema = {"$ref": "urn:twilio#/" + "/".join(step.replace("/", "~1") for step in steps)}
        OAS30Validator(schema, registry=registry, format_checker=formats).validate(content)
        if "messages" in content:
            page = functools.reduce(dict.get, steps, openapi)
            assert set(content) == set(page["properties"])
        for each in content.get("messages", [content]):
            assert set(each) == set(message["properties"])
        return content

    return check


def domain():
    """Messages of each status, with and without error, price, service and a channel."""
    number = 0
    for status in STATUSES:
        for error in [None, 30007]:
            for price in [None, "-0.00750"]:
                for service in [None, "MG" + "d" * 32]:
                    for channel in ["", "whatsapp:"]:
                        number += 1
                        yield {
                            "sid": sid(number),
                            "from": f"{channel}+15005550006",
                            "to": f"{channel}+1555{number:07}",
                            "direction": "inbound" if status.startswith("receiv") else "outbound-api",
                            "messaging_service_sid": service,
                            "date_created": "2024-03-01T12:00:00Z",
                            "price": price,
                            "life": [
                                {
                                    "after": 0,
                                    "status": status,
                                    "error_code": error,
                                    "error_message": error and "Carrier violation",
                                }
                            ],
                        }


def test_fetch(simulator, valid):
    messages = list(domain())
    simulator.messages(*messages)
    seen = set()
    for message in messages:
        answer = valid(simulator.get(uri(ACCOUNT, message["sid"])), FETCH)
        assert answer["status"] == message["life"][0]["status"]
        assert (answer["price"], answer["error_code"]) == (message["price"], message["life"][0]["error_code"])
        seen.add((answer["status"], answer["from"] is None, answer["date_sent"] is None))
    assert {status for status, *_ in seen} == set(STATUSES)
    assert ("scheduled", True, True) in seen and ("delivered", False, False) in seen


def test_every_moment_of_a_life(simulator, valid):
    statuses = ["queued", "sending", "sent", "delivered", "read"]
    life = [{"after": second, "status": status} for second, status in enumerate(statuses)]
    simulator.messages({"sid": sid(1), "date_created": "2024-03-01T12:00:00Z", "price_after": 6, "life": life})
    seen = []
    for second in range(8):
        simulator.control("PUT", "clock", {"now": f"2024-03-01T12:00:{second:02}.500Z"})
        answer = valid(simulator.get(uri(ACCOUNT, sid(1))), FETCH)
        seen.append((answer["status"], answer["price"]))
    assert len(set(seen)) == 6


@pytest.mark.parametrize(
    "query, count",
    [
        ("", 208),
        ("?PageSize=7", 208),
        ("?PageSize=1000", 208),
        ("?PageSize=50&DateSent%3E=2024-03-01&DateSent%3C=2024-03-01", 96),
        ("?PageSize=50&DateSent=2024-03-01T12%3A00%3A00Z", 96),
        ("?DateSent%3C=2008-01-02", 0),
        ("?To=%2B15550000001&From=%2B15005550006", 1),
    ],
)
def test_lists(simulator, valid, query, count):
    simulator.messages(*domain())
    path, sids, previous = uri(ACCOUNT) + query, [], None
    while path:
        page = valid(simulator.get(path), LIST)
        assert (page["previous_page_uri"] is None) == (previous is None)
        if previous:
            valid(simulator.get(page["previous_page_uri"]), LIST)
            assert page["uri"] == path and page["start"] == previous["end"] + 1
        sids += [message["sid"] for message in page["messages"]]
        path, previous = page["next_page_uri"], page
    assert len(sids) == len(set(sids)) == count


def test_the_addresses_are_those_of_the_examples(simulator, openapi):
    """The addresses of pages in Twilio's examples are what the simulator writes for the same queries."""
    examples = openapi["paths"][LIST]["get"]["responses"]["200"]["content"]["application/json"]["examples"]
    assert examples
    for example in examples.values():
        page = example["value"]
        answer = simulator.get(page["uri"]).json()
        for field in ["uri", "first_page_uri", "page", "page_size", "start", "previous_page_uri"]:
            assert answer[field] == page[field]
    full = examples["readFullPage1"]["value"]
    numbers = {"from": "+987654321", "to": "+123456789"}
    last = full["messages"][-1]["sid"]
    simulator.messages(
        {"sid": last, "date_created": "2024-03-01T12:00:00Z"} | numbers,
        {"sid": sid(1), "date_created": "2024-03-02T12:00:00Z"} | numbers,
        {"sid": sid(2), "date_created": "2024-02-01T12:00:00Z"} | numbers,
    )
    path = full["uri"].replace(full["messages"][0]["account_sid"], ACCOUNT)
    page = simulator.get(path).json()
    assert page["next_page_uri"] == full["next_page_uri"].replace(full["messages"][0]["account_sid"], ACCOUNT)
    assert (page["end"], len(page["messages"])) == (full["end"], 2)


def test_the_check_would_notice(valid, openapi):
    """Answers that are not Twilio's do not pass."""
    import jsonschema
    import requests

    sample = openapi["paths"][FETCH]["get"]["responses"]["200"]["content"]["application/json"]
    sample = sample["examples"]["fetch"]["value"]

    def answer(**changes):
        response = requests.Response()
        response.status_code, response.headers["Content-Type"] = 200, "application/json"
        response._content = json.dumps(sample | changes).encode()
        return response

    valid(answer(), FETCH)
    for changes in [
        {"status": "teleported"},
        {"price": -0.0075},
        {"error_code": "30007"},
        {"num_segments": 1},
        {"date_sent": "2024-03-01T12:00:00Z"},
        {"sid": "SM1"},
    ]:
        with pytest.raises(jsonschema.ValidationError):
            valid(answer(**changes), FETCH)
