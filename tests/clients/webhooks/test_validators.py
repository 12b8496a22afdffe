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
PATHS = ["", "/", "/twilio", "/a/b.php", "/caf%C3%A9/x%2Fy", "/café", "/a;v=1/b", "/~a/b@c:d", "/a//b/", "/%7ea", "/a/../b"]
QUERIES = [None] * 6 + [
    "", "foo=1&bar=2", "b=2&a=1&b=1", "name=Zo%C3%AB+%F0%9F%9A%95", "name=zo%c3%ab", "name=Zoë&🚕=1", "Body=It's+amazing",
    "Body=It%27s%20amazing", "a=&b&=c&&", "x=%2B&y=a+b&z=a%20b", "u=https://example.com/?a=b?c", 'q="<a b>"', "p=100%",
    "sip=sip:1@203.0.113.7", "xbodySHA256=00", "bodysha256=00", "a=bodySHA256", "bodySHA256%20=00", "b[0]=1&b[]=2", "a;b=1",
]  # fmt: skip
FRAGMENTS = [""] * 12 + ["#ct=2000", "#rp=5xx&rc=2", "#"]
NAMES = [
    "AccountSid", "MessageSid", "MessageStatus", "To", "Body", "B", "Bo", "body", "NumMedia", "a b", "a+b", "é", "名前", "🚕",
    "ﬁ", "x=y", "x&y", "100%", "",
]  # fmt: skip
VALUES = [
    "", "", "delivered", "+12025550101", "AC0123", "1+1=2 & more", "100%", "a b", "  a ", "ñandú", "日本語", "🚕", "ﬁ", "e\u0301",
    "a\r\nb", "\0", "%2B", "y", "dy", "~!*()'\"-_.",
]  # fmt: skip


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

URL = re.compile(r"(?P<scheme>https?)://(?P<user>[^/?#]*@)?(?P<host>\[[^]]*\]|[^:/?#]*)(?P<port>:\d+)?(?P<rest>[^#]*)(#.*)?", re.S)


def written(url, port=None, scheme=None, rest=None):
    """The URL without its fragment, with what is given instead of its own."""
    parts = URL.fullmatch(url)
    given = {"port": port, "scheme": scheme, "rest": rest}
    scheme, port, rest = (parts[name] or "" if given[name] is None else given[name] for name in ("scheme", "port", "rest"))
    return f"{scheme}://{parts['user'] or ''}{parts['host']}{port}{rest}"


def default_port(url):
    return ":443" if url.startswith("https") else ":80"


def path_and_query(url):
    path, mark, query = URL.fullmatch(url)["rest"].partition("?")
    return path, mark, query


def as_browsers_do(query):
    """The URL standard's special-query percent-encode set."""
    return "".join(c if "!" <= c <= "~" and c not in "\"#<>'" else urllib.parse.quote(c, safe="") for c in query)


def as_querystring_does(query):
    """Node's querystring, there and back."""
    fields = {}
    for field in filter(None, query.split("&")):
        name, _, value = (urllib.parse.unquote(part.replace("+", " ")) for part in field.partition("="))
        fields.setdefault(name, []).append(value)
    quoted = {name: [urllib.parse.quote(text, safe="!'()*~") for text in [name, *values]] for name, values in fields.items()}
    return "&".join(f"{name}={value}" for name, *values in quoted.values() for value in values)


def rewritten(url, encode):
    path, mark, query = path_and_query(url)
    return written(url, rest=path + mark + encode(query))


# What Twilio may have signed of a URL. The first three are said to be its ways.
SPELLINGS = {
    "as it is": lambda url: written(url),
    "without port": lambda url: written(url, port=""),
    "with port": lambda url: written(url, port=URL.fullmatch(url)["port"] or default_port(url)),
    "with fragment": lambda url: url,
    "query as browsers write it": lambda url: rewritten(url, as_browsers_do),
    "query as querystring writes it": lambda url: rewritten(url, as_querystring_does),
    "with the path /": lambda url: written(url, rest=(path_and_query(url)[0] or "/") + "".join(path_and_query(url)[1:])),
    "without the ?": lambda url: written(url, rest="".join(path_and_query(url)).removesuffix("?")),
    # None of its ways.
    "of another port": lambda url: written(url, port=":8080"),
    "of the other scheme": lambda url: written(url, scheme="http" if url.startswith("https") else "https"),
    "of another path": lambda url: written(url, rest="/x" + "".join(path_and_query(url))),
    "of another query": lambda url: written(url, rest="".join(path_and_query(url)) + ("&z" if "?" in url else "?z")),
}

# What is done to a signature.
DAMAGES = {
    "truncated": lambda signature: signature[:-1],
    "half": lambda signature: signature[: len(signature) // 2],
    "empty": lambda signature: "",
    "longer": lambda signature: signature + "AAAA",
    "without padding": lambda signature: signature.rstrip("="),
    "other bits in the padding": lambda signature: signature[:-2] + string.ascii_letters[-1] + "=",
    "one letter": lambda signature: ("A" if signature[0] != "A" else "B") + signature[1:],
    "hexadecimal": lambda signature: base64.b64decode(signature).hex(),
    "other letters": lambda signature: signature.replace("=", "") + "-_",
    "not ASCII": lambda signature: "é" + signature[1:],
    "with blanks": lambda signature: f" {signature}\n",
}


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

    what = rng.choice(["right"] * 4 + ["spelled"] * 5 + ["damaged"] * 2 + ["token", "body", "body"])
    if what == "right":
        signature = sign(what := rng.choice(["as it is", "without port", "with port"]))
    elif what == "spelled":
        signature = sign(what := rng.choice(list(SPELLINGS)))
    elif what == "damaged":
        what = rng.choice(list(DAMAGES))
        signature = DAMAGES[what](sign("as it is"))
    elif what == "token":
        signature = sign("as it is", with_token=token[1:] + "x")
    elif hashed and rng.random() < 0.5:
        # The signature holds, the body is another.
        signature = sign("as it is")
        body += " "
    elif hashed:
        # Of the body all right, but not in the URL that was signed.
        signature = sign("as it is")
        url = re.sub("bodySHA256=[0-9a-f]+", "bodySHA256=" + hashlib.sha256(b"{}").hexdigest(), url, count=1)
    else:
        other = rng.choice([pairs + [("More", "1")], pairs[1:], [(name, value + "x") for name, value in pairs]])
        signature = sign("as it is", params=other)
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


def compare(cases, ours, theirs, reason):
    """How often they differ, by the reason for it and by who says yes."""
    different = collections.Counter()
    for case, we, they in zip(cases, ours, theirs, strict=True):
        if we != they:
            why = reason(case)
            assert why, f"msgstatus says {we}, they say {they}: {case}"
            different[why, "msgstatus" if we else "they"] += 1
    return dict(different)


def test_x(conn, cases, answers, tmp_path):
    python = [python_says(c) for c in cases]
    (tmp_path / "c").write_text(json.dumps([dataclasses.asdict(c) for c in cases]))
    node = json.loads(subprocess.run(["node", os.environ["MSGSTATUS_NODE_DIR"] + "/validators.mjs", tmp_path / "c"], check=True, stdout=subprocess.PIPE).stdout)
    print(sum(answers), sum(python), sum(node))
    import pickle
    pickle.dump((cases, answers, python, node), open("/tmp/h15/p", "wb"))


def python_says(case):
    if case.hashed:
        params = case.body
    else:
        builder = EnvironBuilder(method="POST", data=case.body, content_type="application/x-www-form-urlencoded")
        params = Request(builder.get_environ()).form
    return RequestValidator(case.token).validate(case.url, params, case.signature)
