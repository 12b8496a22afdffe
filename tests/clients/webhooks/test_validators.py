# The signatures that msgstatus takes for Twilio's and Meta's are those that Twilio's SDKs for Python and Node, and
# Python's own HMAC, take for them.
#
# Where they differ, each has its reasons; those are listed below (PYTHON, NODE, HMAC), with how often it happens with
# these cases. The cases are the same in each run: a number that changes means that somebody answers otherwise now.
import base64
import collections
import dataclasses
import hashlib
import hmac
import json
import os
import pathlib
import random
import re
import string
import subprocess
import urllib.parse

import pytest
from twilio.request_validator import RequestValidator
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

SEED = 20250616
CASES = 6000


@dataclasses.dataclass
class Case:
    token: str
    url: str
    body: str
    signature: str
    hashed: bool  # the body is no form, its hash is in the URL
    what: str  # what was done to it


# --- what is generated -------------------------------------------------------------------------------------------

SCHEMES = ["https"] * 3 + ["http"]
USERS = [""] * 6 + ["user@", "user:pass@", "us%40er:p%C3%A4ss@"]
HOSTS = ["example.com", "Hooks.Example.COM", "203.0.113.7", "localhost", "[2001:db8::1]"]
PORTS = [""] * 4 + [":443", ":80", ":8443", ":1"]
PATHS = [
    "", "/", "/twilio", "/a/b.php", "/caf%C3%A9/x%2Fy", "/café", "/a;v=1/b", "/~a/b@c:d", "/a//b/", "/%7ea", "/a/../b",
]
QUERIES = [None] * 6 + [
    "", "foo=1&bar=2", "b=2&a=1&b=1", "name=Zo%C3%AB+%F0%9F%9A%95", "name=zo%c3%ab", "name=Zoë&🚕=1", "a=&b&=c&&",
    "Body=It's+amazing", "Body=It%27s%20amazing", "x=%2B&y=a+b&z=a%20b", "u=https://example.com/?a=b?c", 'q="<a b>"',
    "p=100%", "sip=sip:1@203.0.113.7", "b[0]=1&b[]=2", "a;b=1", "xbodySHA256=00", "bodysha256=00", "a=bodySHA256",
    "bodySHA256%20=00",
]
FRAGMENTS = [""] * 12 + ["#ct=2000", "#rp=5xx&rc=2", "#"]
NAMES = [
    "AccountSid", "MessageSid", "MessageStatus", "To", "Body", "B", "Bo", "body", "NumMedia", "a b", "a+b", "é", "名前",
    "🚕", "ﬁ", "x=y", "x&y", "100%", "",
]
VALUES = [
    "", "", "delivered", "+12025550101", "AC0123", "1+1=2 & more", "100%", "a b", "  a ", "ñandú", "日本語", "🚕", "ﬁ",
    "e\u0301", "a\r\nb", "\0", "%2B", "y", "dy", "~!*()'\"-_.",
]


def some_form(rng):
    pairs = [(rng.choice(NAMES), rng.choice(VALUES)) for _ in range(rng.choice([0, 1, 2, 4, 8, 8]))]
    for pair in list(pairs):
        if rng.random() < 0.2:
            # The same again, or another value of the same name.
            pairs.insert(rng.randrange(len(pairs)), pair if rng.random() < 0.5 else (pair[0], rng.choice(VALUES)))
    return pairs


def encoded(rng, pairs):
    """As browsers encode it, or Python, or with everything escaped; in capitals or not."""
    how = rng.choice(["+", "%20", "all", "lower"])
    if how == "+":
        return urllib.parse.urlencode(pairs)
    if how == "%20":
        return urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote)
    hexed = "&".join("=".join("".join(f"%{b:02X}" for b in text.encode()) for text in pair) for pair in pairs)
    return hexed.lower() if how == "lower" else hexed


def some_json(rng):
    body = {rng.choice(NAMES): rng.choice([*VALUES, 1, None, True]) for _ in range(rng.randrange(5))}
    return rng.choice([json.dumps(body), json.dumps(body, ensure_ascii=False), "a=b&c=d", "{"])


def some_url(rng):
    query = rng.choice(QUERIES)
    parts = [rng.choice(SCHEMES), "://", rng.choice(USERS), rng.choice(HOSTS), rng.choice(PORTS), rng.choice(PATHS)]
    return "".join(parts) + ("" if query is None else "?" + query) + rng.choice(FRAGMENTS)


