"""Words that stay out of code and documents; the standard term is beside each.

``python -m tests.unit.test_words [place]`` lists the hits.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROSE = {
    r"whoever|who(m?)soever": "the client, the operator, any process that",
    r"nobody|somebody|anybody|no one": "no client, an operator",
    r"told|tells? (of|that)|teller": "reports, states, logs",
    r"is said|was said|said to|says so": "reports, states",
    r"(?<!over)heard|unheard": "received",
    r"it stands|stands (in|at|for|where|beside|on|there)|as it stands": "is, means",
    r"lies (in|at|on|under|below|beside|behind|between|there|where)|lie (in|on|under|beside|below)": "is, are",
    r"goes on|go on|going on|went on": "continues",
    r"by itself|by themselves": "automatically",
    r"witness(es)?": "other patient, probe",
    r"blam(e|es|ed|ing)": "the cause is, the fault counts as",
    r"bur(y|ies|ied|ial|ials)": "reap",
    r"desks?": "patient entry, patient cache",
    r"(?<!round )(?<!round-)trips": "file import",
    r"lanes?": "worker slot",
    r"fleets?": "worker registry",
    r"foreman": "job callbacks",
    r"turnstiles?": "ticket lock",
    r"goodbyes?": "close",
    r"strangers?": "unauthenticated client, other program",
    r"deaf|mute|talkative": "stdin closed, stdout closed, rate limited",
    r"housekeepers?|keeps? house|the house|(?<!ware)house rules": "background tasks",
    r"enlist\w*": "register",
    r"distrust\w*": "mark unhealthy",
    r"hurry|hurries|hurried": "check now",
    r"(the|this|that|web|each|own) rooms?": "package; space on a disk",
    r"(a|the|its|their|odd|equal) wish(es)?": "request",
    r"askers?": "client, caller",
    r"news": "update",
    r"go or no-go|no-go": "pre-flight check",
}
"""Pattern for whole words, in any case → what to write instead."""

NAMES = {
    "FileTrip": "FileImport",
    "_travel": "_process",
    "PatientDesk": "PatientEntry",
    "DeskRoom": "PatientCache",
    "sit_at": "acquire",
    "at_desk": "with_patient_lock",
    "Claim": "NameReservation",
    "Turnstile": "KeyedTicketLock",
    "steadily": "retry_after_pause",
    "_with_witnesses": "_probe_other_patient",
    "PatientFaults": "PatientCircuitBreaker",
    "RejectionWatch": "UploadCircuitBreaker",
    "LeftInDoubt": "OrphanedUploadRecovery",
    "intent_settling": "reconcile",
    "PauseWatch": "PauseMonitor",
    "keep_hours": "enforce_active_hours",
    "Silence": "NullTelemetry",
    "_suspects": "_quarantine",
    "_hand_out": "_dispatch",
    "wants_more": "can_prefetch",
    "must_see": "require_path",
    "Sight": "SharedPathProbe",
    "Doubt": "Delivery",
    "landing_s": "late_commit_window_s",
    "landed_by_s": "late_commit_deadline",
    "_Flight": "_Batch",
    "_take_off": "_submit",
    "FanOut": "Broadcaster",
    "Mailbox": "LatestValueQueue",
    "TaskNews": "TaskUpdate",
    "_converse": "_handle",
    "Guard": "SecurityMiddleware",
    "SteeringOptions": "ImportOverrides",
    "_Order": "_RequestModel",
    "_Answer": "_ResponseModel",
    "take_up": "restore_tasks",
    "side_work": "background_task",
    "EndNotices": "outbox: enqueue, pending, deliver",
    "may_pass": "can_skip",
    "pass_known": "skip_unchanged",
    "likely_there": "probably_uploaded",
    "ImportMemory": "HistoryPort",
    "ImportTarget": "BackendPort",
    "PlanningMemory": "SimulatedHistory",
    "_Trial": "UploadAttempt",
    "MonthLedger": "MonthTotals",
    "deadly_words": "server_crashing_words",
    "decode_unwarned": "decode_strict",
}
"""Former identifier → the present one."""

PLACES = (
    "benchmarks", "cli", "demo", "deploy", "dicom", "docs", "domain", "history", "importing", "monitoring", "render",
    "root", "sandbox", "source", "static", "tasks", "web", "webhook", "xiehe",
)  # fmt: skip
"""Folders whose files are checked; ``root`` is the files beside them."""

EXEMPT = {"CHANGELOG.md", "LICENSE", "static/js/vendor"}
READ_AS_TEXT = {".md", ".toml", ".js", ".css", ".html", ".yaml", ".yml", ".service", ".example"}

_PROSE = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in PROSE), re.IGNORECASE)
_WORDS_IN_A_NAME = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def hits(place: str) -> list[str]:
    """``file:line: word`` for each word that stays out."""
    return [f"{path}:{line}: {word}" for path in files(place) for line, word in _hits_in(ROOT / path)]


def files(place: str) -> list[str]:
    folder = ":(glob)*" if place == "root" else place
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in listed.splitlines() if not path.startswith(tuple(EXEMPT))]


def _hits_in(path: Path) -> Iterator[tuple[int, str]]:
    if path.suffix == ".py":
        yield from _hits_in_python(path.read_text(encoding="utf-8"))
    elif path.suffix in READ_AS_TEXT:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield from ((number, word) for word in _prose_hits(line))
            yield from ((number, word) for word in re.findall(r"\w+", line) if word in NAMES)


def _hits_in_python(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.NAME:
            if token.string in NAMES or _prose_hits(" ".join(_WORDS_IN_A_NAME.findall(token.string))):
                yield line, token.string
        elif token.type in (tokenize.STRING, tokenize.COMMENT):
            yield from ((line, word) for word in _prose_hits(token.string))


def _prose_hits(text: str) -> list[str]:
    return [found[0] for found in _PROSE.finditer(text)]


@pytest.mark.parametrize("place", PLACES)
def test_only_standard_terms_are_used(place: str) -> None:
    assert files(place)
    assert hits(place) == []


if __name__ == "__main__":
    sys.stdout.writelines(f"{hit}\n" for place in sys.argv[1:] or PLACES for hit in hits(place))
