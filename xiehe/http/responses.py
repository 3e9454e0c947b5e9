"""One answer of XieHe, or the lack of one, as values: evidence without bodies, and how certain a failure is."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import httpx

from domain.descriptors import out_of_descriptors, ran_out
from errors import (
    BackendAuthError,
    BackendCertificateError,
    BackendContractError,
    BackendUnavailableError,
    CallEvidence,
    UploadRejectedError,
)

Json = dict[str, Any]


class Delivery(Enum):
    """What a failed call may have done in XieHe."""

    NOT_SENT = "nothing"
    """Never processed: no connection, refused before the application (429)."""
    PROCESSED_UNKNOWN = "done_or_not"
    """XieHe has finished with it; its lists show the result."""
    IN_FLIGHT = "open"
    """XieHe may still be working on it (time-out, reset, a gateway's 502/504)."""


class TransientError(BackendUnavailableError):
    """One attempt failed in a way that may pass; never leaves the client as it is."""

    def __init__(self, evidence: CallEvidence, delivery: Delivery, retry_after_s: float | None = None) -> None:
        super().__init__(f"XieHe 暂时没有给出可用的应答（{evidence}）", evidence)
        self.call = evidence
        self.delivery = delivery
        self.retry_after_s = retry_after_s


class ExhaustedError(BackendUnavailableError):
    """All attempts at one call failed; ``last`` is the last failure."""

    def __init__(self, last: TransientError, attempts: int) -> None:
        super().__init__(
            f"XieHe 后端暂时不可用：{last.call}，已尝试 {attempts} 次。{hint_of(last.call)}"
            "请检查 BACKEND_URL、网络与 XieHe 服务状态，恢复后会自动继续。",
            last.call,
        )
        self.last = last


class NotFoundAnswerError(BackendContractError):
    """An unexpected 404/405: either the patient or the whole route is gone."""


NOT_JSON = "not_json"
STORAGE_PATH = "/(storage)"
"""What evidence shows for a URL of the object storage."""
NOT_TLS = "WRONG_VERSION_NUMBER"
"""OpenSSL's name for an answer that is no TLS."""
_GATEWAYS_PATIENCE_S = 5.0
"""Below the shortest time that a proxy waits for its backend: an answer within it is no time-out in disguise."""
_STOPPED_READING = frozenset({"WriteTimeout", "WriteError", "ReadError"})
"""How a body ends that the server does not read to its end."""


def hint_of(seen: CallEvidence) -> str:
    """What the operator can check at the proxy or the URL; empty if nothing points there."""
    if seen.error_code == NOT_TLS:
        return "该端口不是 https：请检查 BACKEND_URL 的 http/https 与端口。"
    if (seen.status, seen.error_code) == (404, NOT_JSON):
        return "这个 404 是代理的网页，不是 XieHe 的应答：XieHe 没有运行、代理在限流，或 BACKEND_URL 指向别处。"
    if (seen.status, seen.error_code) == (413, NOT_JSON):
        return (
            "XieHe 前的代理限制了请求体大小：请调大 nginx 的 client_max_body_size"
            "（旧版 XieHe 的前端代理默认只允许 1 MB），或让 BACKEND_URL 直连后端。"
        )
    if seen.error_code in _STOPPED_READING and seen.path.endswith((STORAGE_PATH, "/upload/single")):
        return (
            "发送图像时连接停滞或被中断：如果总是较大的图像这样，可能是代理限制了请求体大小"
            "（nginx 的 client_max_body_size）。"
        )
    return ""


@dataclass(frozen=True, slots=True)
class BackendResponse:
    """An HTTP answer; ``body`` is the parsed JSON or None, ``seconds`` how long it took."""

    status: int
    body: Any
    headers: Mapping[str, str]
    evidence: CallEvidence
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300

    @property
    def is_page(self) -> bool:
        """Whether it is neither XieHe's (JSON) nor the storage's (XML), but a proxy's own."""
        return self.body is None and "xml" not in self.headers.get("content-type", "")


def answer_of(response: httpx.Response, raw: bytes, evidence: CallEvidence, seconds: float = 0.0) -> BackendResponse:
    """Parses a JSON body, and takes from it only what evidence may hold."""
    body: Any = None
    if raw:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
    seen = CallEvidence(
        evidence.method, evidence.path, response.status_code, _error_code(body, response.status_code), _fields(body)
    )
    return BackendResponse(response.status_code, body, response.headers, seen, seconds)


def _error_code(body: Any, status: int) -> str | None:
    code = body.get("error_code") if isinstance(body, dict) and status >= 400 else None
    return code if isinstance(code, str) and len(code) <= 64 else None


def _fields(body: Any) -> tuple[str, ...]:
    """Names of the fields a 422 complains of (C1 ``errors``, C2-C4 ``details``, FastAPI's own ``detail[].loc``)."""
    if not isinstance(body, dict):
        return ()
    entries = body.get("errors") or body.get("details") or body.get("detail")
    if not isinstance(entries, list):
        return ()
    names = [_field_name(entry) for entry in entries if isinstance(entry, dict)]
    return tuple(dict.fromkeys(name for name in names if name))


def _field_name(entry: Json) -> str:
    loc = entry.get("loc")
    name = str(entry.get("field") or (loc[-1] if isinstance(loc, list) and loc else ""))
    last = name.removeprefix("body.").removeprefix("body -> ")
    return last if last.replace("_", "").replace(".", "").isalnum() and len(last) <= 64 else ""


def transient(answer: BackendResponse) -> TransientError | None:
    """The error of a status that may pass, or None if the answer counts."""
    if answer.status in (408, 425, 429):
        delivery = Delivery.NOT_SENT
    elif answer.status in (502, 504) and answer.evidence.error_code is None:
        delivery = Delivery.IN_FLIGHT
    elif is_proxys_404(answer):
        delivery = Delivery.IN_FLIGHT if answer.seconds >= _GATEWAYS_PATIENCE_S else Delivery.PROCESSED_UNKNOWN
        return TransientError(unread(answer.evidence), delivery, retry_after_s(answer.headers))
    elif answer.status >= 500:
        delivery = Delivery.PROCESSED_UNKNOWN
    else:
        return None
    return TransientError(answer.evidence, delivery, retry_after_s(answer.headers))


def is_proxys_404(answer: BackendResponse) -> bool:
    """A 404 that XieHe never gives: a proxy's for a rate limit or a dead backend, if its error page is missing."""
    return answer.status == 404 and answer.is_page


def unread(seen: CallEvidence) -> CallEvidence:
    """The evidence of an answer that is no JSON."""
    return CallEvidence(seen.method, seen.path, seen.status, NOT_JSON)


def refused_upload(answer: BackendResponse) -> UploadRejectedError:
    """A refusal that repeating cannot change."""
    seen = unread(answer.evidence) if answer.is_page else answer.evidence
    return UploadRejectedError(f"XieHe 拒绝接收该图像（{seen}）。{hint_of(seen)}")


def unreadable(answer: BackendResponse) -> TransientError:
    """A success without a JSON object: a proxy's page, or an answer that lost its end."""
    return TransientError(unread(answer.evidence), Delivery.PROCESSED_UNKNOWN)


def unanswered(error: httpx.RequestError | ssl.SSLError, evidence: CallEvidence) -> TransientError:
    """No answer came. Only without a connection is it certain that nothing was sent.

    Raises:
        BackendCertificateError: the server's certificate is not trusted, which no repetition changes.
        OutOfDescriptorsError: this process can open no connection.
    """
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise _untrusted(cause, evidence) from error
        if ran_out(cause):
            raise out_of_descriptors() from error
    not_tls = any(isinstance(cause, ssl.SSLError) and cause.reason == NOT_TLS for cause in causes)
    seen = CallEvidence(evidence.method, evidence.path, None, NOT_TLS if not_tls else type(error).__name__)
    return TransientError(seen, Delivery.NOT_SENT if unsent else Delivery.IN_FLIGHT)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that it came from. httpcore hides them (``from None``) in the context."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):  # one for each address of the host
            for member in error.exceptions:
                yield from _causes(member)
        hidden = error.__context__ if error.__suppress_context__ else None
        error = error.__cause__ or hidden


def _untrusted(error: ssl.SSLCertVerificationError, evidence: CallEvidence) -> BackendCertificateError:
    seen = CallEvidence(evidence.method, evidence.path, None, type(error).__name__)
    return BackendCertificateError(
        f"服务器的 TLS 证书不受信任（{seen}：{error.verify_message}）。"
        "请用环境变量 SSL_CERT_FILE 指向签发该证书的 CA（PEM），或把 CA 加入操作系统的证书库，"
        "然后重启本服务；并核对 BACKEND_URL 的主机名与证书一致。",
        seen,
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds from now, given as seconds or as an HTTP date (RFC 9110 10.2.3); None if unusable."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def payload_of(answer: BackendResponse) -> Json:
    """The payload of a success, without its envelope.

    Raises:
        NotFoundAnswerError: 404, 405 or 410.
        BackendAuthError: 403.
        BackendContractError: any other refusal, a redirect, or a body of another form.
    """
    if answer.ok and isinstance(answer.body, dict):
        return unwrapped(answer.body, answer.evidence)
    if answer.status in (404, 405, 410):
        raise NotFoundAnswerError(f"XieHe 没有这个接口或对象（{answer.evidence}）", answer.evidence)
    if answer.status == 403:
        raise BackendAuthError(f"XieHe 账号没有权限（{answer.evidence}），请为该账号授权或更换账号。", answer.evidence)
    if 300 <= answer.status < 400:
        raise redirected(answer)
    raise BackendContractError(f"XieHe 的应答不属于已知的四种接口形式（{answer.evidence}）", answer.evidence)


def redirected(answer: BackendResponse) -> BackendContractError:
    """No redirect is followed: a POST would lose its body, and a token could go elsewhere."""
    to_tls = answer.headers.get("location", "").lower().startswith("https://")
    cure = "请把 BACKEND_URL 改为以 https:// 开头的地址" if to_tls else "请在 BACKEND_URL 填写最终地址"
    return BackendContractError(f"BACKEND_URL 被重定向（{answer.evidence}）：{cure}。", answer.evidence)


def unwrapped(body: Json, evidence: CallEvidence) -> Json:
    """``data`` of C2-C4's envelope; C1's bare object as it is."""
    if not enveloped(body):
        return body
    data = body["data"]
    if not isinstance(data, dict):
        raise BackendContractError(f"XieHe 的应答缺少 data（{evidence}）", evidence)
    return data


def enveloped(body: Any) -> bool:
    """True for C2-C4's ``{code, message, data, timestamp}``."""
    return isinstance(body, dict) and "data" in body and "code" in body
