"""The environment of a step: what the operator would put into its pod."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llm2llm.api.base import SecretKeyReference
from llm2llm.api.run import AugmentationRunSpec, step_block
from llm2llm.podenv import (
    CA_BUNDLE,
    CREDENTIALS,
    HUB_TOKEN,
    TEACHER_CA_BUNDLE,
    TEACHER_HUB_TOKEN,
    TEACHER_KEY,
    env_name,
)
from llm2llm.records import Stage
from llm2llm.storage.uri import CONFIG_MAPS_VARIABLE


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
    for dataset, rows in spec.data.sources().items():
        if rows.credentials_secret_ref:
            given = secrets.get(rows.credentials_secret_ref.name, {})
            environment |= {env_name(dataset, name): given[name] for name in CREDENTIALS if name in given}
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


def mount_config_maps(
    spec: AugmentationRunSpec, config_maps: Mapping[str, Mapping[str, bytes]], folder: Path
) -> dict[str, str]:
    """Writes ConfigMaps as an operator would mount them; returns the variables that say where.

    Authorities whose ConfigMap nobody gave are those that the environment has.
    """
    for name, entries in config_maps.items():
        (folder / name).mkdir()
        for key, content in entries.items():
            (folder / name / Path(key).name).write_bytes(content)
    bundles = {CA_BUNDLE: spec.artifacts.ca_bundle_ref, TEACHER_CA_BUNDLE: spec.generate.teacher.ca_bundle_ref}
    bundles |= {env_name(dataset, CA_BUNDLE): rows.ca_bundle_ref for dataset, rows in spec.data.sources().items()}
    paths = {name: folder / bundle.name / bundle.key for name, bundle in bundles.items() if bundle}
    return {CONFIG_MAPS_VARIABLE: str(folder)} | {name: str(path) for name, path in paths.items() if path.is_file()}
