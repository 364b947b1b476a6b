"""Which provider, model, size and quality a run is made with."""

import pytest

from kroma.config import Settings
from kroma.errors import InvalidRequestError
from kroma.pipeline.planning.model_choice import ModelChoice, resolve_model
from kroma.pipeline.planning.run_spec import RunSpec


def choice(spec: RunSpec | None = None, **variables: str) -> ModelChoice:
    return resolve_model(spec or RunSpec(), Settings.from_environment(variables))


def test_the_local_provider_is_the_default_and_keeps_the_scenes_size() -> None:
    assert choice() == ModelChoice(provider="local", model="", size=None, quality=None, max_inputs=None)


def test_the_paid_provider_has_the_specifications_defaults() -> None:
    wanted = ModelChoice(
        provider="openai", model="gpt-image-1", size="1024x1536", quality="high", max_inputs=16
    )
    assert choice(RunSpec(provider="openai")) == wanted
    assert choice(KROMA_PROVIDER="openai") == wanted


def test_the_environment_beats_the_defaults_and_the_request_the_environment() -> None:
    variables = {
        "KROMA_OPENAI_IMAGE_MODEL": "gpt-image-1.5",
        "OPENAI_IMAGE_SIZE": "1024x1024",
        "OPENAI_IMAGE_QUALITY": "low",
    }
    made = choice(RunSpec(provider="openai", quality="medium"), **variables)

    assert (made.model, made.size, made.quality) == ("gpt-image-1.5", "1024x1024", "medium")


def test_the_environment_of_the_paid_provider_is_nothing_to_the_others() -> None:
    assert choice(OPENAI_IMAGE_SIZE="1024x1024", OPENAI_IMAGE_MODEL="dall-e-1").size is None


def test_a_free_provider_takes_any_size() -> None:
    assert choice(RunSpec(size="640x480", model="kroma-ink-1")) == ModelChoice(
        provider="local", model="kroma-ink-1", size="640x480", quality=None, max_inputs=None
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param(
            RunSpec(provider="dalle"),
            "Field 'provider' must be one of: local, openai, fake",
            id="an unknown provider",
        ),
        pytest.param(
            RunSpec(provider="openai", model="gpt-4"),
            "Field 'model' must be one of: gpt-image-1, gpt-image-1-mini",
            id="an unknown model",
        ),
        pytest.param(
            RunSpec(provider="openai", size="768x1152"),
            "Field 'size' must be one of: 1024x1024, 1024x1536, 1536x1024",
            id="a size it does not draw",
        ),
        pytest.param(
            RunSpec(provider="openai", quality="ultra"),
            "Field 'quality' must be one of: low, medium, high",
            id="an unknown quality",
        ),
        pytest.param(
            RunSpec(model="gpt-image-1"), "Field 'model' must be one of: kroma-ink-1", id="another's model"
        ),
        pytest.param(
            RunSpec(quality="high"),
            "Field 'quality' is not supported by provider 'local'",
            id="a quality where there is none",
        ),
        pytest.param(RunSpec(size="wide"), "Size 'wide' must be <width>x<height>", id="no size"),
        pytest.param(RunSpec(size="99999x99999"), "Size '99999x99999'", id="a size over the limit"),
        pytest.param(RunSpec(size="9" * 5000 + "x1"), "must be <width>", id="a number without end"),
    ],
)
def test_what_is_not_offered_is_refused_with_what_is(spec: RunSpec, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        choice(spec)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        pytest.param({"KROMA_PROVIDER": "dalle"}, "KROMA_PROVIDER 'dalle' is unknown", id="provider"),
        pytest.param({"OPENAI_IMAGE_MODEL": "gpt-4"}, "KROMA_OPENAI_IMAGE_MODEL 'gpt-4'", id="model"),
        pytest.param({"OPENAI_IMAGE_SIZE": "768x1152"}, "KROMA_OPENAI_IMAGE_SIZE '768x1152'", id="size"),
        pytest.param({"OPENAI_IMAGE_QUALITY": "best"}, "KROMA_OPENAI_IMAGE_QUALITY 'best'", id="quality"),
    ],
)
def test_a_wrong_default_names_its_variable(variables: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        choice(**{"KROMA_PROVIDER": "openai", **variables})
    assert said in caught.value.message


def test_settings_show_no_key() -> None:
    settings = Settings.from_environment({"OPENAI_API_KEY": "sk-hidden"})

    assert settings.openai.api_key == "sk-hidden"
    assert "sk-hidden" not in repr(settings)
    assert "sk-hidden" not in str(settings.openai)
