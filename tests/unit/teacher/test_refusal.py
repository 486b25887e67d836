"""Whether a refusal costs one row or ends the step, by the endpoint's words."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.support.mockteacher import body, complete, refusal

from llm2llm.errors import AuthenticationError, ConfigurationError, StepError, TeacherQuotaExhausted
from llm2llm.records import Usage
from llm2llm.teacher.refusal import Refusal, read_refusal


def test_a_422_about_nothing_that_could_be_changed_is_told_with_its_words():
    place = {"type": "missing", "loc": ["body", "project"], "msg": "Field required"}
    with pytest.raises(ConfigurationError, match=r"refused a request \(422\).*project: Field required"):
        complete(httpx.Response(422, json={"detail": [place]}))


NOT_VALID = "Generated JSON does not match the expected schema. Please adjust your prompt."
TOO_LONG = "the request exceeds the available context size, try increasing it"


@pytest.mark.parametrize(
    ("refused", "finish", "free"),
    [
        pytest.param(refusal(400, "Your prompt was flagged.", "invalid_prompt"), "content_filter", False, id="OpenAI"),
        pytest.param(refusal(400, NOT_VALID, "json_validate_failed"), "refused", False, id="Groq, of what was written"),
        pytest.param(
            refusal(400, "prompt is too long: 210000 tokens > 200000 maximum"), "context_length", True, id="Anthropic"
        ),
        pytest.param(
            refusal(400, "The input token count (12) exceeds the maximum number of tokens allowed (10).", 400),
            "context_length",
            True,
            id="Gemini",
        ),
        pytest.param(
            refusal(400, TOO_LONG, 400, type="exceed_context_size_error"), "context_length", True, id="llama.cpp"
        ),
    ],
)
def test_a_refusal_that_is_about_one_row_rejects_it_with_the_endpoints_words(
    refused: httpx.Response, finish: str, free: bool
):
    reply, (body_sent,) = complete(refused)
    assert (reply.finish, reply.text) == (finish, refused.json()["error"]["message"])
    assert (reply.usage == Usage(teacher_requests=1)) == free  # else charged by estimate
    reply, bodies = complete(refused, httpx.Response(200, content=body()), times=2)
    assert bodies == [body_sent, body_sent]  # and nothing is left out from then on


FLAGGED = "Your chosen model requires moderation and your input was flagged for violence"
PER_MINUTE = "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 6500: see /billing"


@pytest.mark.parametrize(
    ("refused", "error", "finish"),
    [
        pytest.param(refusal(403, FLAGGED, 403), AuthenticationError, "content_filter", id="OpenRouter's moderation"),
        pytest.param(refusal(413, PER_MINUTE, "rate_limit_exceeded"), ConfigurationError, "refused", id="Groq's 413"),
        pytest.param(refusal(400, "that is odd"), ConfigurationError, "refused", id="400 that names nothing"),
        pytest.param(
            httpx.Response(422, json={"detail": [{"loc": ["body", "messages", 1], "msg": "no"}]}),
            ConfigurationError,
            "refused",
            id="422 about the messages",
        ),
    ],
)
def test_what_is_refused_once_another_row_was_answered_costs_its_row(
    refused: httpx.Response, error: type[StepError], finish: str
):
    with pytest.raises(error):
        complete(refused)
    reply, _ = complete(httpx.Response(200, content=body()), refused, times=2)
    assert (reply.finish, reply.usage is None) == (finish, False)
    assert reply.text


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        pytest.param(refusal(403, "You are not allowed to use this model"), AuthenticationError, id="a forbidden key"),
        pytest.param(refusal(400, "API key not valid. Please pass one."), ConfigurationError, id="Gemini, of the key"),
        pytest.param(refusal(400, "Your credit balance is too low"), TeacherQuotaExhausted, id="Anthropic, of money"),
        pytest.param(
            refusal(400, "Budget has been exceeded! Current cost: 5, Max budget: 4", 400, type="budget_exceeded"),
            TeacherQuotaExhausted,
            id="LiteLLM, of a budget",
        ),
        pytest.param(
            httpx.Response(400, json=[{"error": {"code": 400, "message": "API key expired. Please renew it."}}]),
            TeacherQuotaExhausted,
            id="Gemini, of a key that has expired, in a list",
        ),
        pytest.param(refusal(401, "Your trial has expired"), TeacherQuotaExhausted, id="a trial that is over"),
        pytest.param(
            refusal(403, "Billing is not active on this account"), TeacherQuotaExhausted, id="billing that is off"
        ),
        pytest.param(refusal(422, "Budget has been exceeded"), TeacherQuotaExhausted, id="a budget, as a 422"),
        pytest.param(refusal(413, "insufficient funds"), TeacherQuotaExhausted, id="money, as a 413"),
        pytest.param(refusal(400, "pay first", "insufficient_funds"), TeacherQuotaExhausted, id="money, by its code"),
        pytest.param(refusal(400, "your quota is used up"), TeacherQuotaExhausted, id="a quota, as a 400"),
        pytest.param(refusal(400, "It is gone", "model_decommissioned"), ConfigurationError, id="Groq, of the model"),
        pytest.param(refusal(400, "no such", param="model"), ConfigurationError, id="the model as the parameter"),
    ],
)
def test_what_is_refused_of_every_row_ends_the_step_also_after_answers(refused: httpx.Response, error: type[StepError]):
    with pytest.raises(error):
        complete(httpx.Response(200, content=body()), refused, times=2)


@pytest.mark.parametrize(
    ("code", "words", "finish", "maybe_paid"),
    [
        pytest.param("content_policy_violation", "no", "content_filter", True, id="a filter by its code"),
        pytest.param("context_length_exceeded", "no", "context_length", False, id="a length by its code"),
        pytest.param("", "This model's maximum context length is 8192 tokens", "context_length", False, id="by its words"),
        pytest.param("", "your input exceeds the context window of this model", "context_length", False, id="by others"),
        pytest.param("json_validate_failed", "no", "refused", True, id="an answer that was written and is not valid"),
        pytest.param("invalid_request_error", "the content policy applies", "", False, id="words alone that speak of a policy"),
    ],
)  # fmt: skip
def test_a_refusal_is_about_one_row_if_it_says_so(code: str, words: str, finish: str, maybe_paid: bool):
    told = read_refusal({"message": words, "code": code, "type": None}, "otherwise")
    assert (told.finish, told.maybe_paid, told.words) == (finish, maybe_paid, words)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param("<html>", Refusal("otherwise"), id="a page"),
        pytest.param(None, Refusal("otherwise"), id="nothing"),
        pytest.param({}, Refusal("otherwise"), id="an object that says nothing"),
        pytest.param({"detail": "gone"}, Refusal("gone"), id="words in FastAPI's place"),
        pytest.param("upstream is away", Refusal("upstream is away"), id="a text"),
        pytest.param([{"error": {"message": "m", "code": 400}}], Refusal("m", (), ("400",)), id="a list of errors"),
        pytest.param({"error": "Server error", "error_type": "generation"}, Refusal("Server error"), id="an error that is a text"),
        pytest.param([], Refusal("otherwise"), id="an empty list"),
        pytest.param([7], Refusal("otherwise"), id="a list of something else"),
        pytest.param({"message": "m", "code": 400, "type": "t"}, Refusal("m", (), ("400", "t")), id="a number as the code"),
        pytest.param({"detail": [{"msg": "no"}, {"loc": "body", "msg": "odd"}]}, Refusal(": no; : odd"), id="problems without a place"),
        pytest.param({"detail": [{"loc": ["body", "stop", 0], "msg": "no"}, {"loc": ["body", "seed"], "msg": "odd"}]},
                     Refusal("stop.0: no; seed: odd", ("stop", "seed")), id="problems at their places"),
    ],
)  # fmt: skip
def test_an_endpoint_says_why_in_one_of_several_forms(body: Any, told: Refusal):
    assert read_refusal(body, "otherwise") == told


@pytest.mark.parametrize(
    ("status", "words", "finish"),
    [
        pytest.param(403, "the prompt was flagged", "content_filter", id="a moderation that forbids"),
        pytest.param(403, "this region is not served", "", id="anything else that is forbidden"),
        pytest.param(400, "that is odd", "refused", id="a request that is bad"),
        pytest.param(413, "too large, see /billing", "refused", id="one that is too large, wherever it sends you"),
        pytest.param(400, "your API key is wrong", "", id="a key"),
        pytest.param(400, "the cache of this prompt has expired", "refused", id="something of the row that expired"),
        pytest.param(404, "no such thing", "", id="a place that is not there"),
    ],
)
def test_where_other_rows_were_answered_a_row_is_at_fault_but_for_what_concerns_all(
    status: int, words: str, finish: str
):
    assert Refusal(words).finish_where_others_pass(status) == finish


@pytest.mark.parametrize(
    ("status", "words", "code", "held"),
    [
        pytest.param(402, "pay", "", True, id="payment required"),
        pytest.param(429, "Rate limit reached", "insufficient_quota", True, id="a code, whatever the status"),
        pytest.param(
            429,
            "You exceeded your current quota, please check your plan and billing details",
            "",
            False,
            id="a limit a minute",
        ),
        pytest.param(
            413, "tokens per minute: upgrade at /settings/billing", "", False, id="a size that is too large for a plan"
        ),
        pytest.param(500, "the billing service is away", "", False, id="a server that fails"),
        pytest.param(400, "upgrade at /settings/billing", "", False, id="an address"),
        pytest.param(403, "your subscription expired on Monday", "", True, id="a subscription"),
        pytest.param(400, "the cache of this prompt has expired", "", False, id="something else that expired"),
        pytest.param(404, "Insufficient credits", "", True, id="credits"),
        pytest.param(422, "the budget of this team has been exceeded", "budget_exceeded", True, id="a budget"),
        pytest.param(429, "Insufficient balance: please recharge", "1113", True, id="money, whatever the status"),
        pytest.param(400, "renew it", "expired_api_key", True, id="a code of words that are known"),
        pytest.param(500, "upstream", "billing_not_active", True, id="a code, also of a server that fails"),
        pytest.param(429, "you exceeded your token budget of this minute", "", False, id="a budget that comes back"),
        pytest.param(400, "thinking_budget has to be below max_tokens", "", False, id="a budget of tokens"),
    ],
)
def test_fault_58_an_account_that_a_person_has_to_see_to_holds_the_run(status: int, words: str, code: str, held: bool):
    assert Refusal(words, (), (code,)).holds(status) == held
