"""The form's REST API as programs meet it, and what stands around every request."""

import json
import os
import subprocess
import threading
import time
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from werkzeug.serving import make_server

from tests.test_apps import ROOT, SERVE_PYTHON, free_port, http_server
from tests.tiny_model import TAGS, build_model_folder
from webapp.app import create_app
from webapp.questions import MAX_BATCH, MAX_DESCRIPTION, MAX_EXPLANATION_COST, MAX_QUESTION_BYTES, MAX_TITLE

FUZZ = hypothesis.settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
REFUSALS = {"checks": {"negative_data_rejection": {"expected-statuses": [400, 413, 415]}}}
QUESTION = {"title": "python", "description": "gradient"}


class StandInSpace(BaseHTTPRequestHandler):
    """Speaks Gradio's protocol: each answer names the question it belongs to, after ``delay`` seconds."""

    protocol_version = "HTTP/1.1"
    delay, calls = 0.0, 0
    asked: dict[str, dict]

    def do_POST(self):
        event = str(uuid.uuid4())
        self.asked[event] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(json.dumps({"event_id": event}).encode(), "application/json")

    def do_GET(self):
        type(self).calls += 1
        time.sleep(self.delay)
        endpoint, event = self.path.split("/")[-2:]
        inputs = self.asked[event]
        result = {
            "predict": lambda: answer(inputs),
            "predict_batch": lambda: [answer(question) for question in inputs["questions"]],
            "explain": lambda: {name: [{"text": inputs[name], "tag": None, "weight": 0.0}] for name in inputs},
            "tags": lambda: [{"tag": "python", "threshold": 0.5}],
        }[endpoint]()
        self.reply(
            f"event: heartbeat\ndata: null\n\nevent: complete\ndata: {json.dumps([result])}\n\n".encode(),
            "text/event-stream",
        )

    def reply(self, body: bytes, kind: str):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def answer(question: dict) -> dict:
    named = question["title"] or question["description"]
    return {"suggested": [{"tag": named, "probability": 0.9}], "others": [], "fits": True}


class EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A page</title>")

    def log_message(self, *args):
        pass


FETCH_TAGS = """
const [url, done] = arguments;
const headers = {"Content-Type": "application/json"};
fetch(url, {method: "POST", headers, body: JSON.stringify({title: "python"})})
  .then(async (response) => done((await response.json()).suggested[0].tag), (error) => done(error.name));
"""


@contextmanager
def wsgi_server(app):
    """Serve a Flask app in this process and yield its URL."""
    httpd = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()


@contextmanager
def stand_in_space(port: int = 0, delay: float = 0.0, kind: type = StandInSpace):
    handler = type("Handler", (kind,), {"delay": delay, "calls": 0, "asked": {}})
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=[0.02], daemon=True).start()
        httpd.handler = handler
        try:
            yield httpd
        finally:
            httpd.shutdown()


def url_of(httpd) -> str:
    return f"http://127.0.0.1:{httpd.server_port}"


@pytest.fixture
def space():
    with stand_in_space() as httpd:
        yield httpd


@pytest.fixture
def client(space):
    return create_app({"TAGGER_SPACE": url_of(space), "TAGGER_TIMEOUT": 5}).test_client()


# ---- what the API offers ----


def test_a_batch_is_answered_in_order_by_one_call(client, space):
    questions = [{"title": f"q{number}"} for number in range(MAX_BATCH)]
    response = client.post("/api/tags/batch", json={"questions": questions})
    assert [answer["suggested"][0]["tag"] for answer in response.get_json()["answers"]] == [
        q["title"] for q in questions
    ]
    assert space.handler.calls == 1


