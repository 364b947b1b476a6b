"""Where metrics are shown, and how the services speak."""

from pathlib import Path

import pytest

from kroma.config import MetricsOptions, Settings, SettingsError


def settings(**variables: str) -> Settings:
    return Settings.from_environment(variables, data_dir=Path("/data"))


def shown(options: MetricsOptions) -> tuple[str, bool, bool]:
    return options.bind.address, options.is_given, options.is_off


def test_metrics_stay_on_this_machine_unless_somebody_says_otherwise() -> None:
    assert shown(settings().metrics) == ("127.0.0.1:8789", False, False)
    assert shown(settings().worker_metrics) == ("127.0.0.1:8790", False, False)


def test_one_variable_serves_api_and_worker_alike() -> None:
    both = settings(KROMA_METRICS_BIND="0.0.0.0:9100")
    assert shown(both.metrics) == shown(both.worker_metrics) == ("0.0.0.0:9100", True, False)


def test_a_worker_has_a_variable_of_its_own() -> None:
    apart = settings(KROMA_METRICS_BIND="off", KROMA_WORKER_METRICS_BIND="[::1]:9101")
    assert apart.metrics.is_off
    assert shown(apart.worker_metrics) == ("[::1]:9101", True, False)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("KROMA_METRICS_BIND", "localhost:9100", "ip:port, such as 127.0.0.1:8789, or off"),
        ("KROMA_WORKER_METRICS_BIND", "9100", "ip:port, such as 127.0.0.1:8790, or off"),
        ("KROMA_LOG_LEVEL", "loud", "one of: debug, info, warning, error"),
        ("KROMA_LOG_FORMAT", "xml", "one of: json, console"),
    ],
)
def test_a_value_that_cannot_be_meant_stops_the_start(name: str, value: str, right: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{name: value})
    assert caught.value.message == f"{name} must be {right}"
