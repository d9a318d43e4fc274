from datetime import UTC, datetime

import pytest

from compliance.catalog import load_catalog
from compliance.reports.build import build_report
from compliance.reports.render import render_html
from tests.reports.example import example_evidence, example_validation

WHEN = datetime(2027, 1, 15, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def evidence():
    return example_evidence(validation=example_validation())


@pytest.fixture(scope="session")
def build():
    """Builds a report of any evidence, with one name, version and date."""

    def build(evidence):
        return build_report(
            evidence, load_catalog(), pack_id="test-system-1.0.0", version="1.0.0", built_at=WHEN
        )

    return build


@pytest.fixture(scope="session")
def report(build, evidence):
    return build(evidence)


@pytest.fixture(scope="session")
def html(report):
    return render_html(report)
