"""How `openai` meets a server that fails. That it works with a real one is said by the contract."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sys2ft.chat import user
from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.engines import serving
from sys2ft.study.engines.serving import EndpointError, OpenAiEngine
from sys2ft.study.requests import Request, Sample, complete

REQUESTS = [Request(f"item{n}", "write", n, range(1), (user(f"Write {n}."),), 12, 100 + n) for n in range(8)]


def answer(text: str | None = "Said.", finish: str = "stop", **usage: int) -> tuple[int, dict]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    body = {"id": "a", "object": "chat.completion", "created": 0, "model": "toy", "choices": [choice]}
    return 200, body | ({"usage": usage} if usage else {})


def refuse(status: int, message: str = "not now") -> tuple[int, dict]:
    return status, {"error": {"message": message, "type": "x", "code": None}}


class ToyServer(ThreadingHTTPServer):
    """Serves the model `toy`; `reply` says what the n-th request for a completion gets (None: the line goes dead)."""

    daemon_threads = True

    def __init__(self, reply: Callable[[int], tuple[int, dict] | None], seconds: float = 0.0):
        super().__init__(("127.0.0.1", 0), ToyHandler)
        self.reply, self.seconds = reply, seconds
        self.asked: list[dict] = []
        self.keys: list[str] = []
        self.lock, self.in_flight, self.most_in_flight = threading.Lock(), 0, 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def settings(self) -> TeacherSettings:
        endpoint = f"http://127.0.0.1:{self.server_address[1]}/v1"
        return TeacherSettings(engine="openai", endpoint=endpoint, served_model="toy", revision="1", batch_size=2)


class ToyHandler(BaseHTTPRequestHandler):
    server: ToyServer

    def do_GET(self) -> None:
        self.send(200, {"object": "list", "data": [{"id": "toy", "object": "model", "created": 0, "owned_by": "x"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(body)
            self.server.keys.append(self.headers["Authorization"])
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
        time.sleep(self.server.seconds)
        reply = self.server.reply(number)
        with self.server.lock:
            self.server.in_flight -= 1
        if reply is None:
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.send(*reply)

    def send(self, status: int, body: dict) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After-Ms", "10")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def keep(engine: OpenAiEngine) -> tuple[list[Sample], EndpointError | None]:
    """What a caller has when an engine ends with an error, and the error."""
    kept: list[Sample] = []
    try:
        for group in engine(REQUESTS):
            kept += group
    except EndpointError as error:
        return kept, error
    return kept, None


@pytest.fixture
def serve():
    servers: list[ToyServer] = []

    def start(reply: Callable[[int], tuple[int, dict] | None], seconds: float = 0.0) -> ToyServer:
        servers.append(ToyServer(reply, seconds))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def few_retries(monkeypatch):
    monkeypatch.setattr(serving, "RETRIES", 1)


def test_a_request_says_all_that_its_text_depends_on(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    server = serve(lambda _: answer(prompt_tokens=7, completion_tokens=3, total_tokens=10))
    (sample,) = complete(OpenAiEngine(server.settings), REQUESTS[:1])
    assert (sample.text, sample.finish, sample.prompt_tokens, sample.completion_tokens) == ("Said.", "stop", 7, 3)
    assert server.asked == [
        {
            "model": "toy", "messages": [{"role": "user", "content": "Write 0."}], "seed": 100, "max_tokens": 12,
            "temperature": 0.8, "top_p": 0.95, "top_k": 64,
        }
    ]  # fmt: skip
    assert server.keys == ["Bearer a-key"]


def test_no_text_no_counts_and_no_key(serve, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = serve(lambda _: answer(None, "content_filter"))
    (sample,) = complete(OpenAiEngine(server.settings), REQUESTS[:1])
    assert (sample.text, sample.finish) == ("", "length")
    assert (sample.prompt_tokens, sample.completion_tokens, sample.cached_tokens) == (None, None, None)


def test_as_many_are_in_flight_as_the_batch_size_says(serve):
    server = serve(lambda _: answer(), seconds=0.05)
    assert len(complete(OpenAiEngine(server.settings), REQUESTS)) == len(REQUESTS)
    assert server.most_in_flight == 2


@pytest.mark.parametrize("failure", [refuse(500), refuse(429), refuse(503), None], ids=["500", "429", "503", "dropped"])
def test_a_passing_failure_is_tried_again(serve, failure):
    server = serve(lambda number: failure if number < 2 else answer())
    (sample,) = complete(OpenAiEngine(server.settings), REQUESTS[:1])
    assert sample.text == "Said."
    assert len(server.asked) == 3


@pytest.mark.usefixtures("few_retries")
def test_a_lasting_failure_names_endpoint_and_request(serve):
    server = serve(lambda _: refuse(429, "too many requests"))
    with pytest.raises(EndpointError, match=r"http://127\S+/v1 did not answer the request 'item0/write/0'.*too many"):
        complete(OpenAiEngine(server.settings), REQUESTS[:1])
    assert len(server.asked) == 2


def test_what_a_server_finds_wrong_is_said_at_once(serve):
    server = serve(lambda _: refuse(400, "top_k is unknown"))
    with pytest.raises(EndpointError, match=r"refused the request 'item0/write/0'.*top_k is unknown"):
        complete(OpenAiEngine(server.settings), REQUESTS[:1])
    assert len(server.asked) == 1


@pytest.mark.usefixtures("few_retries")
def test_what_was_finished_before_a_server_died_is_kept(serve):
    server = serve(lambda number: answer(f"Text {number}.") if number < 5 else None, seconds=0.02)
    start = time.monotonic()
    kept, error = keep(OpenAiEngine(server.settings))
    assert re.search(r"did not answer the request 'item\d/write/\d'.*start again", str(error))
    assert sorted(sample.text for sample in kept) == [f"Text {number}." for number in range(5)]
    assert time.monotonic() - start < 10


def test_an_error_does_not_lose_what_is_in_flight(serve):
    server = serve(lambda number: refuse(400, "no") if number == 0 else answer(), seconds=0.02)
    kept, error = keep(OpenAiEngine(server.settings))
    assert error
    assert len(kept) == len(server.asked) - 1 < len(REQUESTS) - 1


def test_a_completion_cut_by_the_context_is_an_error(serve):
    server = serve(lambda _: answer("Sai", "length", prompt_tokens=90, completion_tokens=3, total_tokens=93))
    with pytest.raises(ValueError, match=r"'item0/write/0' is longer than the teacher's context.*3 of 12"):
        complete(OpenAiEngine(server.settings), REQUESTS[:1])


@pytest.mark.usefixtures("few_retries")
def test_an_endpoint_that_is_not_there_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    settings = TeacherSettings(engine="openai", endpoint=endpoint, served_model="toy", revision="1")
    with pytest.raises(EndpointError, match=rf"{endpoint} cannot be asked for its models"):
        OpenAiEngine(settings)


def test_a_model_that_is_not_served_is_named_with_those_that_are(serve):
    settings = serve(lambda _: answer()).settings.model_copy(update={"served_model": "other"})
    with pytest.raises(EndpointError, match=r"does not serve 'other'; set served_model to one of: toy"):
        OpenAiEngine(settings)


def test_the_endpoint_may_stand_in_the_environment(serve, monkeypatch):
    server = serve(lambda _: answer("Said."))
    monkeypatch.setenv("OPENAI_BASE_URL", server.settings.endpoint)
    engine = OpenAiEngine(server.settings.model_copy(update={"endpoint": None}))
    assert [sample.text for sample in complete(engine, REQUESTS[:1])] == ["Said."]
    assert engine.endpoint == server.settings.endpoint
