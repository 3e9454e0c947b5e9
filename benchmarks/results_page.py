"""Findings → Markdown: every target beside its figure first, then how each was measured, with raw numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.figures import Figure, Section, Table, Target, shown

NOT_MEASURED = "not measured in this run"


def results_page(
    targets: Sequence[Target], sections: Sequence[Section], machine: Mapping[str, str], *, quick: bool
) -> str:
    """The whole of RESULTS.md."""
    parts = [
        "# Benchmarks",
        *_introduction(quick),
        _machine_table(machine),
        "## Targets",
        target_table(targets, sections),
    ]
    for section in sections:
        parts += [f"## {section.title}", section.method.replace("\n", " "), _markdown(section.table), *section.notes]
    return "\n\n".join(parts) + "\n"


def _introduction(quick: bool) -> Iterator[str]:
    yield (
        "Written by `make bench`; all figures of one page come from one run on one machine. Ratios are what counts:"
        " each side of a ratio was measured in this run. Medians; (smallest–largest) where there are several rounds."
    )
    if quick:
        yield "**A quick run with small sizes: good for seeing that everything works, not for its figures.**"


def target_table(targets: Sequence[Target], sections: Sequence[Section]) -> str:
    """Each target beside its figure; none is left out."""
    found = {figure.key: figure for section in sections for figure in section.figures}
    rows = tuple(_target_row(target, found.get(target.key)) for target in targets)
    return _markdown(Table(("target", "promised", "figure", "spread", ""), rows))


def _target_row(target: Target, figure: Figure | None) -> tuple[str, ...]:
    if figure is None:
        return target.what, target.promise, "–", "", NOT_MEASURED
    verdict = "met" if target.met_by(figure.value) else "**not met**"
    return target.what, target.promise, shown(figure.value), figure.spread, verdict


def _machine_table(machine: Mapping[str, str]) -> str:
    return _markdown(Table(("machine", ""), tuple(machine.items())))


def _markdown(table: Table) -> str:
    lines = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
