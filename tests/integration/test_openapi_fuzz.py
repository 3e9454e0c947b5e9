"""schemathesis over the service's own OpenAPI, against a running service: whatever is asked, never a 5xx."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.dicom_files import a_dicom_file, write_tree
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import ServiceProcess
from tests.waiting import PATIENCE_S

TRIES_PER_ROUTE = 25
"""Counted, not timed: a slow machine asks the same as a quick one."""
BOUNDED = settings(
    max_examples=TRIES_PER_ROUTE,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def cases_of(operation: Any) -> st.SearchStrategy[Any]:
    """Requests that the schema allows and, where there is anything to get wrong, such as it forbids."""
    allowed = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if not {"requestBody", "parameters"} & operation.definition.raw.keys():
        return allowed  # type: ignore[no-any-return]  # schemathesis types its strategies loosely
    return st.one_of(allowed, operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))


def ask_often(operation: Any, task_id: str) -> Counter[int]:
    """How often which status was answered; ``task_id`` stands in the path of half the requests."""
    answers: Counter[int] = Counter()

    @given(case=cases_of(operation), known=st.booleans())
    @BOUNDED
    def ask(case: Any, known: bool) -> None:
        if known and "task_id" in (case.path_parameters or {}):
            case.path_parameters["task_id"] = task_id
        answer = case.call(timeout=PATIENCE_S)
        answers[answer.status_code] += 1
        assert answer.status_code < 500, f"{case.method} {case.formatted_path}: {answer.status_code} {answer.text}"

    ask()
    return answers


def test_no_request_that_the_schema_allows_or_forbids_is_answered_with_5xx(
    service_today: ServiceProcess,
    xiehe_today: SandboxProcess,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    source = write_tree(tmp_path / "dicom", {"2024-01": {"P001": {"a.dcm": a_dicom_file(), "b.dcm": b"no"}}})
    task_id = service_today.run(source)["task_id"]
    schema = schemathesis.openapi.from_dict(service_today.http.get("/openapi.json").json())
    schema.config.base_url = str(service_today.http.base_url)

    answers: Counter[int] = Counter()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        answers += ask_often(found.ok(), task_id)

    record_property("requests", sum(answers.values()))
    assert sum(answers.values()) >= 200, answers
    assert {200, 202, 404, 422} <= set(answers), answers
    assert service_today.http.get("/health").status_code == 200
