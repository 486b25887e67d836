"""How endpoints differ that all call themselves OpenAI-compatible: what each refuses, and in which words.

The words and codes are those that the vendors answer with, so that a client which reads them is tried for real.
"""

from __future__ import annotations

from typing import Any

KNOWN = {
    "model",
    "messages",
    "response_format",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "stop",
}
Body = dict[str, Any]
Refusal = tuple[int, Body]
LONGEST = 850
"""Characters, each a token here, that a short context holds."""


def refusal_of(profile: str, body: Body) -> Refusal | None:
    """Status and document of the refusal, or None where this endpoint takes the request."""
    return {
        "strict": _strict,
        "reasoning": _reasoning,
        "json-object": _json_object,
        "plain": _plain,
        "azure-filter": _azure_filter,
        "azure-key": _azure_key,
        "no-credit": _no_credit,
        "short-context": _short_context,
        "vllm": _vllm,
        "fastapi": _fastapi,
        "no-template": _no_template,
        "moderated": _moderated,
        "no-system": _no_system,
    }[profile](body)


def _openai(status: int, message: str, code: str | None = None, parameter: str | None = None) -> Refusal:
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": parameter, "code": code}}


def _strict(body: Body) -> Refusal | None:
    """Names what it does not know in words only."""
    unknown = sorted(set(body) - KNOWN)
    return _openai(400, f"Unrecognized request argument supplied: {unknown[0]}") if unknown else None


def _reasoning(body: Body) -> Refusal | None:
    """As OpenAI's reasoning models: another name for the limit, and the default temperature only."""
    if "max_tokens" in body:
        words = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return _openai(400, words, "unsupported_parameter", "max_tokens")
    if body.get("temperature", 1) != 1:
        words = "Unsupported value: 'temperature' does not support this value. Only the default (1) value is supported."
        return _openai(400, words, "unsupported_value", "temperature")
    return None


def _json_object(body: Body) -> Refusal | None:
    """Knows JSON mode, not schemas; and, as OpenAI does, wants to read the word in the prompt."""
    kind = (body.get("response_format") or {}).get("type")
    if kind == "json_schema":
        words = "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
        return _openai(400, words, None, "response_format")
    if kind == "json_object" and not any("json" in str(said.get("content")).lower() for said in body["messages"]):
        words = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        return _openai(400, words, None, "messages")
    return None


def _plain(body: Body) -> Refusal | None:
    """Knows nothing of response_format."""
    return _openai(400, "response_format is not supported") if "response_format" in body else None


def _azure_filter(_: Body) -> Refusal | None:
    """Azure's content filter refuses the prompt before the model sees it."""
    error = {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True}},
        },
    }
    return 400, {"error": error}


def _azure_key(_: Body) -> Refusal | None:
    words = "Access denied due to invalid subscription key or wrong API endpoint."
    return 401, {"error": {"code": "401", "message": words}}


def _no_credit(_: Body) -> Refusal | None:
    return 402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}}


def _short_context(body: Body) -> Refusal | None:
    """A context that only the longest of the prompts exceed."""
    length = sum(len(str(said.get("content", ""))) for said in body["messages"])
    if length <= LONGEST:
        return None
    told = (
        f"This model's maximum context length is {LONGEST} tokens. However, your messages resulted in {length} tokens."
    )
    return _openai(400, told, "context_length_exceeded", "messages")


def _vllm(body: Body) -> Refusal | None:
    """The form of vLLM's own errors: a number as the code."""
    if "top_k" not in body:
        return None
    error = {"message": "top_k must be 0 or -1, or at least 1", "type": "BadRequestError", "param": None, "code": 400}
    return 400, {"error": error}


def _fastapi(body: Body) -> Refusal | None:
    """As FastAPI answers where the model of a request forbids what it does not know: all of it, each with its place."""
    unknown = sorted(set(body) - KNOWN | {"temperature"} & set(body))
    detail = [
        {
            "type": "extra_forbidden",
            "loc": ["body", name],
            "msg": "Extra inputs are not permitted",
            "input": body[name],
        }
        for name in unknown
    ]
    return (422, {"detail": detail}) if detail else None


def _no_template(_: Body) -> Refusal | None:
    """As vLLM answers where the model has no chat template."""
    words = "you must provide a chat template if the tokenizer does not define one."
    return 400, {"error": {"message": words, "type": "BadRequestError", "param": None, "code": 400}}


def _moderated(body: Body) -> Refusal | None:
    """As OpenRouter: another service looks at each prompt first, and takes offence at some."""
    if "This is number 2 of" not in str(body["messages"][-1].get("content")):
        return None
    words = "Your chosen model requires moderation and your input was flagged for violence"
    return 403, {"error": {"message": words, "code": 403, "metadata": {"reasons": ["violence"]}}}


def _no_system(body: Body) -> Refusal | None:
    """As vLLM answers where the chat template is Gemma's."""
    if all(said.get("role") != "system" for said in body["messages"]):
        return None
    return 400, {
        "error": {"message": "System role not supported", "type": "BadRequestError", "param": None, "code": 400}
    }
