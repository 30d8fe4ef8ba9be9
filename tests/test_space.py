"""The form and its Space: errors of a request and of the Space, proxies, certificates, tokens, redirections."""

import json
import os
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.test_apps import ROOT, SERVE_PYTHON, free_port, http_server, server
from tests.test_rest import StandInSpace, stand_in_space, url_of
from tests.tiny_model import build_model_folder
from webapp.app import create_app
from webapp.space import is_this_machine

NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
TOKEN = "hf_secret"
QUESTION = {"title": "python"}
NOT_SET_UP, WAKING_UP, FAILED = "not set up correctly", "waking up", "could not answer this"


@pytest.fixture(autouse=True)
def plain_network(monkeypatch):
    """An environment that names no proxy, certificate or token."""
    for name in NETWORK:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return monkeypatch


def client_of(space: str, **settings):
    return create_app({"TAGGER_SPACE": space, "TAGGER_TIMEOUT": 2, **settings}).test_client()


@contextmanager
def form_of_hub(hub_url: str, **settings: str):
    """The form of the Space owner/name in its serving environment, whose library for the Hub is newer than this one's.

    Yields a client of it, whose attribute ``log`` holds the server's log after the ``with`` block.
    """
    url = f"http://127.0.0.1:{free_port()}"
    gunicorn = [SERVE_PYTHON, "-m", "gunicorn", "--threads", "4", "--bind", url.removeprefix("http://")]
    environment = os.environ | {"HF_ENDPOINT": hub_url, "TAGGER_SPACE": "owner/name", "TAGGER_TIMEOUT": "5"} | settings
    with (
        server([*gunicorn, "webapp.app:create_app()"], url, cwd=ROOT, env=environment) as process,
        httpx.Client(base_url=url, timeout=30, trust_env=False) as client,
    ):
        yield client
    client.log = process.log


def assert_told(client, told: str, status: int = 503) -> None:
    """The form and the API give a status with a text that is meant for visitors; the form keeps theirs."""
    answer = client.post("/api/tags", json=QUESTION)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert told in json.loads(answer.text)["detail"]
    page = client.post("/", data=QUESTION)
    assert page.status_code == status and told in page.text and 'value="python"' in page.text
    assert ("Try again" in page.text) == ("Retry-After" in answer.headers) == ("Retry-After" in page.headers)


# ---- errors of a request, and of the Space ----


