# Twilio's own SDK reads from the simulator, and takes it for Twilio.
import datetime
from decimal import Decimal

import pytest
from conftest import ACCOUNT, KEY, SECRET, STRANGER, STRANGETOKEN, SUBACCOUNT, SUBTOKEN, TOKEN, sid, uri
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

UTC = datetime.timezone.utc


def connect(simulator, user=ACCOUNT, secret=TOKEN, account=None):
    client = Client(user, secret, account)
    client.api.base_url = simulator.url
    return client


@pytest.fixture
def client(simulator):
    return connect(simulator)


@pytest.fixture
def week(simulator):
    """100 messages a day for a week, sent one second after they were created; and one that never was."""
    simulator.control(
        "POST",
        "generate",
        {
            "account_sid": ACCOUNT,
            "count": 700,
            "sid_prefix": "SM00",
            "from": "2024-03-01T00:00:00Z",
            "to": "2024-03-07T23:45:36Z",
        },
    )
    simulator.messages({"sid": sid(1 << 40), "life": [{"after": 0, "status": "queued"}]})


def test_fetch(simulator, client):
    simulator.messages(
        {
            "sid": sid(1),
            "from": "+15005550001",
            "to": "+15005550002",
            "body": "Hej då \N{WAVING HAND SIGN}",
            "date_created": "2024-02-29T23:59:58Z",
            "num_segments": 2,
            "life": [
                {"after": 1, "status": "sent"},
                {"after": 3, "status": "undelivered", "error_code": 30003, "error_message": "Unreachable"},
            ],
        }
    )
    message = client.messages(sid(1)).fetch()
    assert (message.sid, message.account_sid, message.status) == (sid(1), ACCOUNT, "undelivered")
    assert (message.from_, message.to) == ("+15005550001", "+15005550002")
    assert message.body == "Hej då \N{WAVING HAND SIGN}"
    assert message.direction == "outbound-api"
    assert (message.error_code, message.error_message) == (30003, "Unreachable")
    assert message.date_created == datetime.datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
    assert message.date_sent == datetime.datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    assert message.date_updated == datetime.datetime(2024, 3, 1, 0, 1, 1, tzinfo=UTC)  # the price
    assert (message.price, message.price_unit) == ("-0.00750", "USD")
    assert Decimal(message.price) == Decimal("-0.0075")
    assert (message.num_segments, message.num_media) == ("2", "0")
    assert message.messaging_service_sid is None
    assert message.api_version == "2010-04-01"
    assert message.uri == uri(ACCOUNT, sid(1))
    assert set(message.subresource_uris) == {"media", "feedback"}


def test_a_message_lives_by_the_clock(simulator, client):
    simulator.messages({"sid": sid(1), "date_created": "2024-03-01T12:00:00Z", "price_after": 3600})
    seen = []
    for now in ["12:00:00", "12:00:01", "12:00:03", "13:00:00"]:
        simulator.control("PUT", "clock", {"now": f"2024-03-01T{now}.100Z"})
        message = client.messages(sid(1)).fetch()
        seen.append((message.status, message.date_sent, message.date_updated, message.price))
    at = lambda *time: datetime.datetime(2024, 3, 1, *time, tzinfo=UTC)
    assert seen == [
        ("queued", None, at(12, 0, 0), None),
        ("sent", at(12, 0, 1), at(12, 0, 1), None),
        ("delivered", at(12, 0, 1), at(12, 0, 3), None),
        ("delivered", at(12, 0, 1), at(13, 0, 0), "-0.00750"),
    ]


def test_list_pages_through(simulator, client, week):
    everything = client.messages.list(page_size=100)
    assert len(everything) == 701 and simulator.stats()["lists"] == 8
    assert everything[0].sid == sid(1 << 40), "what is not sent stands where it was created, which is now"
    sent = [message.date_sent for message in everything[1:]]
    assert sent == sorted(sent, reverse=True)
    assert len({message.sid for message in everything}) == 701
    assert [m.sid for m in client.messages.stream(page_size=100)] == [m.sid for m in everything]


def test_list_is_limited(simulator, client, week):
    assert len(client.messages.list(limit=120, page_size=50)) == 120
    assert simulator.stats()["lists"] == 3
    simulator.control("DELETE", "stats")
    assert len(client.messages.list()) == 701
    assert simulator.stats()["lists"] == 15, "a page is 50 messages if nobody says otherwise"