def with_hash(rng, url, body):
    """The URL with the body's hash in its query: first, last, or both, where the first counts."""
    hashed = "bodySHA256=" + hashlib.sha256(body.encode()).hexdigest()
    before, mark, after = re.fullmatch(r"([^?#]*)(\??)(.*)", url, re.S).groups()
    query, sharp, fragment = after.partition("#") if mark else ("", "", after)
    queries = [f"{hashed}&{query}", f"{hashed}&{query}&bodySHA256=00"] if query else [hashed]
    queries += [f"{query}&{hashed}"] if query else []
    return f"{before}?{rng.choice(queries)}{sharp}{fragment}"


# --- ways to write a URL -----------------------------------------------------------------------------------------

URL = re.compile(
    r"(?P<scheme>https?)://(?P<user>[^/?#]*@)?(?P<host>\[[^]]*\]|[^:/?#]*)(?P<port>:\d+)?(?P<rest>[^#]*)(#.*)?", re.S
)


def written(url, port=None, scheme=None, rest=None):
    """The URL without its fragment, with what is given instead of its own."""
    own = URL.fullmatch(url)
    port = own["port"] or "" if port is None else port
    rest = own["rest"] if rest is None else rest
    return f"{scheme or own['scheme']}://{own['user'] or ''}{own['host']}{port}{rest}"


def default_port(url):
    return ":443" if url.startswith("https") else ":80"


def rest_of(url):
    return URL.fullmatch(url)["rest"]


def path_and_query(url):
    """The path, the ? if there is one, and what is behind it."""
    return rest_of(url).partition("?")


def as_browsers_do(query):
    """The URL standard's special-query percent-encode set."""
    return "".join(c if "!" <= c <= "~" and c not in "\"#<>'" else urllib.parse.quote(c, safe="") for c in query)


def as_querystring_does(query):
    """Node's querystring, there and back."""
    fields = collections.defaultdict(list)
    for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        fields[name].append(value)
    return urllib.parse.urlencode(fields, doseq=True, quote_via=urllib.parse.quote, safe="!'()*~")


def rewritten(url, encode):
    path, mark, query = path_and_query(url)
    return written(url, rest=path + mark + encode(query))


# What may have been signed of a URL. The first three are how Twilio does it, as its SDKs have it.
RIGHT = ["as it is", "without port", "with port"]
SPELLINGS = {
    "as it is": lambda url: written(url),
    "without port": lambda url: written(url, port=""),
    "with port": lambda url: written(url, port=URL.fullmatch(url)["port"] or default_port(url)),
    "with fragment": lambda url: url,
    "query as browsers write it": lambda url: rewritten(url, as_browsers_do),
    "query as querystring writes it": lambda url: rewritten(url, as_querystring_does),
    "with the path /": lambda url: written(url, rest=re.sub(r"^(?!/)", "/", rest_of(url))),
    "without the ?": lambda url: written(url, rest=rest_of(url).removesuffix("?")),
    # The rest is somebody else's.
    "of another port": lambda url: written(url, port=":8080"),
    "of the other scheme": lambda url: written(url, scheme="http" if url.startswith("https") else "https"),
    "of another path": lambda url: written(url, rest="/x" + rest_of(url)),
    "of another query": lambda url: written(url, rest=rest_of(url) + ("&z" if "?" in rest_of(url) else "?z")),
}

LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"  # base64's, in its order

