"""Who may do what: every route, every role, every way in."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from tests.dashboard.conftest import made_on
from tests.dashboard.desk import PAGE, Client, dashboard
from toril import ConfigError, Toril
from toril.dashboard import Access, basic_auth, bearer_token, header_user
from toril.dashboard.access import ROLES
from toril.dashboard.redact import HIDDEN_TEXT, Redactor, hide_in
from toril.dashboard.routes import ROUTES
from toril.dashboard.serve import Listening, read_auth, serve
from toril.dashboard.values import show

QUERIES = {
    "queue": {"name": "open"},
    "job": {"queue": "open", "id": "1"},
    "job/log": {"queue": "open", "id": "1"},
    "value": {"queue": "open", "id": "1"},
    "flow": {"queue": "open", "id": "1"},
    "schedule": {"queue": "open", "id": "s"},
    "error": {"fp": "none"},
    "scale": {"queue": "open"},
}
ONE = {"jobs": [{"queue": "open", "id": "1"}]}
POSTS: dict[str, tuple[str, dict[str, Any]]] = {
    "retry": ("act", {"action": "retry", "target": ONE}),
    "cancel": ("act", {"action": "cancel", "target": ONE}),
    "delete": ("act", {"action": "delete", "target": {"query": "state:failed queue:open"}}),
    "edit": ("act", {"action": "edit", "target": ONE}),
    "enqueue": ("jobs", {"queue": "open", "name": "n"}),
    "pause": ("act", {"action": "pause", "target": {"queue": "open"}}),
    "limits": ("act", {"action": "limits", "target": {"queue": "open"}, "params": {"concurrency": 3}}),
    "schedules": ("act", {"action": "run_now", "target": {"schedule": {"queue": "open", "id": "s"}}}),
    "reveal": ("reveal", {"queue": "open", "id": "1", "reason": "ticket 7"}),
}  # fmt: skip


def role(request: Request) -> Access | None:
    """Take the role from a header, as a test may say who it is."""
    name = request.headers.get("x-role")
    if name is None:
        return None
    queues = request.headers.get("x-queues")
    return Access(user=name, permissions=name, queues=queues.split(",") if queues else None)


BOTH = pytest.mark.parametrize("app", ["memory", "redis"], indirect=True)


@pytest.fixture
async def app(request: pytest.FixtureRequest) -> Any:
    async with made_on(request) as made:
        await made.queue("open").add("n", {"password": "hunter2"})
        await made.queue("closed").add("n")
        await made.schedules.put("s", every="1h", queue="open", name="n")
        yield made


async def test_nobody_reads_anything_without_access(app: Toril) -> None:
    async with dashboard(app, auth=role) as client:
        for route in ROUTES:
            answer = await client.raw(route.method, route.path, b"{}", PAGE)
            assert answer.status == 401, route.path
        assert (await client.raw("GET", "queues")).status == 401
        assert (await client.ask("stream", topics="overview")).status == 401
        assert (await client.raw("GET", "healthz")).status == 200


@BOTH
@pytest.mark.parametrize("name", [*ROLES])
async def test_every_role_may_read_and_change_what_it_says(app: Toril, name: str) -> None:
    async with dashboard(app, auth=role) as client:
        client.headers["X-Role"] = name
        for route in (each for each in ROUTES if each.method == "GET"):
            words = QUERIES.get(route.path.removeprefix("api/v1/"), {})
            path = route.path + "?" + "&".join(f"{key}={value}" for key, value in words.items())
            status = (await client.raw("GET", path)).status
            expected = {200, 404} if route.path.endswith("error") else {200}
            if route.path.endswith("audit") and "audit" not in ROLES[name]:
                expected = {403}
            assert status in expected, (route.path, status)
        for permission, (path, body) in POSTS.items():
            answer = await client.post(path, body)
            allowed = permission in ROLES[name]
            assert (answer.status == 403) is not allowed, (permission, answer)


@pytest.mark.parametrize("path", [route.path for route in ROUTES if route.method == "POST"])
async def test_a_change_needs_the_page_itself(app: Toril, path: str) -> None:
    before = await app.queue("open").counts()
    async with dashboard(app) as client:
        for sent in [
            {},
            {"Content-Type": "application/json"},
            {"Content-Type": "text/plain", "X-Toril": "1", "Sec-Fetch-Site": "same-origin"},
            {"Content-Type": "application/json", "X-Toril": "1"},
            {"Content-Type": "application/json", "X-Toril": "1", "Sec-Fetch-Site": "cross-site"},
            {"Content-Type": "application/json", "X-Toril": "1", "Sec-Fetch-Site": "same-site"},
            {"Content-Type": "application/json", "X-Toril": "1", "Origin": "http://evil.example"},
            {"Content-Type": "application/json", "X-Toril": "1", "Origin": "null"},
            {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"},
        ]:
            answer = await client.raw("POST", path, b"{}", sent)
            assert answer.status in (403, 415), (sent, answer)
            assert answer.json["error"] == "csrf"
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            answer = await client.raw(method, path, b"{}", PAGE)
            if method != "GET" or not path.endswith("jobs"):
                assert answer.status == 405, (method, path)
            assert "access-control-allow-origin" not in answer.headers
        own = {"Content-Type": "application/json", "X-Toril": "1"}
        own["Origin"] = f"http://127.0.0.1:{client.port}"
        assert (await client.raw("POST", path, b"{}", own)).status == 400
    assert await app.queue("open").counts() == before


@BOTH
async def test_a_user_of_one_queue_sees_no_other(app: Toril) -> None:
    async with dashboard(app, auth=role) as client:
        client.headers |= {"X-Role": "admin", "X-Queues": "open"}
        for path, words in [
            ("overview", {}), ("queues", {}), ("jobs", {}), ("attention", {}), ("schedules", {}),
            ("suggest", {"q": ""}), ("workers", {}), ("store", {}), ("series", {}), ("errors", {}),
        ]:  # fmt: skip
            text = (await client.ask(path, **words)).text
            assert "closed" not in text, path
        assert "closed" not in (await client.raw("GET", "metrics")).text
        for path, words in [
            ("queue", {"name": "closed"}), ("job", {"queue": "closed", "id": "1"}),
            ("series", {"queue": "closed"}), ("stream", {"topics": "queue:closed"}),
            ("jobs", {"q": "closed:1"}),
        ]:  # fmt: skip
            answer = await client.ask(path, **words)
            assert answer.status == 404 or answer.json.get("items") == [], path
        for body in [
            {"action": "pause", "target": {"queue": "closed"}},
            {"action": "delete", "target": {"jobs": [{"queue": "closed", "id": "1"}]}},
        ]:
            assert (await client.post("act", body)).status == 404
        await client.act("delete", {"query": ""})
    assert (await app.queue("closed").counts()).waiting == 1


async def test_without_auth_it_is_read_only_and_redacted(app: Toril) -> None:
    async with dashboard(app, auth=None) as client:
        me = await client.get("me")
        assert (me["read_only"], me["read_only_reason"]) == (True, "no-auth")
        for path, body in POSTS.values():
            answer = await client.post(path, body)
            assert answer.status == 403, body
            assert "read-only" in answer.json["message"]
        assert "hunter2" not in (await client.ask("job", queue="open", id="1")).text


async def test_tokens_passwords_and_proxies_let_people_in(app: Toril) -> None:
    token = bearer_token({"s3cret": Access(user="ci", permissions="operator")})
    async with dashboard(app, auth=token) as client:
        assert (await client.ask("me")).headers["www-authenticate"] == "Bearer"
        wrong = await client.raw("GET", "api/v1/me", b"", {"Authorization": "Bearer wrong"})
        assert wrong.status == 401
        client.headers["Authorization"] = "Bearer s3cret"
        assert (await client.get("me"))["user"] == "ci"
        # A program sends no origin.
        sent = {"Content-Type": "application/json"}
        body = json.dumps({"queue": "open", "name": "n"}).encode()
        assert (await client.raw("POST", "api/v1/jobs", body, sent)).status == 200
    async with dashboard(app, auth=basic_auth({"ann": "pass:word"})) as client:
        client.headers["Authorization"] = "Basic YW5uOnBhc3M6d29yZA=="
        assert (await client.get("me"))["user"] == "ann"
        for wrong_word in ("Basic YW5uOng=", "Basic ///", "Basic Ym9iOg==", "Bearer x"):
            client.headers["Authorization"] = wrong_word
            assert (await client.ask("me")).status == 401
    async with dashboard(app, auth=header_user()) as client:
        assert (await client.ask("me")).status == 401
        client.headers["X-Forwarded-User"] = "bob"
        assert (await client.get("me"))["user"] == "bob"


async def test_every_answer_has_strict_headers(app: Toril) -> None:
    async with dashboard(app, auth=role) as client:
        for path in ("", "queues", "api/v1/me", "api/v1/nothing", "assets/none.js", "healthz"):
            headers = (await client.raw("GET", path)).headers
            assert "default-src 'none'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"


async def test_another_host_name_is_refused_where_nobody_signs_in(app: Toril) -> None:
    async with dashboard(app, hosts=["127.0.0.1"]) as client:
        assert (await client.ask("me")).status == 200
        client.headers["Host"] = "evil.example"
        assert (await client.ask("me")).json["error"] == "host"


async def test_assets_do_not_lead_out_of_their_folder(app: Toril) -> None:
    async with dashboard(app) as client:
        for path in ("../server.py", "..%2fserver.py", "%2e%2e/server.py", "a/b", "..\\x"):
            assert (await client.raw("GET", f"assets/{path}")).status == 404, path


def test_an_open_address_needs_auth() -> None:
    app = Toril(":memory:")
    for auth in ("", "local"):
        with pytest.raises(ConfigError, match="from other machines"):
            serve(app, Listening(host="0.0.0.0", port=0, auth=auth), print)
    for wrong in ("ann", "ann:", "token:", "import:nope:x", ":x"):
        with pytest.raises(ConfigError, match="auth"):
            read_auth(wrong)


# Redaction.

SECRET = st.text(
    "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=12, max_size=40
)
KEYS = st.sampled_from(
    ["password", "apiKey", "API_KEY", "user_token", "sessionId", "cvv", "x-authorization", "cardNumber",
     "Set-Cookie", "privateKey", "clientSecret", "pin", "iban", "userSSN"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(SECRET, KEYS, JSON, JSON)
def test_a_secret_by_its_key_is_never_shown(
    secret: str, key: str, around: Any, beside: Any
) -> None:
    data = {"around": [around, {"deep": {key: [secret, {"inner": secret}]}}], "beside": beside}
    text = json.dumps(data)
    redactor = Redactor()

    shown = show(text, redactor, "n")
    found = redactor.secrets("n", data)

    assert shown is not None
    assert secret not in shown.text
    json.loads(shown.text)
    assert secret not in hide_in(f"cannot log in with {secret}!", found)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(10**11, 10**17 - 1), st.sampled_from(["", " ", "-"]), st.text("xyz .,", max_size=9)
)
def test_card_numbers_are_never_shown(number: int, sign: str, around: str) -> None:
    digits = "4" + str(number)
    total = sum(
        d * (1 + (at % 2 == 0)) - 9 * (at % 2 == 0 and d > 4)
        for at, d in enumerate(map(int, reversed(digits)))
    )
    digits += str(-total % 10)
    card = sign.join(digits[at : at + 4] for at in range(0, len(digits), 4))

    assert card not in hide_in(f"{around} card {card} {around}")
    shown = show(json.dumps({"note": card}), Redactor(), "n")
    assert shown is not None
    assert card not in shown.text


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "sk_live_abcdefghijklmnop",
    ],
)
def test_secrets_are_known_by_their_shape(secret: str) -> None:
    assert secret not in hide_in(f"error: {secret} is wrong")
    shown = show(json.dumps({"x": secret, "y": f"see {secret}."}), Redactor(), "n")
    assert shown is not None
    assert secret not in shown.text
    assert "AKIA" not in shown.text


def test_text_loses_passwords_and_keeps_the_rest() -> None:
    text = 'GET https://ann:hunter2@host/x?a=1 failed, password="hunter2", Authorization: Bearer abcdefgh12'

    shown = hide_in(text)

    assert "hunter2" not in shown
    assert "abcdefgh12" not in shown
    assert shown.startswith(f"GET https://ann:{HIDDEN_TEXT}@host/x?a=1 failed")


async def test_an_application_says_what_else_is_secret(app: Toril) -> None:
    @app.task(queue="pay", redact=["payer.name", "notes.*.text"])
    async def charge(payer: dict, notes: list, amount: int, plain: str) -> None:  # type: ignore[type-arg]
        ...

    payer = {"name": "Ada L.", "country": "GB"}
    job = await charge.enqueue(payer, [{"text": "private words"}], 17, "inner circle")
    options = {"redact": ["amount"], "redact_if": lambda name, path, value: value == "inner circle"}
    async with dashboard(app, **options) as client:
        text = (await client.ask("job", queue="pay", id=job.id)).text
        whole = (await client.ask("value", queue="pay", id=job.id, part="data")).text

    for each in (text, whole):
        assert "GB" in each
        for secret in ("Ada L.", "private words", "inner circle"):
            assert secret not in each
    assert json.loads(whole)["amount"]["$hidden"] == "number"


async def test_hidden_values_are_shown_to_who_may_and_says_why(app: Toril) -> None:
    async with dashboard(app) as client:
        place = {"queue": "open", "id": "1"}
        assert (await client.post("reveal", {**place, "reason": " "})).status == 400
        shown = (await client.post("reveal", {**place, "reason": "ticket 7"})).json

        assert json.loads(shown["data_json"]) == {"password": "hunter2"}
        (entry,) = (await client.get("audit"))["items"]
        assert (entry["action"], entry["selector"], entry["reason"]) == (
            "reveal",
            "open:1",
            "ticket 7",
        )


async def test_an_edit_keeps_hidden_values_and_moves_none(app: Toril, client: Client) -> None:
    data = {"password": "hunter2", "user": 2**60 + 1, "note": "old"}
    job = await app.queue("q").add("n", data)
    place = {"jobs": [{"queue": "q", "id": job.id}]}
    shown = json.loads((await client.get("job", queue="q", id=job.id))["data_json"])

    edited = json.dumps({**shown, "note": "new"})
    added = (await client.act("edit", place, params={"data_json": edited}))["added"]
    moved = json.dumps({**shown, "note": shown["password"]})
    refused = await client.post(
        "act", {"action": "edit", "target": place, "params": {"data_json": moved}}
    )

    again = await app.queue("q").job(added["id"])
    assert again is not None
    assert again.data == {**data, "note": "new"}
    assert refused.status == 400
    assert "no hidden value" in refused.json["message"]


@pytest.fixture
async def client(app: Toril) -> Any:
    async with dashboard(app) as found:
        yield found