@pytest.mark.parametrize(
    "body, complaint",
    [
        ({}, "1 to 64"),
        ({"questions": []}, "1 to 64"),
        ({"questions": [{"title": "x"}] * 65}, "1 to 64"),
        ({"questions": [{"title": "x"}, {"title": ""}]}, "Question 2: Write a title"),
        ({"questions": [{"title": "x"}, 7]}, "Question 2: A JSON object"),
    ],
)
def test_an_invalid_batch_is_rejected_as_a_whole(client, space, body, complaint):
    response = client.post("/api/tags/batch", json=body)
    assert (response.status_code, response.content_type) == (400, "application/problem+json")
    assert complaint in response.get_json()["detail"]
    assert space.handler.calls == 0


class NewerSpace(StandInSpace):
    """Its answers have fields that this app does not know."""

    def reply(self, body: bytes, kind: str):
        super().reply(body.replace(b'"fits": true', b'"fits": true, "language": "en"').replace(
            b'"probability": 0.9', b'"probability": 0.9, "synonyms": ["py"]'), kind)  # fmt: skip


def test_unknown_fields_of_an_answer_are_passed_on():
    with stand_in_space(kind=NewerSpace) as newer:
        client = create_app({"TAGGER_SPACE": url_of(newer)}).test_client()
        answered = client.post("/api/tags", json=QUESTION).get_json()
        (batched,) = client.post("/api/tags/batch", json={"questions": [QUESTION]}).get_json()["answers"]
    assert batched == answered
    assert answered == {
        "suggested": [{"tag": "python", "probability": 0.9, "synonyms": ["py"]}],
        "others": [],
        "fits": True,
        "language": "en",
        "source": "space",
    }


def test_tags_and_explanations_come_from_the_space(client):
    assert client.get("/api/tags").get_json() == {"tags": [{"tag": "python", "threshold": 0.5}]}
    explanation = client.post("/api/explain", json={"title": "csv"}).get_json()
    assert explanation["title"] == [{"text": "csv", "tag": None, "weight": 0}]


def test_health_checks_distinguish_the_app_from_its_space(space, client):
    assert client.get("/healthz").get_json() == client.get("/readyz").get_json() == {"status": "ok"}
    alone = create_app({"TAGGER_SPACE": "http://127.0.0.1:9", "TAGGER_TIMEOUT": 1}).test_client()
    assert alone.get("/healthz").status_code == 200
    assert (alone.get("/readyz").status_code, alone.get("/readyz").content_type) == (503, "application/problem+json")


def test_a_repeated_question_is_answered_from_the_cache(client, space):
    answers = [client.post("/api/tags", json=QUESTION).get_json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert space.handler.calls == 1
    client.post("/api/tags", json=QUESTION | {"description": "another"})
    assert space.handler.calls == 2


# ---- bad input ----


@pytest.fixture(scope="module")
def fuzzed_app():
    with stand_in_space() as httpd:
        yield create_app({"TAGGER_SPACE": url_of(httpd), "TAGGER_RATE_LIMIT": "1000000 per second"})


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_responses_conform_to_the_openapi_description(fuzzed_app, mode):
    """Each endpoint answers what is described, to requests that fit the description and to ones that do not."""
    config = schemathesis.Config.from_dict(REFUSALS)
    described = schemathesis.openapi.from_wsgi("/api/openapi.json", fuzzed_app, config=config)
    operations = [operation.ok() for operation in described.get_all_operations()]
    assert len(operations) == 6
    for operation in operations:

        @FUZZ
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            case.call_and_validate()

        if mode is GenerationMode.POSITIVE or operation.body:
            check()


NASTY = st.one_of(
    st.text(max_size=400),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "\x00",
            "\u202eabc\u202c",
            "{{ 7 * 7 }}",
            "\\ud800",
        ]
    ),
    st.text(alphabet="<>&\"'{}%\x00\u200f\u202e\ud800\udfff \n", min_size=1, max_size=30),
)


