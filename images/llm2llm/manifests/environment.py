"""Builds the environment of a step as the operator would for its pod."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.stages import STAGES, step_block
from llm2llm.paths import join
from llm2llm.podenv import CONFIG_MAPS_FOLDER, ca_bundles, secret_variables
from llm2llm.records import Stage
from llm2llm.runtime.credentials import take_secrets


def step_environment(
    spec: AugmentationRunSpec, stage: Stage, secrets: Mapping[str, Mapping[str, str]], environ: Mapping[str, str]
) -> dict[str, str]:
    """Returns this process's environment with the step block's `env` and the Secrets that the spec names.

    If a Secret was not given, the environment's own value stays; the step that needs it reports what is missing.

    Raises:
        AuthenticationError: the value of a Secret cannot be used (credentials.take_secrets).
    """
    block = step_block(spec, stage)
    environment = {**environ, **{variable.name: variable.value for variable in block.env}}
    for variable in secret_variables(spec, stage):
        value = secrets.get(variable.secret, {}).get(variable.key)
        if value is not None:
            environment[variable.name] = value
    return take_secrets(spec, stage, environment)


def mount_config_maps(
    spec: AugmentationRunSpec, config_maps: Mapping[str, Mapping[str, bytes]], folder: Path
) -> dict[str, str]:
    """Writes ConfigMaps to files, as a pod mounts them; returns the variables with their paths.

    A CA bundle whose ConfigMap was not given stays as the environment has it.
    """
    for name, entries in config_maps.items():
        join(folder, name).mkdir()
        for key, content in entries.items():
            join(folder / name, key).write_bytes(content)
    paths = {
        bundle.variable: folder / bundle.reference.name / bundle.reference.key
        for stage in STAGES
        for bundle in ca_bundles(spec, stage)
    }
    return {CONFIG_MAPS_FOLDER: str(folder)} | {name: str(path) for name, path in paths.items() if path.is_file()}
