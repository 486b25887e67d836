"""Guesses what was meant by a text that has not the form of its field, and by the name of an unknown field."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from llm2llm.api.run import AugmentationRunSpec

_DIGITS = 25
"""Maximum characters of a number that somebody may have meant."""
_LONGEST = 2000
"""Maximum characters of a text of which anything is guessed."""
_UNITS = r"\s*(?:[$€£¥%]|usd|eur|dollars?|euros?|h|hrs?|hours?)"
_WHOLE = Decimal(100)
_THOUSANDS = {"": 1, "k": 1000, "m": 1_000_000}
_FILES = {".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv", ".txt"}
_LOCAL_HOST = re.compile(r"(localhost|127\.|10\.|192\.168\.|\[|[^/.:]+:\d)")
_HUB = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/")
_BATCH = "effectiveBatchSize, the number of examples per optimizer step regardless of the hardware"
_HYPERPARAMETERS = "spec.train.hyperparameters"
_NAMES_ELSEWHERE = {
    **dict.fromkeys(
        (
            *("perDeviceTrainBatchSize", "perDeviceBatchSize", "perDeviceBatch", "trainBatchSize", "batchSize"),
            *("batch", "microBatchSize", "microBatch", "gradientAccumulationSteps", "gradientAccumulation"),
            "accumulationSteps",
        ),
        (_HYPERPARAMETERS, _BATCH),
    ),
    **dict.fromkeys(("lr", "maxLearningRate", "peakLearningRate"), (_HYPERPARAMETERS, "learningRate")),
    **dict.fromkeys(("epochs", "numEpochs", "maxEpochs"), (_HYPERPARAMETERS, "numTrainEpochs")),
    **dict.fromkeys(("scheduler", "lrScheduler"), (_HYPERPARAMETERS, "lrSchedulerType")),
    **dict.fromkeys(("maxSeqLength", "maxSeqLen", "modelMaxLength", "cutoffLen"), (_HYPERPARAMETERS, "maxLength")),
    "warmupSteps": (_HYPERPARAMETERS, "warmupRatio"),
    **dict.fromkeys(("fp16", "bf16", "precision"), ("spec.train", "precision")),
    "minSteps": ("spec.train", "minSteps"),
    **dict.fromkeys(("seed", "randomSeed", "dataSeed"), ("spec", "randomSeed")),
    **dict.fromkeys(("iterations", "numIterations", "rounds"), ("spec", "maxIterations")),
    **dict.fromkeys(("loraR", "loraRank", "rank"), ("spec.train.lora", "r")),
    **dict.fromkeys(("loraAlpha",), ("spec.train.lora", "alpha")),
    **dict.fromkeys(("maxNewTokens", "maxTokens"), ("spec.evaluate.sampling", "maxTokens")),
}
"""Names in other trainers: where their counterpart is, and its name. With per-device settings, hardware would affect
the result."""
_SECRETS = {
    **dict.fromkeys(("apiKey", "key", "token", "secret", "password", "openaiApiKey"), "apiKeySecretRef"),
    **dict.fromkeys(("hfToken", "hubToken"), "tokenSecretRef"),
    **dict.fromkeys(
        ("accessKey", "accessKeyId", "secretKey", "secretAccessKey", "credentials"), "credentialsSecretRef"
    ),
}
"""Names under which people write a key into the manifest to the reference that belongs there."""
_FIXED = {
    **dict.fromkeys(
        ("optim", "optimizer"), "remove it, the optimizer is always AdamW; set learningRate and weightDecay"
    ),
    "packing": "remove it, rows are packed without padding where the model supports it, and never attend to each other",
    "maxSteps": "use numTrainEpochs or spec.train.minSteps",
}
"""Names in other trainers for what cannot be chosen here."""


def address_of(path: str) -> str:
    """Returns the address of a path as a person writes it, with `~` and variables; '' if there is no such path."""
    try:
        return Path(os.path.expanduser(os.path.expandvars(path))).absolute().as_uri()  # noqa: PTH111 - pathlib's raises if no user is called so
    except ValueError:  # half of a character
        return ""


def correction(given: str, pattern: str) -> str:
    """Returns the text that was probably meant, as the end of a sentence; '' if there is no good guess.

    Args:
        given: what was written.
        pattern: of the texts that the field takes.
    """
    text = given.strip()
    meant = next((candidate for candidate in _candidates(text) if re.fullmatch(pattern, candidate)), None)
    if meant is None:
        return ""
    return f": did you mean {meant}?" if "://" in meant else f': write "{meant}"'


def _candidates(text: str) -> Iterator[str]:
    if len(text) > _LONGEST:
        return
    number = re.sub(rf"^{_UNITS}|{_UNITS}$", "", text, flags=re.IGNORECASE).strip().replace("_", "")
    if re.fullmatch(r"\d+,\d{1,2}", number):
        number = number.replace(",", ".")
    number = re.sub(r"(?<=\d),(?=\d{3}(\D|$))", "", number)
    if re.fullmatch(r"\.\d+", number):
        number = f"0{number}"
    is_number = re.fullmatch(r"\d+(\.\d+)?", number)
    hundredth = f"{(Decimal(number) / _WHOLE).normalize():f}" if is_number else ""
    yield from (hundredth, number) if text.endswith("%") else (number, hundredth)
    yield re.sub(r"(?i)^(\d+(?:\.\d+)?)\s*([kmgtpe])i?b?$", lambda size: f"{size[1]}{size[2].upper()}i", text)
    if re.search("[A-Za-z]", text):
        yield re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")
    yield from _addresses(text)


def _addresses(text: str) -> Iterator[str]:
    if _HUB.match(text):
        yield "hf://" + _HUB.sub("", text).rstrip("/")
    if "://" in text:
        scheme, _, rest = text.partition("://")
        yield f"{scheme.lower()}://{rest}"
        return
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() in ("file", "s3", "hf", "pvc", "configmap", "http", "https"):
        yield f"{scheme.lower()}://{rest.lstrip('/')}" if scheme.lower() != "file" else f"file:///{rest.lstrip('/')}"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not text.startswith(".") and not _is_file(text):
        yield f"hf://{text}"
    if not re.match(r"[\w.-]+:\d", text):
        yield address_of(text)
    yield f"{'http' if _LOCAL_HOST.match(text) else 'https'}://{text}"


def _is_file(text: str) -> bool:
    return Path(text).suffix.lower() in _FILES or os.path.exists(text)  # noqa: PTH110 - however long it is


def whole_number(given: Any) -> str:
    """Returns the whole number that was probably meant, as the end of a sentence; '' if there is no good guess."""
    match = re.fullmatch(r"(?i)([\d_,]+)(\.0+)?\s*([km]?)", str(given).strip())
    if match is None or isinstance(given, bool) or not match[1].strip("_,") or len(match[1]) > _DIGITS:
        return ""
    return f": write {int(re.sub('[_,]', '', match[1])) * _THOUSANDS[match[3].lower()]}"


def known_field(location: tuple[int | str, ...]) -> str:
    """Returns what to write in place of an unknown field, as the end of a sentence; '' if there is no good guess."""
    *parents, name = location
    block = ".".join(("spec", *(str(part) for part in parents if not isinstance(part, int))))
    camel = to_camel(str(name)) if "_" in str(name) else str(name)
    model = _model_at(parents)
    if model is None:
        return ""
    names = {field.lower(): field for field in fields_of(model)}
    reference = _SECRETS.get(camel, "")
    if reference in names.values():
        parts = "name" if reference == "credentialsSecretRef" else "name, key"
        return f": use {reference}: {{{parts}}}, which names a Secret, so that no key is in a manifest"
    if camel.lower() not in names:
        if block == _HYPERPARAMETERS and camel in _FIXED:
            return f": {_FIXED[camel]}"
        if camel in _NAMES_ELSEWHERE:
            place, field = _NAMES_ELSEWHERE[camel]
            return f": use {field}" if place == block else f": use {place}.{field}"
    close = difflib.get_close_matches(str(name).replace("_", "").lower(), names, n=1)
    if close:
        return f": did you mean {names[close[0]]}?"
    elsewhere = [path for path in _all_paths(AugmentationRunSpec) if path.rpartition(".")[2].lower() == camel.lower()]
    return f": did you mean {elsewhere[0]}?" if elsewhere else ""


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the names of a model's fields, as in a manifest, with their annotations."""
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def _model_at(parents: list[int | str]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = AugmentationRunSpec
    for parent in parents:
        if model is not None and not isinstance(parent, int):
            model = _model_in(fields_of(model).get(parent))
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Returns the model in the annotation of a field, also of an optional one or a list; None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _all_paths(model: type[BaseModel], prefix: str = "spec") -> list[str]:
    """Returns the paths of all fields, those of outer blocks first."""
    fields: Mapping[str, Any] = fields_of(model)
    paths = [f"{prefix}.{name}" for name in fields]
    for name, annotation in fields.items():
        part = _model_in(annotation)
        if part and name != "affinity":
            paths += _all_paths(part, f"{prefix}.{name}")
    return sorted(paths, key=lambda path: path.count("."))