class Choosy(StandInSpace):
    """Fails as the title of a question says, and is slow at batches and explanations that say so."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for status in (413, 422):
            if f"status {status}" in body.decode():
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        event = str(len(self.asked))
        self.asked[event] = json.loads(body)
        self.reply(json.dumps({"event_id": event}).encode(), "application/json")

    def do_GET(self):
        asked = json.dumps(self.asked[self.path.split("/")[-1]])
        error = "the question is empty" if "refuse" in asked else None
        if "refuse" in asked or "fail" in asked:
            self.reply(f"event: error\ndata: {json.dumps({'error': error})}\n\n".encode(), "text/event-stream")
        elif "slow" in asked:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"event: heartbeat\ndata: null\n\n")
            time.sleep(2)
            self.close_connection = True
        else:
            super().do_GET()


@pytest.mark.parametrize(
    "path, body, status, told",
    [
        ("/api/tags", {"title": "refuse"}, 400, "the question is empty"),
        ("/api/tags", {"title": "fail"}, 503, FAILED),
        ("/api/tags", {"title": "status 422"}, 503, FAILED),
        ("/api/tags/batch", {"questions": [{"title": "status 413"}, {"title": "two"}]}, 400, "fewer questions"),
        ("/api/tags/batch", {"questions": [{"title": "slow"}, {"title": "two"}]}, 503, FAILED),
        ("/api/explain", {"title": "slow", "description": ""}, 503, FAILED),
    ],
)
def test_errors_of_one_client_do_not_block_the_others(path, body, status, told, plain_network):
    plain_network.setattr("webapp.space.MAX_FAILURES", 2)
    with stand_in_space(kind=Choosy) as space:
        client = client_of(url_of(space), TAGGER_TIMEOUT=1)
        for _ in range(3):
            answer = client.post(path, json=body)
            assert answer.status_code == status and told in answer.get_json()["detail"]
        assert client.post("/api/tags", json=QUESTION, environ_overrides={"REMOTE_ADDR": "10.0.0.7"}).status_code == 200


@pytest.mark.parametrize(
    "path, body",
    [("/api/tags", {"title": "refuse"}), ("/api/tags/batch", {"questions": [{"title": "fail"}, QUESTION]})],
)
def test_a_recovered_space_is_detected_by_a_rejected_request_too(path, body, plain_network):
    plain_network.setattr("webapp.space.RECOVERY_TIMEOUT", 0.1)
    port = free_port()
    client = client_of(f"http://127.0.0.1:{port}")
    for number in range(6):
        assert client.post("/api/tags", json={"title": f"q{number}"}).status_code == 503
    with stand_in_space(port=port, kind=Choosy):
        time.sleep(0.2)
        client.post(path, json=body)
        assert client.post("/api/tags", json=QUESTION).status_code == 200


def test_a_slow_batch_does_not_delay_the_others_after_a_recovery(plain_network):
    plain_network.setattr("webapp.space.RECOVERY_TIMEOUT", 0.1)
    port = free_port()
    client = client_of(f"http://127.0.0.1:{port}", TAGGER_TIMEOUT=1)
    for number in range(6):
        assert client.post("/api/tags", json={"title": f"q{number}"}).status_code == 503
    with stand_in_space(port=port, kind=Choosy):
        time.sleep(0.2)
        assert client.post("/api/explain", json={"title": "slow", "description": ""}).status_code == 503
        assert client.post("/api/tags", json=QUESTION).status_code == 200


# ---- the network's settings ----

BAD_SETTINGS = [
    ("ALL_PROXY", "socks5://127.0.0.1:9"),
    ("HTTP_PROXY", "socks4://127.0.0.1:9"),
    ("https_proxy", "http://proxy:port"),
    ("HTTPS_PROXY", "nonsense://127.0.0.1:9"),
    ("SSL_CERT_FILE", "/nowhere/ca.pem"),
    ("SSL_CERT_FILE", __file__),
]


def space_threads() -> int:
    return sum(thread.name == "space" for thread in threading.enumerate())


@pytest.mark.parametrize("name, value", BAD_SETTINGS)
def test_an_invalid_network_setting_is_logged(name, value, plain_network, capfd):
    plain_network.setenv(name, value)
    client = client_of("https://tagger.example")
    assert_told(client, NOT_SET_UP)
    threads = space_threads()
    for _ in range(5):
        assert_told(client, NOT_SET_UP)
    assert space_threads() == threads, "a thread per request is left over"
    assert "fix or unset ALL_PROXY" in capfd.readouterr().err


@pytest.mark.parametrize("name, value", BAD_SETTINGS)
def test_the_local_model_answers_where_the_network_cannot_be_used(name, value, plain_network, tmp_path):
    plain_network.setenv(name, value)
    client = client_of("https://tagger.example", TAGGER_MODEL=str(build_model_folder(tmp_path / "model")))
    assert client.post("/api/tags", json=QUESTION).get_json()["source"] == "local"
    assert "a copy on this server answered" in client.post("/", data=QUESTION).text


@pytest.mark.parametrize(
    "name, value", [*BAD_SETTINGS, ("HTTP_PROXY", "http://127.0.0.1:9"), ("ALL_PROXY", "http://127.0.0.1:9")]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_space_on_this_machine_is_called_without_a_proxy(name, value, host, plain_network):
    plain_network.setenv(name, value)
    with stand_in_space() as space:
        client = client_of(f"http://{host}:{space.server_port}")
        assert client.post("/api/tags", json=QUESTION).get_json()["source"] == "space"


@pytest.mark.parametrize(
    "host, here",
    [
        *((host, True) for host in ("127.0.0.1", "127.8.0.1", "::1", "0.0.0.0", "::", "localhost", "app.localhost")),
        *((host, False) for host in ("10.0.0.1", "tagger.example", "localhost.example", "127.example")),
    ],
)
def test_loopback_addresses_are_recognized(host, here):
    assert is_this_machine(host) == here


def test_a_remote_space_is_called_through_the_proxy(plain_network):
    """A proxy gets the whole url; the stand-in answers whatever the host."""
    with stand_in_space() as proxy:
        plain_network.setenv("HTTP_PROXY", url_of(proxy))
        client = client_of("http://tagger.example")
        assert client.post("/api/tags", json=QUESTION).status_code == 200
        assert proxy.handler.calls == 1


def test_a_local_model_that_cannot_answer_is_no_server_error(tmp_path, capfd, plain_network):
    """Neither the Space's reason is lost, nor a library's message shown."""
    lost = f"http://127.0.0.1:{free_port()}"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_told(client_of(lost, TAGGER_MODEL=str(empty)), WAKING_UP)
    assert "model_quantized.onnx" in capfd.readouterr().err
    client = client_of(lost, TAGGER_MODEL=str(build_model_folder(tmp_path / "model")))
    for error, status, told in ((ValueError("the question is empty"), 400, "is empty"), (OSError(28), 503, WAKING_UP)):

        def fail(*args, error=error):
            raise error

        plain_network.setattr("tagging.tagger.Tagger.answer", fail)
        assert_told(client, told, status)


def test_the_form_offers_the_page_in_the_browser_if_nothing_answers(plain_network):
    page = "https://owner-name.static.hf.space"
    client = client_of(f"http://127.0.0.1:{free_port()}", TAGGER_BROWSER_PAGE=page)
    assert f'id="browser-page" href="{page}"' in client.post("/", data=QUESTION).text
    invalid = client.post("/", data={"title": ""})
    assert invalid.status_code == 400 and "browser-page" not in invalid.text, "only where the Space is to blame"
    assert f'href="{page}"' in client.get("/").text
    assert "browser-page" not in client_of(f"http://127.0.0.1:{free_port()}").post("/", data=QUESTION).text


# ---- private Spaces, redirections, and what no waiting mends ----


@contextmanager
def tls_space(tmp_path, kind: type):
    """A stand-in at https://localhost; yields its url and its certificate."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = ["openssl", "req", "-x509", *curve, *names, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    handler = type("Handler", (kind,), {"asked": {}, "tokens": []})
    with ThreadingHTTPServer(("localhost", 0), handler) as httpd:
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        httpd.handler = handler
        threading.Thread(target=httpd.serve_forever, args=[0.02], daemon=True).start()
        try:
            yield httpd, f"https://localhost:{httpd.server_port}", certificate
        finally:
            httpd.shutdown()


