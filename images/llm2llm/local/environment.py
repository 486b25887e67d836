"""The environment of a step: what the operator would put into its pod."""

from __future__ import annotations

from collections.abc import Mapping

from llm2llm.api import AugmentationRunSpec, step_block
from llm2llm.api_base import SecretKeyReference
from llm2llm.records import Stage

TEACHER_KEY = "LLM2LLM_TEACHER_API_KEY"
TEACHER_HUB_TOKEN = "LLM2LLM_TEACHER_HF_TOKEN"  # noqa: S105 - likewise
HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable, not a token


def step_environment(
    spec: AugmentationRunSpec, stage: Stage, secrets: Mapping[str, Mapping[str, str]], environ: Mapping[str, str]
) -> dict[str, str]:
    """This process's environment, the step block's `env`, and the Secrets that the spec names.

    A Secret that nobody gave leaves what the environment has; whoever needs it says what is missing.
    """
    block = step_block(spec, stage)
    environment = {**environ, **{variable.name: variable.value for variable in block.env}}
    credentials = spec.artifacts.credentials_secret_ref
    if credentials:
        environment |= secrets.get(credentials.name, {})
    source = spec.generate.teacher.source
    for name, reference in (
        (TEACHER_HUB_TOKEN, source.token_secret_ref if source else None),
        (TEACHER_KEY, spec.generate.teacher.api_key_secret_ref),
        (HUB_TOKEN, spec.student.token_secret_ref),
    ):
        value = _value(secrets, reference)
        if value is not None:
            environment[name] = value
    return environment


def _value(secrets: Mapping[str, Mapping[str, str]], reference: SecretKeyReference | None) -> str | None:
    return secrets.get(reference.name, {}).get(reference.key) if reference else None
