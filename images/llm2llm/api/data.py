"""The part of the API about what is learned, by which model, and where it is stored: task, data, student, artifacts."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from llm2llm.api.base import (
    IDENTITY,
    NAMES_NO_FILE,
    ArtifactsKey,
    CaBundleReference,
    CelRule,
    FolderUri,
    Fraction,
    Model,
    ModelUri,
    RowsUri,
    SecretKeyReference,
    SecretName,
    SecretReference,
    ShortText,
    TextLimit,
)
from llm2llm.presets import presets

CUSTOM = "Custom"
if TYPE_CHECKING:
    PresetName = str
else:  # the names are those of the files in presets/
    PresetName = Literal[(CUSTOM, *presets())]
LABELED_PRESETS = tuple(preset.name for preset in presets().values() if preset.grader == "Choice")
"""Presets whose answers are labels. CaseHOLD's are positions of holdings: its macro-F1 is the published score (LexGLUE,
Chalkidis et al., 2022), and close to its accuracy.
"""

FIELDS_OF_SEED = "must not be set together with fromSeed: the rows use the seed set's mapping"
SAMPLE_OF_SEED = "must not be set together with fromSeed: its count or fraction sets the number of rows"

NO_BLANK_LABEL = "must not contain a blank label: no answer can match it"


def folded(text: str) -> str:
    """Returns a text without differences in case, whitespace, and the encoding of accents (Unicode's NFC).

    Labels, leaks and duplicates are compared in this form.
    """
    return unicodedata.normalize("NFC", same_case(unicodedata.normalize("NFC", text)))


def same_case(text: str) -> str:
    """Returns a text without differences in case and whitespace."""
    return " ".join(text.split()).casefold()


class Grader(Model):
    type: Literal["ExactMatch", "Choice", "Numeric", "Regex"] = Field(
        "ExactMatch",
        description="How the answer is compared with the completion. ExactMatch: equal after trimming whitespace. "
        "Choice: one of task.labels, ignoring case and extra whitespace. Numeric: each text must state one number, "
        "and the two must be exactly equal. Regex: the last match of pattern in each text must be equal.",
    )
    pattern: Annotated[str, StringConstraints(max_length=1024)] = Field(
        "",
        description="Regex only: Python regular expression; its first group, or the whole match if it has no "
        "group, is the answer.",
    )

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "(has(self.type) && self.type == 'Regex') == (has(self.pattern) && self.pattern.size() > 0)",
            "pattern must be set if type is Regex, and only then",
        ),
    )

    @model_validator(mode="after")
    def _pattern_for_regex(self) -> Self:
        if (self.type == "Regex") != bool(self.pattern):
            raise ValueError("pattern must be set if type is Regex, and only then")
        return self


class Task(Model):
    preset: PresetName = Field(
        CUSTOM,
        description="A built-in task with its own template, grader, labels and instructions; or Custom, for which you "
        "provide them.",
    )
    prompt_template: str = Field(
        "",
        validate_default=True,
        max_length=8192,
        description="Jinja template of the prompt, rendered in a sandbox. Its variables are the names in "
        "data.seed.fields, e.g. '{{ prompt }}'. Required for Custom; a preset has its own.",
    )
    chat_template: Literal["Auto", "Never"] = Field(
        "Auto",
        description="Auto sends the prompt as a user message in the student's chat template, if its tokenizer has "
        "one. Never sends the bare prompt. Training and evaluation always use the same.",
    )
    grader: Grader = Field(
        default_factory=Grader, description="How an answer is graded. Custom only; a preset has its own grader."
    )
    labels: Annotated[list[ShortText], Field(max_length=1000), TextLimit(32768)] = Field(
        default_factory=list,
        validate_default=True,
        description="Allowed answers for the Choice grader; they must differ in more than case and whitespace. Custom "
        "only; a preset has its own labels.",
    )

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.preset != 'Custom' || (has(self.promptTemplate) && self.promptTemplate.size() > 0)",
            "must not be empty if preset is Custom",
            ".promptTemplate",
        ),
        CelRule(
            "self.preset == 'Custom' || self.grader.type == 'ExactMatch'",
            "must not be set: the preset has its own",
            ".grader",
        ),
        CelRule(
            "self.preset == 'Custom' || !has(self.labels) || self.labels.size() == 0",
            "must not be set: the preset has its own",
            ".labels",
        ),
        CelRule(
            "self.grader.type != 'Choice' || (has(self.labels) && self.labels.size() > 0)",
            "must not be empty if grader.type is Choice",
            ".labels",
        ),
        CelRule(
            "!has(self.labels) || self.labels.all(label, label.trim().size() > 0)",
            NO_BLANK_LABEL,
            ".labels",
        ),
    )

    @field_validator("prompt_template")
    @classmethod
    def _template_of_custom(cls, template: str, info: ValidationInfo) -> str:
        if info.data.get("preset") == "Custom" and not template:
            raise ValueError("must not be empty if preset is Custom")
        return template

    @field_validator("grader")
    @classmethod
    def _grader_of_custom(cls, grader: Grader, info: ValidationInfo) -> Grader:
        if info.data.get("preset") != "Custom" and grader.type != "ExactMatch":
            raise ValueError("must not be set: the preset has its own")
        return grader

    @field_validator("labels")
    @classmethod
    def _labels_of_choice(cls, labels: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("preset") != "Custom" and labels:
            raise ValueError("must not be set: the preset has its own")
        if "grader" in info.data and info.data["grader"].type == "Choice" and not labels:
            raise ValueError("must not be empty if grader.type is Choice")
        if "" in map(same_case, labels):
            raise ValueError(NO_BLANK_LABEL)
        known: dict[str, str] = {}
        for label in labels:
            if same_case(label) in known:
                raise ValueError(
                    f"{known[same_case(label)]!r} and {label!r} are the same label, ignoring case and whitespace"
                )
            known[same_case(label)] = label
        return labels

    @property
    def labeled(self) -> bool:
        """Whether every answer is one of a set of labels, so that scores by class are possible."""
        return self.preset in LABELED_PRESETS or self.grader.type == "Choice"


class Share(Model):
    """Some rows of a set, drawn by `randomSeed`."""

    count: int | None = Field(
        None, ge=1, le=10_000_000, description="Number of rows; it is an error if the file has fewer."
    )
    fraction: Fraction | None = Field(None, description="Fraction of the rows, e.g. '0.2'.")

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule("has(self.count) != has(self.fraction)", "exactly one of count and fraction must be set"),
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("exactly one of count and fraction must be set")
        return self


class FromSeed(Share):
    stratify: bool = Field(True, description="Take the same fraction of every label, if the task has labels.")


class S3Access(Model):
    """How a bucket is reached."""

    endpoint: Annotated[str, StringConstraints(max_length=1024)] = Field(
        "",
        description="URL of the S3 endpoint. If empty, the environment variable AWS_ENDPOINT_URL is used, or else AWS.",
    )
    region: ShortText = Field("", description="S3 region. If empty, the region from the environment is used.")
    path_style: bool | None = Field(
        None,
        description="True uses path-style addressing, false uses virtual-hosted-style. If unset, path-style is "
        "used when endpoint is set.",
    )
    ca_bundle_ref: CaBundleReference | None = Field(
        None, description="CA bundle to verify the endpoint's TLS certificate with, instead of the system roots."
    )
    credentials_secret_ref: SecretReference | None = Field(
        None,
        description="Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary "
        "credentials, AWS_SESSION_TOKEN.",
    )


_WHERE_ROWS_LIE = (
    "URI of one file: s3://bucket/path, hf://owner/dataset/path (a dataset on the Hugging Face Hub; append @revision "
    "to its name to pin one), pvc://claim/path, configmap://name/key or, for the local runner, file:///path. The "
    "extensions .csv and .tsv (both with a header row) and .parquet select the format; any other file is read as JSON "
    "Lines. An s3:// source that sets none of endpoint, region, pathStyle, caBundleRef and credentialsSecretRef uses "
    "those of spec.artifacts."
)
_SOME_ROWS = "Use a random sample of the rows, stratified by label if the task has labels. If unset, all rows are used."


_A_FILE_OF_A_DATASET = CelRule(
    "!has(self.uri) || !self.uri.matches('^hf://(datasets/)?[^/]+/[^/]*/?$')",
    NAMES_NO_FILE,
    ".uri",
)


class Source(S3Access):
    uri: RowsUri = Field(description=_WHERE_ROWS_LIE, json_schema_extra=IDENTITY)
    fields: dict[ShortText, ShortText] = Field(
        default_factory=lambda: {"prompt": "prompt", "completion": "completion"},
        max_length=32,
        description="Maps field names in the task to column names in the file. 'completion' is the expected answer; "
        "the other fields are passed to the template.",
        json_schema_extra=IDENTITY,
    )
    sample: Share | None = Field(None, description=_SOME_ROWS, json_schema_extra=IDENTITY)

    cel_rules: ClassVar[tuple[CelRule, ...]] = (_A_FILE_OF_A_DATASET,)


class HeldOutSource(S3Access):
    uri: RowsUri | None = Field(None, description=_WHERE_ROWS_LIE, json_schema_extra=IDENTITY)
    from_seed: FromSeed | None = Field(
        None,
        description="Instead of uri: hold out rows of the seed set; they are removed from it.",
        json_schema_extra=IDENTITY,
    )
    fields: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=32,
        description="As for the seed set. If empty, the mapping of the seed set is used.",
        json_schema_extra=IDENTITY,
    )
    sample: Share | None = Field(None, description=_SOME_ROWS, json_schema_extra=IDENTITY)

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        _A_FILE_OF_A_DATASET,
        CelRule(
            "has(self.uri) != has(self.fromSeed)",
            "exactly one of uri and fromSeed must be set",
        ),
        CelRule(
            "!has(self.fromSeed) || !has(self.fields) || self.fields.size() == 0",
            FIELDS_OF_SEED,
            ".fields",
        ),
        CelRule(
            "!has(self.fromSeed) || !has(self.sample)",
            SAMPLE_OF_SEED,
            ".sample",
        ),
    )

    @field_validator("fields", "sample")
    @classmethod
    def _of_a_file(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("from_seed") is not None:
            raise ValueError(FIELDS_OF_SEED if info.field_name == "fields" else SAMPLE_OF_SEED)
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.uri is None) == (self.from_seed is None):
            raise ValueError("exactly one of uri and fromSeed must be set")
        return self


class Data(Model):
    seed: Source = Field(description="The seed set D0: the labeled examples that the student learns.")
    evaluation: HeldOutSource | None = Field(
        None,
        description="Held-out rows, scored in every iteration. They are never trained on and never shown to the "
        "teacher.",
    )
    test: HeldOutSource | None = Field(
        None,
        description="Held-out rows, scored on the best adapter when the loop is over: the number to report.",
    )

    def sources(self) -> dict[str, Source | HeldOutSource]:
        """Returns the sets that the run has, the seed set first."""
        sources_by_name = {"seed": self.seed, "evaluation": self.evaluation, "test": self.test}
        return {dataset: source for dataset, source in sources_by_name.items() if source is not None}


class StudentModel(Model):
    uri: ModelUri = Field(
        description="Base model in Hugging Face format: hf://owner/name, s3://, pvc:// or, for the local runner, "
        "file://."
    )
    revision: ShortText = Field(
        "main", description="Branch, tag or commit, for hf:// only; Prepare resolves it to a commit."
    )


class ClaimReference(Model):
    claim_name: SecretName = Field(description="Name of a PersistentVolumeClaim in the run's namespace.")


class ModelCache(Model):
    persistent_volume_claim: ClaimReference = Field(
        description="Claim that Prepare downloads the base model to, by revision. The other steps, and other runs, "
        "read it from there."
    )


class Student(Model):
    model: StudentModel = Field(
        description="The model to fine-tune. Every iteration starts from it unless startFrom says otherwise.",
        json_schema_extra=IDENTITY,
    )
    trust_remote_code: bool = Field(
        False,
        description="Run the Python code that comes with the model's weights, for architectures that transformers "
        "does not know. Review it first: it runs with the permissions of the steps.",
        json_schema_extra=IDENTITY,
    )
    token_secret_ref: SecretKeyReference | None = Field(
        None, description="Access token for the Hugging Face Hub, for a gated or private model."
    )
    cache: ModelCache | None = Field(
        None, description="Cache for the base model. If unset, every step downloads the model."
    )


class Reuse(Model):
    uri: FolderUri = Field(
        description="Artifacts folder of another run, as shown in its status.artifactsUri; read with the settings of "
        "spec.artifacts."
    )


class Artifacts(S3Access):
    uri: FolderUri = Field(
        description="Folder for everything that the run produces: s3://bucket/prefix, pvc://claim/folder or, for the "
        "local runner, file:///folder.",
        json_schema_extra=IDENTITY,
    )
    key: ArtifactsKey = Field(
        "",
        description="Folder name of this run below uri/namespace. Defaults to <name>-<uid8>.",
        json_schema_extra=IDENTITY,
    )
    retention: Literal["All", "BestAndLast"] = Field(
        "All",
        description="BestAndLast deletes the weights of iterations that are neither the best nor the newest; their "
        "scores, answers and rows are kept. A run that reuses this one trains those iterations again.",
    )
