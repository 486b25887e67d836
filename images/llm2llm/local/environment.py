"""The environment of a step: what the operator would put into its pod."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.stages import STAGES, step_block
from llm2llm.podenv import CONFIG_MAPS_FOLDER, ca_bundles, secret_variables
from llm2llm.records import Stage


def step_environment(
    spec: AugmentationRunSpec, stage: Stage, secrets: Mapping[str, Mapping[str, str]], environ: Mapping[str, str]
) -> dict[str, str]:
    """This process's environment, the step block's `env`, and the Secrets that the spec names.

    A Secret that nobody gave leaves what the environment has; whoever needs it says what is missing.
    """
    block = step_block(spec, stage)
    environment = {**environ, **{variable.name: variable.value for variable in block.env}}
    for variable in secret_variables(spec, stage):
        value = secrets.get(variable.secret, {}).get(variable.key)
        if value is not None:
            environment[variable.name] = value
    return environment


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
    paths = {
        bundle.variable: folder / bundle.reference.name / bundle.reference.key
        for stage in STAGES
        for bundle in ca_bundles(spec, stage)
    }
    return {CONFIG_MAPS_FOLDER: str(folder)} | {name: str(path) for name, path in paths.items() if path.is_file()}
