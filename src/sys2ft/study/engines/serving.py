"""The engine `openai`: a model behind an endpoint that speaks OpenAI's protocol, such as `vllm serve`."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.requests import Request, Sample

RETRIES = 12
"""After the first try, where the connection fails or the server answers 408, 409, 429 or 5xx: a good minute in all."""
SECONDS = 600
"""That one try may take."""
TOO_LONG = ("context_length_exceeded", "context length", "maximum context")
"""By which servers say, in an answer 400, that a prompt with its completion is too long."""


class EndpointError(RuntimeError):
    """An endpoint does not do what a study needs; the message names it and says what to do."""


class OpenAiEngine:
    """A served model; as many requests are in flight as the teacher's `batch_size` says.

    Raises:
        EndpointError: the endpoint cannot be reached, refuses the key, or does not serve the model.
    """

    def __init__(self, settings: TeacherSettings):
        import openai

        self.settings = settings
        # A server of one's own asks for no key; the package does.
        key = os.environ.get(settings.api_key_env) or "none"
        # Without an endpoint the package takes OPENAI_BASE_URL.
        self.client = openai.OpenAI(base_url=settings.endpoint, api_key=key, max_retries=RETRIES, timeout=SECONDS)
        self.endpoint = str(self.client.base_url).rstrip("/")
        try:
            served = sorted(model.id for model in self.client.models.list())
        except openai.OpenAIError as error:
            raise EndpointError(self._explain("cannot be asked for its models", error)) from error
        if settings.served_model not in served:
            mend = f"set served_model to one of: {', '.join(served)}" if served else "it serves none"
            raise EndpointError(f"{self.endpoint} does not serve '{settings.served_model}'; {mend}")

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        """A sample at a time; what is in flight when a request fails is finished and given before the error is.

        Raises:
            EndpointError: a request failed after all retries; names the endpoint and the request.
            ValueError: a prompt with its completion is longer than the teacher's context; names the request.
        """
        failed: BaseException | None = None
        pool = ThreadPoolExecutor(self.settings.batch_size)
        try:
            futures = [pool.submit(self._ask, request) for request in requests]
            for future in as_completed(futures):
                if future.cancelled():
                    continue
                if error := future.exception():
                    failed = failed or error
                    for waiting in futures:
                        waiting.cancel()
                else:
                    yield [future.result()]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if failed is not None:
            raise failed

    def _ask(self, request: Request) -> Sample:
        import openai

        try:
            answer = self.client.chat.completions.create(
                model=self.settings.served_model or "",
                messages=[message.as_dict() for message in request.messages],  # type: ignore[misc]
                seed=request.seed,
                temperature=self.settings.temperature,
                top_p=self.settings.top_p,
                max_tokens=request.max_new_tokens,
                # Known to vLLM, SGLang and others, not to OpenAI.
                extra_body={"top_k": self.settings.top_k} if self.settings.top_k else None,
            )
        except openai.BadRequestError as error:
            if any(sign in str(error) for sign in TOO_LONG):
                raise _too_long(request, str(error)) from error
            said = f"{self.endpoint} refused the request '{request.id}' ({error}); if it is the top_k, set top_k: null"
            raise EndpointError(said) from error
        except openai.OpenAIError as error:
            raise EndpointError(self._explain(f"did not answer the request '{request.id}'", error)) from error
        return _sample(request, answer)

    def _explain(self, problem: str, error: Exception) -> str:
        return (
            f"{self.endpoint} {problem}, after up to {RETRIES} retries ({type(error).__name__}: {error}); "
            "look whether the server runs, whether this is its base URL, and whether "
            f"{self.settings.api_key_env} holds its key, then start again: what was finished is kept"
        )


def _too_long(request: Request, said: str) -> ValueError:
    return ValueError(
        f"request '{request.id}' is longer than the teacher's context: shorten the item, lower max_new_tokens or serve "
        f"a teacher with a longer one ({said})"
    )


def _sample(request: Request, answer: Any) -> Sample:
    """What a server's answer says; a text that a filter cut is as little whole as one that the limit cut.

    Raises:
        ValueError: the completion was cut before its limit: servers lower a limit that the context has no room for.
    """
    choice, usage = answer.choices[0], answer.usage
    written = usage and usage.completion_tokens
    if choice.finish_reason == "length" and written is not None and written < request.max_new_tokens:
        raise _too_long(request, f"it was cut after {written} of {request.max_new_tokens} new tokens")
    details = usage and usage.prompt_tokens_details
    return Sample(
        request,
        choice.message.content or "",
        "stop" if choice.finish_reason == "stop" else "length",
        usage and usage.prompt_tokens,
        written,
        details and details.cached_tokens,
    )
