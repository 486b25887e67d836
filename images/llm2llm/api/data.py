"""The part of the API about what is learned, by whom, and where it is kept: task, data, student and artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from llm2llm.api.base import (
    IDENTITY,
    ArtifactsKey,
    CaBundleReference,
    FolderUri,
    Fraction,
    Model,
    ModelUri,
    RowsUri,
    SecretKeyReference,
    SecretName,
    SecretReference,
    ShortText,
)
from llm2llm.presets import presets

CUSTOM = "Custom"
if TYPE_CHECKING:
    PresetName = str
else:  # the names are those of the files in presets/
    PresetName = Literal[(CUSTOM, *presets())]
LABELED_PRESETS = tuple(preset.name for preset in presets().values() if preset.grader == "Choice")
"""Presets whose answers are labels. CaseHOLD's are positions of holdings: its macro-F1 is the one that is published
(LexGLUE, Chalkidis et al., 2022), and near its accuracy."""

FIELDS_OF_SEED = "must be left out beside fromSeed: the rows are read as the seed set's"
SAMPLE_OF_SEED = "must be left out beside fromSeed: its count or fraction says how many rows"

NO_BLANK_LABEL = "must not hold a blank one: no answer could be it"


def folded(text: str) -> str:
    """Text without regard to case and to how much space lies between words: what labels are compared by."""
    return " ".join(text.split()).casefold()


class Grader(Model):
    type: Literal["ExactMatch", "Choice", "Numeric", "Regex"] = Field(
        "ExactMatch",
        description="ExactMatch compares after trimming; Choice after space and case folding, among labels; Numeric "
        "compares the one number that both state, exactly; Regex compares what the pattern finds last in both.",
    )
    pattern: Annotated[str, StringConstraints(max_length=1024)] = Field(
        "", description="Regex: a regular expression of Python; its first group, or all of it, is the answer."
    )

    @model_validator(mode="after")
    def _pattern_for_regex(self) -> Self:
        if (self.type == "Regex") != bool(self.pattern):
            raise ValueError("pattern must be set where type is Regex, and nowhere else")
        return self


class Task(Model):
    preset: PresetName = Field(
        CUSTOM,
        description="A known task with template, grader, labels and instructions of its own; or Custom, with yours.",
    )
    prompt_template: str = Field(
        "",
        validate_default=True,
        max_length=8192,
        description="Sandboxed Jinja template of the prompt, over the names in data.seed.fields, e.g. '{{ prompt }}'; "
        "a preset has its own.",
    )
    chat_template: Literal["Auto", "Never"] = Field(
        "Auto",
        description="Auto makes the prompt the user's turn of the student's own chat template, where its tokenizer has "
        "one; Never gives the student the bare prompt. The same in training and evaluation.",
    )
    grader: Grader = Field(default_factory=Grader, description="How an answer is judged; a preset has its own.")
    labels: list[ShortText] = Field(
        default_factory=list,
        validate_default=True,
        max_length=1000,
        description="The answers that Choice allows, different after space and case folding; a preset has its own.",
    )

    @field_validator("prompt_template")
    @classmethod
    def _template_of_custom(cls, template: str, info: ValidationInfo) -> str:
        if info.data.get("preset") == "Custom" and not template:
            raise ValueError("must not be empty where preset is Custom")
        return template

    @field_validator("grader")
    @classmethod
    def _grader_of_custom(cls, grader: Grader, info: ValidationInfo) -> Grader:
        if info.data.get("preset") != "Custom" and grader.type != "ExactMatch":
            raise ValueError("must be left out: the preset has its own")
        return grader

    @field_validator("labels")
    @classmethod
    def _labels_of_choice(cls, labels: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("preset") != "Custom" and labels:
            raise ValueError("must be left out: the preset has its own")
        if "grader" in info.data and info.data["grader"].type == "Choice" and not labels:
            raise ValueError("must not be empty when grader.type is Choice")
        if "" in map(folded, labels):
            raise ValueError(NO_BLANK_LABEL)
        known: dict[str, str] = {}
        for label in labels:
            if folded(label) in known:
                raise ValueError(f"{known[folded(label)]!r} and {label!r} are one label in other case or space")
            known[folded(label)] = label
        return labels

    @property
    def labeled(self) -> bool:
        """Whether every answer is one of a set of labels, so that classes can be told apart."""
        return self.preset in LABELED_PRESETS or self.grader.type == "Choice"


class Share(Model):
    """Some of the rows of a set, drawn by `randomSeed`."""

    count: int | None = Field(None, ge=1, le=10_000_000, description="So many rows; fewer in the file are an error.")
    fraction: Fraction | None = Field(None, description="This share of the rows, e.g. '0.2'.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("exactly one of count and fraction must be set")
        return self


class FromSeed(Share):
    stratify: bool = Field(True, description="Every label gets its share, where the task has labels.")


class S3Access(Model):
    """How a bucket is reached."""

    endpoint: Annotated[str, StringConstraints(max_length=1024)] = Field(
        "", description="URL of the S3 endpoint; empty: AWS_ENDPOINT_URL of the environment, else AWS's own."
    )
    region: ShortText = Field("", description="S3 region; empty: the environment's.")
    path_style: bool | None = Field(
        None, description="True addresses buckets by path, false by host name; unset: by path where an endpoint is set."
    )
    ca_bundle_ref: CaBundleReference | None = Field(
        None, description="Authorities of the endpoint's certificate, in place of the usual ones."
    )
    credentials_secret_ref: SecretReference | None = Field(
        None, description="Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if need be, AWS_SESSION_TOKEN."
    )


_WHERE_ROWS_LIE = (
    "One file: s3://bucket/path, hf://owner/dataset/path (of the hub, @revision after the name if need be), "
    "pvc://claim/path, configmap://name/key or, for the local runner, file:///path. JSON lines, unless its name ends "
    "with .csv, .tsv (both with a header) or .parquet. An s3:// source that sets none of endpoint, region, pathStyle, "
    "caBundleRef and credentialsSecretRef is read as the artifacts are."
)
_SOME_ROWS = "Use only some of the rows, of every label its share where the task has labels; unset: all."


class Source(S3Access):
    uri: RowsUri = Field(description=_WHERE_ROWS_LIE, json_schema_extra=IDENTITY)
    fields: dict[ShortText, ShortText] = Field(
        default_factory=lambda: {"prompt": "prompt", "completion": "completion"},
        max_length=32,
        description="Name in the task to name in the file; 'completion' is the answer, the others go to the template.",
        json_schema_extra=IDENTITY,
    )
    sample: Share | None = Field(None, description=_SOME_ROWS, json_schema_extra=IDENTITY)


class HeldOutSource(S3Access):
    uri: RowsUri | None = Field(None, description=_WHERE_ROWS_LIE, json_schema_extra=IDENTITY)
    from_seed: FromSeed | None = Field(
        None,
        description="Instead of uri: rows taken out of the seed set, which is smaller by them.",
        json_schema_extra=IDENTITY,
    )
    fields: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=32,
        description="As for the seed set; empty means the same mapping as the seed's.",
        json_schema_extra=IDENTITY,
    )
    sample: Share | None = Field(None, description=_SOME_ROWS, json_schema_extra=IDENTITY)

    @field_validator("fields", "sample")
    @classmethod
    def _of_a_file(cls, given: object, info: ValidationInfo) -> object:
        if given and info.data.get("from_seed") is not None:
            raise ValueError(FIELDS_OF_SEED if info.field_name == "fields" else SAMPLE_OF_SEED)
        return given

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.uri is None) == (self.from_seed is None):
            raise ValueError("exactly one of uri and fromSeed must be set")
        return self


class Data(Model):
    seed: Source = Field(description="The seed set D0: the examples that the student has to learn.")
    evaluation: HeldOutSource | None = Field(
        None, description="Held-out rows, scored in every iteration, never trained on and never shown to the teacher."
    )
    test: HeldOutSource | None = Field(
        None,
        description="Held-out rows, scored once, on the best adapter, when the loop is over: the number to report.",
    )

    def sources(self) -> dict[str, Source | HeldOutSource]:
        """The sets that the run names, the seed set first."""
        named = {"seed": self.seed, "evaluation": self.evaluation, "test": self.test}
        return {dataset: source for dataset, source in named.items() if source is not None}


class StudentModel(Model):
    uri: ModelUri = Field(
        description="Base model in the Hugging Face format: hf://owner/name, s3://, pvc:// or file:// (local)."
    )
    revision: ShortText = Field("main", description="Branch, tag or commit for hf://; resolved to a commit by Prepare.")


class ClaimReference(Model):
    claim_name: SecretName = Field(description="Name of a PersistentVolumeClaim in the run's namespace.")


class ModelCache(Model):
    persistent_volume_claim: ClaimReference = Field(
        description="Prepare puts the base model there, by its revision; the other steps, and other runs, read it."
    )


class Student(Model):
    model: StudentModel = Field(
        description="The model that is fine-tuned, anew from its base in every iteration.", json_schema_extra=IDENTITY
    )
    trust_remote_code: bool = Field(
        False,
        description="Run the Python files that lie beside the model's weights, for an architecture that transformers "
        "does not know. Read them first: they run with the rights of the steps.",
        json_schema_extra=IDENTITY,
    )
    token_secret_ref: SecretKeyReference | None = Field(
        None, description="Token of the Hugging Face hub, for a gated or private model."
    )
    cache: ModelCache | None = Field(None, description="Where the base model is kept; unset: every step fetches it.")


class Reuse(Model):
    uri: FolderUri = Field(
        description="Folder of another run's artifacts, as in its status.artifactsUri; read like spec.artifacts."
    )


class Artifacts(S3Access):
    uri: FolderUri = Field(
        description="Folder for everything that the run makes: s3://bucket/prefix or pvc://claim/folder; for the local "
        "runner file:///folder.",
        json_schema_extra=IDENTITY,
    )
    key: ArtifactsKey = Field(
        "",
        description="Folder name of this run below uri/namespace; by default <name>-<uid8>.",
        json_schema_extra=IDENTITY,
    )
    retention: Literal["All", "BestAndLast"] = Field(
        "All",
        description="BestAndLast deletes the weights of iterations that are neither the best so far nor the newest; "
        "their scores, answers and rows stay. A run that reuses such a run trains those iterations anew.",
    )
