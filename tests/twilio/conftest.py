# What the tests of the simulator share: one that runs, fresh for each test, with the accounts below.
import os
import subprocess
import time

import pytest
import requests

ACCOUNT, TOKEN = "AC" + "a" * 32, "token of the account"
KEY, SECRET = "SK" + "a" * 32, "secret of the key"
SUBACCOUNT, SUBTOKEN = "AC" + "b" * 32, "token of the subaccount"
STRANGER, STRANGETOKEN = "AC" + "c" * 32, "token of a stranger"
ACCOUNTS = [
    {"sid": ACCOUNT, "auth_token": TOKEN, "parent": None, "api_keys": [{"sid": KEY, "secret": SECRET}]},
    {"sid": SUBACCOUNT, "auth_token": SUBTOKEN, "parent": ACCOUNT, "api_keys": []},
    {"sid": STRANGER, "auth_token": STRANGETOKEN},
]


def sid(number):
    return f"SM{number:032x}"


def uri(account, message=None):
    return f"/2010-04-01/Accounts/{account}/Messages" + (f"/{message}.json" if message else ".json")


def eventually(condition, seconds=10):
    """Waits until the condition holds, and returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return value


class Simulator:
    def __init__(self, *options, verify=True):
        self.verify = verify
        command = [os.environ["TWILIO_SIMULATOR"], *map(str, options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        assert first.startswith("listening on "), first
        self.url = first.removeprefix("listening on ").strip()
        self.session = requests.Session()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.close()
        self.ends_with_its_stdin()

    def ends_with_its_stdin(self):
        self.process.stdin.close()
        try:
            assert self.process.wait(timeout=10) == 0
        finally:
            self.process.kill()
            self.process.stdout.close()

    def control(self, method, what, body=None):
        url = f"{self.url}/_control/{what}"
        response = self.session.request(method, url, json=body, timeout=60, verify=self.verify)
        assert response.status_code == 200, response.text
        return response.json()

    def get(self, path, auth=(ACCOUNT, TOKEN), **options):
        """Asks as a client would that follows nothing and repeats nothing."""
        usual = {"timeout": 10, "allow_redirects": False, "verify": self.verify}
        return requests.get(self.url + path, auth=auth, **usual | options)

    def messages(self, *messages):
        self.control("POST", "messages", [{"account_sid": ACCOUNT} | message for message in messages])

    def misbehave(self, action, **rule):
        self.control("PUT", "misbehave", [{"action": action} | rule])

    def stats(self):
        return self.control("GET", "stats")

    def requests(self):
        return self.control("GET", "requests")


@pytest.fixture(scope="session")
def running():
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(running):
    running.control("DELETE", "messages")
    running.control("DELETE", "misbehave")
    running.control("PUT", "clock", {"offset_seconds": 0})
    running.control("PUT", "concurrency", {"limit": None})
    running.control("PUT", "accounts", ACCOUNTS)
    # What an earlier test left under way belongs to it.
    eventually(lambda: running.stats()["concurrent"] == 0)
    running.control("DELETE", "stats")
    return running
