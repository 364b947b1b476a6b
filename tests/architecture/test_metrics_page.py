"""The page of the metrics and the rules of alerts name the series that there are."""

import re
from collections.abc import Iterator
from pathlib import Path

from kroma.health.state import GAUGES
from kroma.metrics import REGISTRY

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
SERIES = re.compile(r"\bkroma_[a-z_]+[a-z]")
PACKAGES = {"kroma_api", "kroma_worker"}


def shown() -> Iterator[str]:
    """Every series by the name that Prometheus has for it."""
    yield from (name for name, _ in GAUGES)
    yield "kroma_database_up"
    for metric in REGISTRY.collect():
        if metric.name.startswith("kroma_"):
            yield f"{metric.name}_total" if metric.type == "counter" else metric.name


def test_the_page_has_every_series_and_no_other() -> None:
    text = PAGE.read_text()
    table = text[text.index("## Metrics") : text.index("## Logs")]

    assert set(SERIES.findall(table)) - PACKAGES == set(shown())


def test_alerts_are_about_series_that_there_are() -> None:
    asked = {name.removesuffix("_bucket") for name in SERIES.findall(ALERTS.read_text())}

    assert asked <= set(shown())
    assert len(asked) > 5


def test_a_service_that_is_not_ready_is_no_internal_error() -> None:
    rule = ALERTS.read_text().partition("alert: KromaErrors")[2].partition("- alert:")[0]

    assert 'kroma_http_requests_total{status="500"}' in rule