# What is done to a signature.
DAMAGES = {
    "truncated": lambda signature: signature[:-1],
    "half": lambda signature: signature[: len(signature) // 2],
    "empty": lambda signature: "",
    "longer": lambda signature: signature + "AAAA",
    "without padding": lambda signature: signature.rstrip("="),
    "other bits in the padding": lambda signature: signature[:-2] + LETTERS[LETTERS.index(signature[-2]) | 1] + "=",
    "one letter": lambda signature: ("A" if signature[0] != "A" else "B") + signature[1:],
    "hexadecimal": lambda signature: base64.b64decode(signature).hex(),
    "other letters": lambda signature: signature.replace("=", "") + "-_",
    "not ASCII": lambda signature: "é" + signature[1:],
    "with blanks": lambda signature: f" {signature}\n",
}

OTHERS = ["of another token", "of another body"]
WRONG = [what for what in [*SPELLINGS, *DAMAGES, *OTHERS] if what in DAMAGES or what.startswith("of ")]
WRONG.remove("with blanks")


def signed(token, url, params):
    class Form(dict):  # how the SDK is given names with several values
        getlist = dict.__getitem__

    values = collections.defaultdict(list)
    for name, value in params:
        values[name].append(value)
    return RequestValidator(token).compute_signature(url, Form(values))


def some_case(rng):
    token = "" if rng.random() < 0.01 else "".join(rng.choice("0123456789abcdef") for _ in range(32))
    url, pairs, hashed = some_url(rng), some_form(rng), rng.random() < 0.3
    body = some_json(rng) if hashed else encoded(rng, pairs)
    if hashed:
        url = with_hash(rng, url, body)
        pairs = []

    def sign(spelling, with_token=token, params=pairs):
        return signed(with_token, SPELLINGS[spelling](url), params)

    what = rng.choice(["right"] * 4 + ["spelled"] * 5 + ["damaged"] * 2 + OTHERS)
    if what == "right":
        signature = sign(what := rng.choice(RIGHT))
    elif what == "spelled":
        signature = sign(what := rng.choice(list(SPELLINGS)))
    elif what == "damaged":
        what = rng.choice(list(DAMAGES))
        signature = DAMAGES[what](sign("as it is"))
    elif what == "of another token":
        signature = sign("as it is", with_token=token[1:] + "x")
    elif hashed:
        # Either the URL is the one that was signed and the hash not the body's, or the other way round.
        signature = sign("as it is")
        body += " "
        if rng.random() < 0.5:
            url = re.sub("(?<=bodySHA256=)[0-9a-f]{64}", hashlib.sha256(body.encode()).hexdigest(), url, count=1)
    else:
        others = [(name, value + "x") for name, value in pairs] or [("x", "")]
        signature = sign("as it is", params=rng.choice([pairs + [("More", "1")], pairs + [("To", "0")], others]))
    return Case(token, url, body, signature, hashed, what)


@pytest.fixture(scope="module")
def cases():
    rng = random.Random(SEED)
    return [some_case(rng) for _ in range(CASES)]


@pytest.fixture
def answers(conn, cases):
    """What msgstatus says to the cases, in their order."""
    answers = conn.execute(
        """SELECT msgstatus.twilio_signature_valid(token, url, body, signature)
             FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[])
                  WITH ORDINALITY AS c (token, url, body, signature, n)
            ORDER BY n""",
        [[getattr(case, column) for case in cases] for column in ("token", "url", "body", "signature")],
    ).fetchall()
    assert len(answers) == len(cases)
    return [answer for (answer,) in answers]


def differences(cases, ours, theirs, reason):
    """How often they differ, by the reason for it and by who says yes. Without a reason they must not."""
    different = collections.Counter()
    for case, we, they in zip(cases, ours, theirs, strict=True):
        if we != they:
            why = reason(case)
            assert why, f"msgstatus says {we}, they say {they}: {case}"
            different[why, "msgstatus" if we else "they"] += 1
    return dict(different)


# --- Twilio ------------------------------------------------------------------------------------------------------


def test_enough_is_right_and_enough_is_wrong(cases, answers):
    """Else it would show little that they agree."""
    for hashed in False, True:
        these = [(case, answer) for case, answer in zip(cases, answers, strict=True) if case.hashed == hashed]
        right = [answer for case, answer in these if case.what in RIGHT and case.token]
        wrong = [answer for case, answer in these if case.what in WRONG]
        assert len(right) > 500 and all(right)
        assert len(wrong) > 500 and not any(wrong)


# Why one says yes and the other no:
BLANKS = "blanks"  # msgstatus trims the signature; HTTP servers have done so before
NO_TOKEN = "no token"  # msgstatus takes nothing that is signed with an empty token: anybody could sign so
FRAGMENT = "fragment"  # msgstatus also takes what was signed without it, as Twilio does; the SDKs count it in if given it
ENCODED = "encoded anew"  # the query as it was not given: see below
BARE = "bare ?"  # a ? with nothing behind it: Python's SDK drops it, Node's does not, msgstatus takes both
COLON = "another colon"  # Python's SDK drops a port with all from the first colon on: the password's, the address's
ORDER = "order"  # JavaScript sorts by UTF-16, where U+1F695 precedes U+FB01; msgstatus and Python by code points
NO_PATH = "no path"  # msgstatus also takes what was signed of the URL with the path /; Node's only with its own spelling


def common(case):
    if case.what == "with blanks":
        return BLANKS
    if not case.token:
        return NO_TOKEN
    return FRAGMENT if "#" in case.url else None


def python_reason(case):
    parts = URL.fullmatch(case.url)
    if reason := common(case):
        return reason
    if path_and_query(case.url)[1:] == ("?", ""):
        return BARE
    if case.what == "with the path /" and not path_and_query(case.url)[0]:
        return NO_PATH
    if parts["port"] and (":" in (parts["user"] or "") or "[" in parts["host"]):
        return COLON
    # It takes the query as it is and no other. msgstatus takes it as browsers encode it, too, and Node, as does Node's.
    return ENCODED if case.what.startswith("query as ") else None


def node_reason(case):
    if reason := common(case):
        return reason
    pairs = {} if case.hashed else set(urllib.parse.parse_qsl(case.body, keep_blank_values=True))
    if sorted(pairs) != sorted(pairs, key=lambda pair: [text.encode("utf-16-be") for text in pair]):
        return ORDER
    # If it takes the query encoded anew, then the host and the path must be as browsers write them, too, where msgstatus
    # takes them as they are.
    if case.what.startswith("query as "):
        return ENCODED
    if case.what == "with the path /" and not path_and_query(case.url)[0]:
        return NO_PATH
    return BARE if case.what == "without the ?" and path_and_query(case.url)[1:] == ("?", "") else None


# What the SDKs take msgstatus takes, but for an empty token.
PYTHON = {
    (BLANKS, "msgstatus"): 87, (NO_TOKEN, "they"): 22, (FRAGMENT, "msgstatus"): 434, (BARE, "msgstatus"): 53,
    (COLON, "msgstatus"): 147, (ENCODED, "msgstatus"): 101, (NO_PATH, "msgstatus"): 17,
}
NODE = {
    (BLANKS, "msgstatus"): 87, (NO_TOKEN, "they"): 22, (FRAGMENT, "msgstatus"): 616, (BARE, "msgstatus"): 9,
    (ORDER, "msgstatus"): 81, (ENCODED, "msgstatus"): 62, (NO_PATH, "msgstatus"): 6,
}


def test_twilios_sdk_for_python(cases, answers):
    def valid(case):
        params = case.body
        if not case.hashed:
            builder = EnvironBuilder(method="POST", data=case.body, content_type="application/x-www-form-urlencoded")
            params = Request(builder.get_environ()).form  # as Flask gives it
        return RequestValidator(case.token).validate(case.url, params, case.signature)

    assert differences(cases, answers, map(valid, cases), python_reason) == PYTHON


def test_twilios_sdk_for_node(cases, answers, tmp_path):
    file = tmp_path / "cases.json"
    file.write_text(json.dumps([dataclasses.asdict(case) for case in cases]))
    script = pathlib.Path(os.environ["MSGSTATUS_NODE_DIR"], "validators.mjs")
    theirs = json.loads(subprocess.run(["node", script, file], check=True, stdout=subprocess.PIPE).stdout)
    assert differences(cases, answers, theirs, node_reason) == NODE


# --- Meta --------------------------------------------------------------------------------------------------------

CAPITALS = "capitals"  # msgstatus takes hexadecimal digits in capitals; Meta writes small ones

HMAC = {(BLANKS, "msgstatus"): 83, (CAPITALS, "msgstatus"): 66, (NO_TOKEN, "they"): 173}


def test_metas_signature(conn):
    rng = random.Random(SEED)

    def some(length):
        return bytes(rng.randrange(256) for _ in range(length))

    cases = []
    for _ in range(2000):
        secret = rng.choice(["", "hush", "ñ🚕", some(16).hex(), some(40).hex()])
        body = rng.choice([b"", some(1), some(rng.randrange(300)), rb'{"a": "caf\u00e9"}', '{"a": "café"}'.encode()])
        right = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        given = {
            "right": right,
            "of another secret": "sha256=" + hmac.new(b"other", body, hashlib.sha256).hexdigest(),
            "of another body": "sha256=" + hmac.new(secret.encode(), body + b" ", hashlib.sha256).hexdigest(),
            "of no secret": "sha256=" + hashlib.sha256(body).hexdigest(),
            "sha1": "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest(),
            "named otherwise": right.replace("sha256", rng.choice(["sha1", "SHA256", "sha512", ""])),
            "without its name": right.removeprefix("sha256="),
            "truncated": right[: rng.randrange(len(right))],
            "longer": right + rng.choice(["0", "00", "g"]),
            "no digit": right[:-1] + rng.choice("gé "),
            "in base64": "sha256=" + base64.b64encode(bytes.fromhex(right[7:])).decode(),
            "in capitals": "sha256=" + right[7:].upper(),
            "with blanks": f" {right}\n",
        }
        what = "right" if rng.random() < 0.4 else rng.choice(list(given))
        cases.append((secret, body, given[what], right, what))

    def reason(case):
        secret, *_, what = case
        return {"with blanks": BLANKS, "in capitals": CAPITALS}.get(what) or (None if secret else NO_TOKEN)

    secrets, bodies, signatures, rights, _ = map(list, zip(*cases, strict=True))
    ours = conn.execute(
        """SELECT msgstatus.whatsapp_signature_valid(secret, body, signature)
             FROM unnest(%s::text[], %s::bytea[], %s::text[]) WITH ORDINALITY AS c (secret, body, signature, n)
            ORDER BY n""",
        [secrets, bodies, signatures],
    ).fetchall()
    theirs = [given == right for given, right in zip(signatures, rights, strict=True)]
    assert sum(theirs) > 500
    assert differences(cases, [answer for (answer,) in ours], theirs, reason) == HMAC
