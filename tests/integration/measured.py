"""What tests ask of ``/metrics``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.service_process import ServiceProcess

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def samples_in(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    samples = chain.from_iterable(family.samples for family in families)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum over all samples of that name that have these labels."""
    wanted = set(labels.items())
    return sum(number for (found, its), number in samples.items() if found == name and wanted <= set(its))


def metrics_of(service: ServiceProcess) -> Samples:
    return samples_in(service.http.get("/metrics").raise_for_status().text)
