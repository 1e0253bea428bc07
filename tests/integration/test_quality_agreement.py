"""docs/agreement.md tells the truth about quality metrics: each line is measured again."""

from __future__ import annotations

import pytest

from tests import agreement
from tests.agreement import DOCUMENT, FILES, Line
from tests.conftest import requires

pytestmark = requires("bcftools", "plink2")

#: What the printing of an oracle explains; everything else is equal.
PRINTED = {
    "alleleFrequencies": 1e-6, "hwePValues": 1e-6, "hweMidPValues": 1e-6,
    "log10 hwePValues": 5e-6, "log10 hweMidPValues": 5e-6, "callRate": 1e-6,
    "samples: callRate": 1e-6, "samples: inbreedingCoefficient": 1e-6,
    "samples: expectedHomozygotes": 0.05, "samples: depthMean": 0.05,
    "depthStdev": 1e-9, "genotypeQualityStdev": 1e-9,
    # GQ is a float in HiSeq.10000.vcf: bcftools prints six digits
    "genotypeQualityMean": 1e-5, "genotypeQualityMin": 1e-5, "genotypeQualityMax": 1e-5,
    "samples: genotypeQualityMean": 1e-5, "samples: genotypeQualityMin": 1e-5,
}  # fmt: skip


def documented() -> dict[tuple[str, str, str], tuple[int, float]]:
    section = DOCUMENT.read_text("utf-8").partition("\n## Quality\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) == 5][1:]
    return {(a, b, c): (int(n.replace(",", "")), float(d)) for a, b, c, n, d in cells}


@pytest.fixture(scope="module")
def measured(shared_data) -> list[Line]:
    folder = shared_data / "cohort"
    return [line for name in FILES for line in agreement.lines(folder / name)]


def test_agreement__document_lists_what_is_measured(measured):
    assert list(documented()) == [(x.file, x.metric, x.oracle) for x in measured]


def test_agreement__differences_are_the_documented_ones(measured):
    told = documented()
    for line in measured:
        values, largest = told[line.file, line.metric, line.oracle]
        assert line.values == values, line
        assert line.difference <= 1.06 * largest, line  # two digits are printed


def test_agreement__only_printing_differs(measured):
    for line in measured:
        metric = line.metric.partition(" (")[0]
        assert line.difference <= PRINTED.get(metric, 0), line