@pytest.mark.parametrize(
    "after, before, days",
    [
        (datetime.date(2024, 3, 3), None, 5),
        (None, datetime.datetime(2024, 3, 3, 23, 59, 59, tzinfo=UTC), 3),
        (datetime.datetime(2024, 3, 3, 12, tzinfo=UTC), datetime.datetime(2024, 3, 4, 12, tzinfo=UTC), 1),
        (datetime.date(2024, 4, 1), None, 0),
    ],
)
def test_list_by_date_sent(simulator, client, week, after, before, days):
    bounds = {name: value for name, value in [("date_sent_after", after), ("date_sent_before", before)] if value}
    found = client.messages.list(page_size=60, **bounds)
    assert len(found) == 100 * days
    assert simulator.stats()["lists"] == max(1, -(-100 * days // 60))
    for message in found:
        assert after is None or message.date_sent.isoformat() >= after.isoformat()
        assert before is None or message.date_sent <= before


def test_days_are_whole(simulator, week):
    """Written as the documentation has them, which the SDK does not: on and after, on and before."""
    for query, days in [("DateSent%3E=2024-03-03", 5), ("DateSent%3C=2024-03-03", 3), ("DateSent=2024-03-03", 1)]:
        page = simulator.get(f"{uri(ACCOUNT)}?PageSize=1000&{query}").json()
        assert len(page["messages"]) == 100 * days


def test_bounds_belong_to_the_list(simulator, client, week):
    some = client.messages.list(date_sent=datetime.date(2024, 3, 3))
    assert len(some) == 100 and {message.date_sent.day for message in some} == {3}
    first, last = some[-1].date_sent, some[0].date_sent
    assert len(client.messages.list(date_sent_after=first, date_sent_before=last)) == 100
    second = datetime.timedelta(seconds=1)
    assert len(client.messages.list(date_sent_after=first + second, date_sent_before=last - second)) == 98


def test_list_by_number(simulator, client):
    simulator.messages(
        *({"sid": sid(n), "from": f"+1500555{n % 2:04}", "to": f"+1500555{n % 3:04}"} for n in range(12)),
    )
    assert len(client.messages.list(from_="+15005550001")) == 6
    assert len(client.messages.list(to="+15005550002")) == 4
    assert {m.sid for m in client.messages.list(from_="+15005550001", to="+15005550002")} == {sid(5), sid(11)}


def test_pages_forth_and_back(client, week):
    pages = [client.messages.page(page_size=300)]
    while pages[-1].next_page_url:
        pages.append(pages[-1].next_page())
    sids = [[message.sid for message in page] for page in pages]
    assert list(map(len, sids)) == [300, 300, 101]
    assert pages[0].previous_page_url is None
    middle = pages[2].previous_page()
    assert [message.sid for message in middle] == sids[1]
    assert [message.sid for message in middle.previous_page()] == sids[0]
    again = client.messages.get_page(pages[0].next_page_url)
    assert [message.sid for message in again] == sids[1]


def test_pages_do_not_shift_when_messages_come(simulator, client, week):
    first = client.messages.page(page_size=50, date_sent_after=datetime.date(2024, 3, 1))
    seen = [message.sid for message in first]
    simulator.messages(*({"sid": sid(2**50 + n), "date_created": "2024-03-09T00:00:00Z"} for n in range(70)))
    seen += [message.sid for message in first.next_page()]
    assert seen == [f"SM{n:032x}" for n in range(699, 599, -1)]


def code(ask):
    with pytest.raises(TwilioRestException) as raised:
        ask()
    assert raised.value.msg
    return raised.value.status, raised.value.code


def test_errors(simulator, client):
    simulator.messages({"sid": sid(1)}, {"sid": sid(2), "account_sid": STRANGER})
    assert code(lambda: connect(simulator, secret="wrong").messages(sid(1)).fetch()) == (401, 20003)
    assert code(lambda: connect(simulator, user="AC" + "0" * 32).messages(sid(1)).fetch()) == (401, 20003)
    assert code(lambda: client.messages(sid(9)).fetch()) == (404, 20404)
    assert code(lambda: client.messages(sid(2)).fetch()) == (404, 20404), "of another account"
    simulator.misbehave({"status": 429}, times=1)
    assert code(lambda: client.messages(sid(1)).fetch()) == (429, 20429)
    simulator.misbehave({"status": 500}, times=1)
    assert code(lambda: client.messages(sid(1)).fetch()) == (500, 20500)
    assert client.messages(sid(1)).fetch().sid == sid(1)
    assert code(lambda: client.messages.create(to="+15005550001", from_="+15005550006", body="x"))[0] == 405


@pytest.mark.parametrize(
    "query, status, number",
    [
        ("PageSize=1001", 400, 20007),
        ("PageSize=0", 400, 20007),
        ("PageToken=PA" + sid(9), 400, 21481),
        ("PageToken=elsewhere", 400, 21481),
        ("DateSent=%3E%3D2019-08-08", 400, 20001),
        ("DateSent%3E=2019-13-01", 400, 20001),
    ],
)
def test_bad_lists(simulator, client, query, status, number):
    with pytest.raises(TwilioException):
        client.messages.get_page(f"{simulator.url}{uri(ACCOUNT)}?{query}")
    error = simulator.get(f"{uri(ACCOUNT)}?{query}").json()
    assert (error["status"], error["code"]) == (status, number)


def test_who_may_read_what(simulator, client):
    simulator.messages({"sid": sid(1)}, {"sid": sid(2), "account_sid": SUBACCOUNT})
    assert client.api.accounts(SUBACCOUNT).messages(sid(2)).fetch().account_sid == SUBACCOUNT
    below = connect(simulator, SUBACCOUNT, SUBTOKEN)
    assert below.messages(sid(2)).fetch().sid == sid(2)
    assert code(lambda: below.api.accounts(ACCOUNT).messages(sid(1)).fetch()) == (401, 20003)
    key = connect(simulator, KEY, SECRET, ACCOUNT)
    assert [message.sid for message in key.messages.list()] == [sid(1)]
    assert code(lambda: key.api.accounts(SUBACCOUNT).messages(sid(2)).fetch()) == (401, 20003)
    stranger = connect(simulator, STRANGER, STRANGETOKEN)
    assert code(lambda: stranger.api.accounts(ACCOUNT).messages(sid(1)).fetch()) == (401, 20003)