class Private(StandInSpace):
    """Answers to whoever shows the token, and otherwise as the Hub's proxy does for a Space that it hides."""

    tokens: list

    def parse_request(self):
        parsed = super().parse_request()
        if parsed:
            self.tokens.append(self.headers["Authorization"])
        return parsed

    def do_POST(self):
        if self.headers["Authorization"] == f"Bearer {TOKEN}":
            super().do_POST()
        else:
            self.send_error(404)


def hub(host: str, stage: str = "RUNNING", status: int = 200, **fields):
    """Return a handler that shows every Space as one at ``host``."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            runtime = {"stage": stage, "hardware": {"current": None, "requested": None}}
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({"id": "owner/name", "host": host, "runtime": runtime, **fields}).encode())

        def log_message(self, *args):
            pass

    return Hub


def test_a_private_space_gets_the_token(tmp_path, plain_network):
    with tls_space(tmp_path, Private) as (space, url, certificate), http_server(hub(url, private=True)) as hub_url:
        with form_of_hub(hub_url, HF_TOKEN=TOKEN, SSL_CERT_FILE=str(certificate)) as client:
            assert client.post("/api/tags", json=QUESTION).status_code == 200
        assert space.handler.tokens == [f"Bearer {TOKEN}"] * 2  # the call, and its result


def test_the_token_goes_to_no_other_host_and_not_over_plain_http(tmp_path, plain_network):
    plain_network.setenv("HF_TOKEN", TOKEN)
    with tls_space(tmp_path, Private) as (space, url, certificate), stand_in_space(kind=Private) as plain:
        plain_network.setenv("SSL_CERT_FILE", str(certificate))
        plain.handler.tokens = []
        client_of(url).post("/api/tags", json=QUESTION)  # a url may be anybody's
        client_of(url_of(plain)).post("/api/tags", json=QUESTION)
        for host, private in ((url, False), (url_of(plain), True)):
            with http_server(hub(host, private=private)) as hub_url, form_of_hub(hub_url) as client:
                client.post("/api/tags", json=QUESTION)
        assert space.handler.tokens == plain.handler.tokens == [None, None]


def test_a_private_space_without_the_token_is_not_called_waking_up(tmp_path, plain_network):
    with (
        tls_space(tmp_path, Private) as (_, url, certificate),
        http_server(hub(url, private=True)) as hub_url,
        form_of_hub(hub_url, SSL_CERT_FILE=str(certificate)) as client,
    ):
        for _ in range(4):  # also when it is left alone after that many failures
            assert_told(client, NOT_SET_UP)
    assert "status 404" in client.log
    assert "HF_TOKEN" in client.log


class Refusing(BaseHTTPRequestHandler):
    """Answers every call with ``status``."""

    status = 0

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(self.status)

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_of_the_space_is_logged_for_the_operator(status, plain_network, capfd):
    with http_server(type("Handler", (Refusing,), {"status": status})) as url:
        assert_told(client_of(url), NOT_SET_UP)
    assert_refusal_is_explained(capfd.readouterr().err, status)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_of_the_hub_is_logged_for_the_operator(status, plain_network):
    with http_server(hub("", status=status)) as hub_url, form_of_hub(hub_url) as client:
        assert_told(client, NOT_SET_UP)
    assert_refusal_is_explained(client.log, status)


def assert_refusal_is_explained(log: str, status: int) -> None:
    assert str(status) in log and "HF_TOKEN" in log and "TAGGER_SPACE" in log


@pytest.mark.parametrize(
    "stage, told",
    [("PAUSED", NOT_SET_UP), ("RUNTIME_ERROR", NOT_SET_UP), ("BUILD_ERROR", NOT_SET_UP), ("BUILDING", WAKING_UP)],
)
def test_a_space_that_does_not_start_by_itself_is_said_to_the_operator(stage, told, plain_network):
    with http_server(hub("", stage=stage)) as hub_url, form_of_hub(hub_url) as client:
        assert_told(client, told)
    assert f"stage is {stage}" in client.log


def redirecting(status: int, to: str):
    class Redirecting(BaseHTTPRequestHandler):
        asked = 0

        def do_POST(self):
            type(self).asked += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Location", to + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    return Redirecting


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_https_is_followed_and_remembered(status, tmp_path, plain_network):
    with tls_space(tmp_path, StandInSpace) as (_, url, certificate):
        plain_network.setenv("SSL_CERT_FILE", str(certificate))
        handler = redirecting(status, url)
        with http_server(handler) as plain:
            client = client_of(plain.replace("127.0.0.1", "localhost"))
            for title in ("python", "csv"):
                assert client.post("/api/tags", json={"title": title}).status_code == 200
    assert handler.asked == 1


def test_a_redirect_to_another_host_is_logged_for_the_operator(capfd):
    with stand_in_space() as other, http_server(redirecting(301, url_of(other))) as url:
        assert_told(client_of(url.replace("127.0.0.1", "localhost")), NOT_SET_UP)
        assert other.handler.calls == 0
    assert "redirects to http://127.0.0.1" in capfd.readouterr().err


def test_an_untrusted_certificate_is_logged_for_the_operator(tmp_path, capfd):
    with tls_space(tmp_path, StandInSpace) as (_, url, _):
        assert_told(client_of(url), NOT_SET_UP)
    assert "SSL_CERT_FILE" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["http://[", "https://", "http://host:port", "ftp://host", "owner", "http://a b"])
def test_an_invalid_address_is_reported_at_start(name):
    with pytest.raises(ValueError, match=r"^TAGGER_SPACE is "):
        create_app({"TAGGER_SPACE": name})