@hypothesis.settings(FUZZ, max_examples=500)
@hypothesis.given(
    title=NASTY, description=NASTY, path=st.sampled_from(["/", "/api/tags", "/api/tags/batch", "/api/explain"])
)
def test_no_text_causes_a_server_error_or_reaches_a_page_unescaped(fuzzed_app, title, description, path):
    question = {"title": title, "description": description}
    client = fuzzed_app.test_client()
    if path == "/":
        form = {name: text.encode("utf-8", "surrogatepass") for name, text in question.items()}
        response = client.post(path, data=form)
        assert "<script>alert" not in response.text and "<img src=x" not in response.text
    else:
        response = client.post(path, json={"questions": [question]} if path.endswith("batch") else question)
    assert response.status_code in (200, 400), response.text


@pytest.mark.parametrize("path", ["/", "/api/tags", "/api/tags/batch", "/api/explain"])
@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
def test_a_body_of_ten_megabytes_is_rejected(fuzzed_app, path, content_type):
    response = fuzzed_app.test_client().post(path, data=b'{"title": "' + b"x" * 10_000_000, content_type=content_type)
    assert response.status_code in (400, 413, 415)


# ---- guards ----


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
    ],
)
def test_another_sites_page_cannot_send_the_form(client, headers, status):
    assert client.post("/", data=QUESTION, headers=headers).status_code == status
    assert client.post("/api/tags", json=QUESTION, headers=headers).status_code == status


SITE, OTHER_SITE = "https://datascience.stackexchange.com", "https://evil.example"


@pytest.fixture
def open_client(space):
    """A client of the form whose REST API the pages of SITE may call."""
    return create_app({"TAGGER_SPACE": url_of(space), "TAGGER_ORIGINS": f"http://localhost:8765 {SITE}"}).test_client()


def cors_headers(response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("Access-Control-")}


