"""What is read out of one answer: evidence without bodies, how certain a failure is, how long to wait."""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from api_client import ClientOptions, Credentials, XieHeClient
from errors import BackendAuthError, BackendCertificateError, BackendContractError, CallEvidence, ConfigurationError
from models import Contract
from xiehe.http.responses import Delivery, answer_of, hint_of, payload_of, retry_after_s, transient, unanswered
from xiehe.uploads.sessions import UploadSession, session_of

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
    ("status", "body", "delivery"),
    [
        (429, None, Delivery.NOT_SENT),
        (500, {"error": True}, Delivery.PROCESSED_UNKNOWN),
        (503, None, Delivery.PROCESSED_UNKNOWN),
        (502, {"code": 502, "error_code": "UNKNOWN_ERROR"}, Delivery.PROCESSED_UNKNOWN),
        (502, None, Delivery.IN_FLIGHT),
        (504, None, Delivery.IN_FLIGHT),
    ],
)
def test_what_a_failed_call_may_have_done(status: int, body: Any, delivery: Delivery) -> None:
    fault = transient(_answer(status, body))
    assert fault is not None and fault.delivery is delivery


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 403, 404, 409, 413, 422])
def test_refusals_are_answers_not_faults(status: int) -> None:
    assert transient(_answer(status, {"message": "no"})) is None
    assert transient(_answer(status, **{"content-type": "application/xml"})) is None  # the object storage's


@pytest.mark.parametrize("content_type", ["text/html", "text/plain", "text/html; charset=utf-8", ""])
@pytest.mark.parametrize(
    ("seconds", "delivery"),
    [(0.01, Delivery.PROCESSED_UNKNOWN), (30.0, Delivery.IN_FLIGHT), (60.5, Delivery.IN_FLIGHT)],
)
def test_a_404_that_is_no_json_is_a_proxys_and_may_pass(content_type: str, seconds: float, delivery: Delivery) -> None:
    """C1's nginx gives it for a rate limit (at once), a dead backend (at once) and a time-out (30 s)."""
    fault = transient(replace(_answer(404, **{"content-type": content_type}), seconds=seconds))
    assert fault is not None and fault.delivery is delivery
    assert (fault.call.status, fault.call.error_code) == (404, "not_json")


def test_without_a_connection_nothing_was_done_otherwise_nobody_knows() -> None:
    assert unanswered(httpx.ConnectError("x"), _CALL).delivery is Delivery.NOT_SENT
    assert unanswered(httpx.ConnectTimeout("x"), _CALL).delivery is Delivery.NOT_SENT
    assert unanswered(httpx.ReadTimeout("x"), _CALL).delivery is Delivery.IN_FLIGHT
    assert unanswered(httpx.RemoteProtocolError("x"), _CALL).delivery is Delivery.IN_FLIGHT


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


def _as_httpcore_raises(cause: Exception) -> Exception:
    """Its pool re-raises ``from None``, so that only the context is left."""
    try:
        try:
            raise cause
        except ssl.SSLError as error:
            raise RuntimeError from error
    except RuntimeError as error:
        error.__cause__ = None  # as ``raise error from None`` does
        return error


def test_an_untrusted_certificate_is_an_error_of_its_own_that_names_the_cure() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = httpx.ConnectError("x")
    error.__cause__ = _as_httpcore_raises(cause)
    with pytest.raises(BackendCertificateError, match="SSL_CERT_FILE") as caught:
        unanswered(error, _CALL)
    assert "self-signed certificate" in caught.value.detail


def test_a_port_without_tls_is_named_so() -> None:
    cause = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    cause.reason = "WRONG_VERSION_NUMBER"
    error = httpx.ConnectError("x")
    error.__cause__ = _as_httpcore_raises(cause)
    fault = unanswered(error, _CALL)
    assert fault.delivery is Delivery.NOT_SENT
    assert "https" in hint_of(fault.call)


@pytest.mark.parametrize(
    ("location", "cure"),
    [
        ("https://xiehe.example/api/v1/patients", "https://"),
        ("HTTPS://xiehe.example/", "https://"),
        ("http://elsewhere.example/", "最终地址"),
        ("/login", "最终地址"),
        ("", "最终地址"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_says_what_to_write_in_backend_url(status: int, location: str, cure: str) -> None:
    with pytest.raises(BackendContractError, match="重定向") as caught:
        payload_of(_answer(status, location=location))
    assert cure in caught.value.detail


def test_json_nested_too_deeply_is_no_json() -> None:
    answer = answer_of(httpx.Response(200), b"[" * 200_000, _CALL)
    assert answer.body is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://minio/b/x.jpg",
        "http:///b/x.jpg",
        "http://minio:abc/b/x.jpg",
        "http://minio:99999/b/x.jpg",
        "http://minio:0/b/x.jpg",
        "http://[::1/b/x.jpg",
        "http://xn--/b/x.jpg",
        "http://minio/b/\ud800.jpg",
    ],
)
def test_a_part_that_cannot_be_sent_anywhere_is_an_answer_of_unknown_form(url: str) -> None:
    def session(part_url: str) -> UploadSession:
        parts = [{"part_number": 1, "url": part_url}]
        data = {"session_id": "s", "part_size": 8, "parts": parts}
        return session_of(_answer(200, {"code": 200, "data": data}), Contract.C4, 5)

    kept = "http://minio:9000/b/%E5%90%8D.jpg?X-Amz-Signature=a%2Fb"
    assert session(kept).parts[0].url == kept
    with pytest.raises(BackendContractError):
        session(url)


@pytest.mark.parametrize("host", ["xie_hé", "-.\u3002"])
async def test_a_host_that_cannot_be_encoded_is_a_wrong_setting(host: str) -> None:
    options = ClientOptions(f"http://{host}:8000", Credentials(api_token="t"))
    with pytest.raises(ConfigurationError, match="BACKEND_URL"):
        async with XieHeClient.open(options):
            pass
