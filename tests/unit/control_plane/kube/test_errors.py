from __future__ import annotations

import pytest

from llm2llm_operator.kube.errors import ApiError, ApiUnavailable, Conflict, Forbidden, NotFound, Rejected, error_of


@pytest.mark.parametrize(
    ("status", "causes", "kind"),
    [
        pytest.param(403, [], Forbidden, id="a right is missing"),
        pytest.param(403, ["NamespaceTerminating"], NotFound, id="fault 14: a namespace that ends is as good as gone"),
        pytest.param(404, [], NotFound, id="nothing is there"),
        pytest.param(409, [], Conflict, id="somebody was first"),
        pytest.param(422, ["FieldValueInvalid"], Rejected, id="an object that is not taken"),
        pytest.param(429, [], ApiUnavailable, id="throttled"),
        pytest.param(401, [], ApiUnavailable, id="a token that is read again"),
        pytest.param(500, [], ApiUnavailable, id="a broken server"),
    ],
)
def test_an_answer_is_known_by_what_has_to_follow(status: int, causes: list[str], kind: type[ApiError]):
    assert type(error_of(status, "", "", causes=causes)) is kind


@pytest.mark.parametrize(
    ("told", "pause"),
    [("7", 7.0), ("0", 0.0), ("", 0.0), ("soon", 0.0), ("-3", 0.0), ("²", 0.0), ("9" * 400, 60.0), ("61", 60.0)],
)
def test_a_pause_is_what_the_server_asks_for_within_a_minute(told: str, pause: float):
    assert error_of(429, "TooManyRequests", "later", told).retry_after == pause