@pytest.mark.parametrize(("path", "methods"), [("/api/tags", {"GET", "POST"}), ("/api/tags/batch", {"POST"})])
def test_a_page_of_a_configured_origin_may_call_the_api(open_client, path, methods):
    asking = {"Origin": SITE, "Sec-Fetch-Site": "cross-site"}
    asking |= {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = open_client.options(path, headers=asking)
    assert allowed.status_code == 200 and "Origin" in allowed.vary
    assert allowed.headers["Access-Control-Allow-Origin"] == SITE
    assert methods <= set(allowed.headers["Access-Control-Allow-Methods"].split(", "))
    assert allowed.headers["Access-Control-Allow-Headers"] == "Content-Type"

    body = {"questions": [QUESTION]} if path.endswith("batch") else QUESTION
    answer = open_client.post(path, json=body, headers={"Origin": SITE, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == SITE
    refused = open_client.post(path, json={}, headers={"Origin": SITE, "Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 400 and refused.headers["Access-Control-Allow-Origin"] == SITE, "errors are readable"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", [OTHER_SITE, "null", f"{SITE}.evil.example", "http://datascience.stackexchange.com"])
def test_a_page_of_another_origin_may_not(open_client, origin):
    asking = {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Access-Control-Request-Method": "POST"}
    assert cors_headers(open_client.options("/api/tags", headers=asking)) == {}
    answer = open_client.post("/api/tags", json=QUESTION, headers=asking)
    assert answer.status_code == 403 and cors_headers(answer) == {}
    assert cors_headers(open_client.get("/api/tags", headers=asking)) == {}


def test_no_origin_is_allowed_by_default_and_never_the_form(client, open_client):
    asking = {"Origin": SITE, "Sec-Fetch-Site": "cross-site"}
    assert client.post("/api/tags", json=QUESTION, headers=asking).status_code == 403
    form = open_client.post("/", data=QUESTION, headers=asking)
    assert form.status_code == 403 and cors_headers(form) == {}


@pytest.mark.parametrize("origins", ["*", "null", "datascience.stackexchange.com", f"{SITE}/", f"{SITE}, {OTHER_SITE}"])
def test_an_invalid_origin_is_reported_at_start(origins):
    with pytest.raises(ValueError, match=r"^TAGGER_ORIGINS is "):
        create_app({"TAGGER_ORIGINS": origins})


def test_a_page_of_a_configured_origin_reads_answers_in_a_browser(space, browser):
    """Chromium asks first, since the body is JSON, and shows the answer to no other page."""
    found = []
    with http_server(EmptyPage) as page, http_server(EmptyPage) as other_page:
        app = create_app({"TAGGER_SPACE": url_of(space), "TAGGER_ORIGINS": page})
        with wsgi_server(app) as form:
            for url in (page, other_page):
                browser.get(url)
                found.append(browser.execute_async_script(FETCH_TAGS, f"{form}/api/tags"))
    assert found == ["python", "TypeError"]


def test_requests_of_one_address_are_rate_limited(space):
    client = create_app({"TAGGER_SPACE": url_of(space), "TAGGER_RATE_LIMIT": "3 per hour"}).test_client()
    statuses = [client.post("/api/tags", json=QUESTION).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    response = client.post("/api/tags", json=QUESTION)
    assert 3000 < int(response.headers["Retry-After"]) <= 3601
    assert response.content_type == "application/problem+json"
    page = client.post("/", data=QUESTION)
    assert page.status_code == 429 and 'value="python"' in page.text, "the form keeps its text"
    assert client.get("/").status_code == client.get("/healthz").status_code == 200
    other = client.post("/api/tags", json=QUESTION, environ_overrides={"REMOTE_ADDR": "10.0.0.7"})
    assert other.status_code == 200


def limited(space, limit: str):
    return create_app({"TAGGER_SPACE": url_of(space), "TAGGER_RATE_LIMIT": limit}).test_client()


def batch(count: int) -> dict:
    return {"questions": [{"title": f"q{number}"} for number in range(count)]}


def test_each_question_of_a_batch_counts(space):
    client = limited(space, "100 per hour")
    assert client.post("/api/tags/batch", json=batch(64)).status_code == 200
    refused = client.post("/api/tags/batch", json=batch(64))
    assert (refused.status_code, refused.content_type) == (429, "application/problem+json")
    assert 3000 < int(refused.headers["Retry-After"]) <= 3601
    assert client.post("/api/tags/batch", json=batch(34)).status_code == 200, "the refused one counted as one question"
    assert client.post("/api/tags", json=QUESTION).status_code == 200
    assert client.post("/api/tags", json=QUESTION).status_code == 429


def test_a_batch_above_the_rate_limit_is_reported_as_too_large(space):
    client = limited(space, "5 per minute; 1000 per day")
    refused = client.post("/api/tags/batch", json=batch(6))
    assert refused.status_code == 429 and "Retry-After" not in refused.headers
    assert "at most 5 questions" in refused.get_json()["detail"]
    assert space.handler.calls == 0


LONG_TEXT = "a model of many words, " * 100


@pytest.mark.parametrize(
    "path, question, cost",
    [
        ("/api/explain", {"title": "q", "description": LONG_TEXT}, MAX_EXPLANATION_COST),
        ("/api/explain", {"title": "q", "description": "<br>".join("words" * 30)}, MAX_EXPLANATION_COST),
        ("/api/explain", {"title": "three short words"}, 4),
        ("/", {"title": "three short words", "explain": "yes"}, 5),
    ],
)
def test_an_explanation_counts_as_many_questions_as_it_costs(space, path, question, cost):
    client = limited(space, f"{cost + 2} per hour")
    body = {"data": question} if path == "/" else {"json": question}
    assert client.post(path, **body).status_code == 200
    assert [client.post("/api/tags", json=QUESTION).status_code for _ in range(3)] == [200, 200, 429]
    refused = client.post(path, **body)
    assert refused.status_code == 429 and "Retry-After" in refused.headers


def test_an_explanation_uses_up_a_rate_limit_below_its_cost(space):
    client = limited(space, "5 per hour")
    question = {"title": "q", "description": LONG_TEXT}
    assert [client.post("/api/explain", json=question).status_code for _ in range(2)] == [200, 429]


def test_the_largest_batch_fits_whatever_its_encoding(space):
    """Each character takes twelve bytes of JSON, where all are escaped."""
    longest = {"title": "\U0001f600" * MAX_TITLE, "description": "\U0001f600" * MAX_DESCRIPTION}
    client = limited(space, "1000 per hour")
    for escaped in (True, False):
        body = json.dumps({"questions": [longest] * MAX_BATCH}, indent=4, ensure_ascii=escaped)
        answer = client.post("/api/tags/batch", data=body.encode(), content_type="application/json")
        assert (answer.status_code, len(answer.get_json()["answers"])) == (200, MAX_BATCH)
    assert client.post("/api/tags/batch", data=body.encode() * 4, content_type="application/json").status_code == 413
    assert client.post("/api/tags", data=body.encode(), content_type="application/json").status_code == 413


@pytest.mark.parametrize(
    "body", [b'{"questions": [' + b"[]," * 1_000_000, b'{"questions": [' + b'"",' * 1_000_000, b'"\\"' * 1_000_000]
)
def test_a_body_with_an_excessive_structure_is_not_parsed(client, body):
    """Parsed, it would take a hundred times its size."""
    refused = client.post("/api/tags/batch", data=body, content_type="application/json")
    assert refused.status_code == 400 and "more than questions" in refused.get_json()["detail"]


def test_the_description_names_the_limits(client):
    described = client.get("/api/openapi.json").get_json()
    limits = {
        path: described["paths"][path]["post"]["responses"]["413"]["description"]
        for path in ("/api/tags", "/api/explain", "/api/tags/batch")
    }
    one = f"Longer than {MAX_QUESTION_BYTES // 1024:,} KiB"
    many = f"Longer than {MAX_BATCH * MAX_QUESTION_BYTES // 1024:,} KiB"
    assert limits == {"/api/tags": one, "/api/explain": one, "/api/tags/batch": many}
    assert f"up to {MAX_EXPLANATION_COST}" in described["info"]["description"]
    question = described["components"]["schemas"]["Question"]["properties"]
    assert [question[name]["maxLength"] for name in QUESTION] == [MAX_TITLE, MAX_DESCRIPTION]


FORWARDED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "tags.example",
    "X-Forwarded-Prefix": "/tagger",
    "Origin": "https://tags.example",
    "Host": "backend:8000",
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"X-Forwarded-Host": "tags.example:8443", "Origin": "https://tags.example:8443"},
        {"X-Forwarded-Port": "8443", "Origin": "https://tags.example:8443"},
        {"X-Forwarded-Port": "443"},
    ],
)
def test_a_trusted_proxy_may_set_host_and_path(space, change):
    client = create_app({"TAGGER_SPACE": url_of(space), "TAGGER_PROXIES": 1}).test_client()
    headers = FORWARDED | change
    page = client.post("/", data=QUESTION, headers=headers)
    assert page.status_code == 200
    assert 'action="/tagger/"' in page.text and 'href="/tagger/form.css"' in page.text
    assert client.get("/api/openapi.json", headers=headers).get_json()["servers"] == [{"url": "/tagger"}]
    assert client.post("/", data=QUESTION, headers=headers | {"Origin": "https://evil.example"}).status_code == 403


def test_forged_proxy_headers_are_ignored(client):
    """Without TAGGER_PROXIES, whoever sends it may be anybody."""
    headers = FORWARDED | {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}
    assert client.post("/", data=QUESTION, headers=headers).status_code == 403
    page = client.post("/", data=QUESTION, headers={"X-Forwarded-Prefix": "//evil.example", "X-Forwarded-Host": "x"})
    assert page.status_code == 200 and 'action="/"' in page.text and "evil" not in page.text


def test_the_log_is_json_without_the_text_of_the_question(client, capfd):
    app_client = create_app({"TAGGER_SPACE": "http://127.0.0.1:9", "TAGGER_TIMEOUT": 1}).test_client()
    app_client.post("/api/tags?title=secretword", json={"title": "secretword"})
    app_client.get("/secretword")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["route"], line["status"]) for line in lines if line["message"] == "request"] == [
        ("/api/tags", 503),
        (None, 404),
    ]
    assert "secretword" not in json.dumps(lines)


@pytest.mark.parametrize(
    "setting, value",
    [("TAGGER_MODEL", "/nowhere"), ("TAGGER_IN_FLIGHT", "0"), ("TAGGER_RATE_LIMIT", "often"), ("TAGGER_PROXIES", "x")],
)
def test_an_invalid_setting_is_reported(setting, value):
    with pytest.raises(ValueError, match=f"^{setting} is "):
        create_app({setting: value})


# ---- a Space that fails ----


def test_a_local_model_answers_while_the_space_is_unavailable(tmp_path):
    model = build_model_folder(tmp_path / "model")
    client = create_app(
        {"TAGGER_SPACE": "http://127.0.0.1:9", "TAGGER_TIMEOUT": 1, "TAGGER_MODEL": str(model)}
    ).test_client()
    found = client.post("/api/tags", json={"title": "**python**"}).get_json()
    assert (found["suggested"], found["source"]) == ([{"tag": "python", "probability": 0.982}], "local")
    assert [row["threshold"] for row in client.get("/api/tags").get_json()["tags"]] == [0.5] * len(TAGS)
    page = client.post("/", data={"title": "python", "explain": "yes"})
    assert "a copy on this server answered" in page.text and "<mark" in page.text


def test_a_hanging_space_is_no_longer_called_until_it_recovers():
    with stand_in_space(delay=30) as hung:
        port = hung.server_port
        client = create_app({"TAGGER_SPACE": url_of(hung), "TAGGER_TIMEOUT": 1}).test_client()
        times = []
        for number in range(8):
            start = time.monotonic()
            assert client.post("/api/tags", json={"title": f"q{number}"}).status_code == 503
            times.append(time.monotonic() - start)
    assert max(times) < 2, "an answer comes within the timeout plus a second"
    assert max(times[5:]) < 0.5, "after five failures nobody waits"
    with stand_in_space(port=port):
        back = time.monotonic()
        while client.post("/api/tags", json={"title": "again"}).status_code != 200:
            assert time.monotonic() - back < 10
            time.sleep(0.2)


def test_concurrent_calls_are_limited_and_answers_are_not_mixed_up():
    with stand_in_space(delay=0.3) as slow:
        app = create_app({"TAGGER_SPACE": url_of(slow), "TAGGER_IN_FLIGHT": 4, "TAGGER_RATE_LIMIT": "1000 per second"})
        results = {}

        def ask(title):
            results[title] = app.test_client().post("/api/tags", json={"title": title})

        threads = [threading.Thread(target=ask, args=[f"q{number}"]) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    answered = {title: found.get_json() for title, found in results.items() if found.status_code == 200}
    assert {found.status_code for found in results.values()} == {200, 503}
    assert len(answered) >= 4
    assert all(found["suggested"][0]["tag"] == title for title, found in answered.items())


# ---- deployment ----


def test_renders_blueprint_starts_the_form(tmp_path):
    """Its start command, run as Render does it, answers at the path that Render watches."""
    import httpx
    import yaml

    service = yaml.safe_load((ROOT / "webapp" / "render.yaml").read_text())["services"][0]
    assert (ROOT / service["buildCommand"].rpartition(" ")[2]).is_file()
    port = free_port()
    path = f"{SERVE_PYTHON.parent}:{os.environ['PATH']}"
    settings = {row["key"]: row["value"] for row in service["envVars"] if "value" in row}
    process = subprocess.Popen(
        ["bash", "-c", "exec " + service["startCommand"]],
        cwd=ROOT,
        env=os.environ | settings | {"PORT": str(port), "PATH": path},
    )
    try:
        for _ in range(150):
            try:
                assert httpx.get(f"http://127.0.0.1:{port}{service['healthCheckPath']}").status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            pytest.fail("no answer")
    finally:
        process.terminate()
        process.wait(30)
