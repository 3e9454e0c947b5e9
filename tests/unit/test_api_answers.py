"""What is read out of one answer: evidence without bodies, how certain a failure is, how long to wait."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from errors import BackendAuthError, BackendContractError, CallEvidence
from xiehe.answers import Doubt, answer_of, payload_of, retry_after_s, transient, unanswered

_CALL = CallEvidence("POST", "/api/v1/patients")
_SECRETS = ("秘密姓名", "1977-07-07")


def _answer(status: int, body: Any = None, **headers: str) -> Any:
    raw = b"" if body is None else json.dumps(body).encode()
    return answer_of(httpx.Response(status, headers=headers), raw, _CALL)


@pytest.mark.parametrize(
    "body",
    [
        {
            "error": True,
            "error_code": "VALIDATION_ERROR",
            "errors": [{"field": "body.name", "message": "m", "input": "秘密姓名"}],
        },
        {"code": 422, "error_code": "VALIDATION_ERROR", "details": [{"field": "body.name", "message": "秘密姓名"}]},
        {"detail": [{"loc": ["body", "name"], "msg": "m", "input": {"birth_date": "1977-07-07"}}]},
        {"details": [{"field": "name"}, {"field": "秘密姓名 1977-07-07"}]},
    ],
)
def test_evidence_of_a_422_names_fields_and_nothing_of_their_content(body: dict[str, Any]) -> None:
    evidence = _answer(422, body).evidence
    assert "name" in evidence.fields
    assert not any(secret in str(evidence) for secret in _SECRETS)


@pytest.mark.parametrize(
    ("status", "body", "doubt"),
    [
        (429, None, Doubt.NOTHING),
        (500, {"error": True}, Doubt.DONE_OR_NOT),
        (503, None, Doubt.DONE_OR_NOT),
        (502, {"code": 502, "error_code": "UNKNOWN_ERROR"}, Doubt.DONE_OR_NOT),
        (502, None, Doubt.OPEN),
        (504, None, Doubt.OPEN),
    ],
)
def test_what_a_failed_call_may_have_done(status: int, body: Any, doubt: Doubt) -> None:
    fault = transient(_answer(status, body))
    assert fault is not None and fault.doubt is doubt


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 403, 404, 409, 413, 422])
def test_refusals_are_answers_not_faults(status: int) -> None:
    assert transient(_answer(status)) is None


def test_without_a_connection_nothing_was_done_otherwise_nobody_knows() -> None:
    assert unanswered(httpx.ConnectError("x"), _CALL).doubt is Doubt.NOTHING
    assert unanswered(httpx.ConnectTimeout("x"), _CALL).doubt is Doubt.NOTHING
    assert unanswered(httpx.ReadTimeout("x"), _CALL).doubt is Doubt.OPEN
    assert unanswered(httpx.RemoteProtocolError("x"), _CALL).doubt is Doubt.OPEN


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("17", 17.0), ("", None), ("soon", None), ("-3", None)])
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": text}) == seconds


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.fromtimestamp(time.time() + 60, UTC), usegmt=True)
    assert retry_after_s({"retry-after": later}) == pytest.approx(60, abs=2)
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


def test_payload_comes_out_of_the_envelope_or_as_it_is() -> None:
    assert payload_of(_answer(200, {"code": 201, "message": "", "data": {"id": 1}})) == {"id": 1}
    assert payload_of(_answer(200, {"id": 1, "code": "x"})) == {"id": 1, "code": "x"}


def test_refusals_and_other_forms_are_no_payload() -> None:
    with pytest.raises(BackendAuthError):
        payload_of(_answer(403))
    for answer in (_answer(302), _answer(404), _answer(400, {}), _answer(200, {"code": 200, "data": None})):
        with pytest.raises(BackendContractError):
            payload_of(answer)
