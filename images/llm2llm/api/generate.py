"""The part of the API about Generate: whom it asks, how fast, and which of the rows it keeps."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from llm2llm.api.base import (
    IDENTITY,
    CaBundleReference,
    CelRule,
    Fraction,
    Model,
    ModelUri,
    SecretKeyReference,
    ShortText,
)
from llm2llm.api.forms import Form
from llm2llm.api.pods import StepBlock


class TeacherSource(Model):
    uri: ModelUri = Field(
        description="Model in Hugging Face format: hf://owner/name, s3://, pvc:// or, for the local runner, file://.",
        json_schema_extra=IDENTITY,
    )
    revision: ShortText = Field(
        "main",
        description="Branch, tag or commit, for hf:// only; the first round resolves it to a commit, and all later "
        "rounds of the run keep that one.",
        json_schema_extra=IDENTITY,
    )
    token_secret_ref: SecretKeyReference | None = Field(
        None, description="Access token for the Hugging Face Hub, for a gated or private teacher."
    )


class Teacher(Model):
    model: ShortText = Field(
        min_length=1,
        description="Model name to send to the endpoint. Local: any name; it appears in the lineage of rows.",
        json_schema_extra=IDENTITY,
    )
    base_url: (
        Annotated[
            str,
            StringConstraints(max_length=1024),
            Form(r"https?://.+", "must be a URL that begins with https:// or http://"),
        ]
        | None
    ) = Field(
        None, description="Online only: base URL of an OpenAI-compatible endpoint, e.g. https://api.openai.com/v1."
    )
    source: TeacherSource | None = Field(
        None, description="Local only: the model that vLLM serves inside the Job; it must have a chat template."
    )
    api_key_secret_ref: SecretKeyReference | None = Field(
        None, description="API key of the endpoint. Leave unset if the endpoint needs none."
    )
    ca_bundle_ref: CaBundleReference | None = Field(
        None, description="CA bundle to verify the endpoint's TLS certificate with, instead of the system roots."
    )
    extra_headers: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=16,
        description="HTTP headers to add to every request, e.g. for a gateway. Put API keys in apiKeySecretRef "
        "instead.",
    )
    parameters: dict[ShortText, ShortText] = Field(
        default_factory=dict,
        max_length=16,
        description='Sampling parameters, sent as given, e.g. temperature: "0.8". Parameters that are not set are not '
        "sent.",
        json_schema_extra=IDENTITY,
    )


class Limits(Model):
    """Upper limits; the rate below them adapts to the endpoint's responses."""

    max_concurrent_requests: int = Field(
        32,
        ge=1,
        le=1024,
        description="Maximum number of requests in flight; after a crash, up to this many may be sent, and paid "
        "for, again.",
    )
    requests_per_minute: int | None = Field(
        None, ge=1, le=10**6, description="Maximum number of requests per minute. Unlimited if unset."
    )
    tokens_per_minute: int | None = Field(
        None, ge=1, le=10**9, description="Maximum number of tokens per minute, sent and received. Unlimited if unset."
    )


class Dedup(Model):
    threshold: Fraction = Field("0.95", description="ROUGE-L F1 score above which a row is a near duplicate.")


class Decontaminate(Model):
    ngram: int = Field(
        13,
        ge=8,
        le=50,
        description="Length in words of the n-grams that a new row must not share with any evaluation or test row.",
    )


class Filters(Model):
    dedup: Dedup = Field(
        default_factory=Dedup,
        description="Rejects near duplicates of a seed row or of a row written in this or an earlier round.",
    )
    decontaminate: Decontaminate = Field(
        default_factory=Decontaminate, description="Rejects rows that give away an evaluation or test row; always on."
    )
    min_acceptance: Fraction = Field(
        "0.1",
        description="Minimum fraction of the teacher's rows that the filters must keep. Below it the step fails "
        "and shows samples of rejected rows.",
    )


class Generate(StepBlock):
    mode: Literal["Online", "Local"] = Field(
        "Online",
        description="Online sends requests to an endpoint. Local serves the teacher with vLLM inside the Job; "
        "resources must request its GPUs, and the image must contain vLLM, as the default one, the evaluator's, does.",
        json_schema_extra=IDENTITY,
    )
    teacher: Teacher = Field(description="The model that writes new examples.")
    tensor_parallel_size: int = Field(
        1,
        ge=1,
        le=64,
        description="Local only: number of GPUs that vLLM spreads the teacher over; request as many in resources.",
    )
    instructions: Annotated[str, StringConstraints(max_length=8192)] = Field(
        "",
        description="Description of the task for the teacher. If empty, the preset's is used.",
        json_schema_extra=IDENTITY,
    )
    examples_per_mistake: int = Field(
        1,
        ge=1,
        le=32,
        description="Number of rows that the teacher writes for each mistake, before filtering.",
        json_schema_extra=IDENTITY,
    )
    strategy: Literal["Targeted", "Untargeted"] = Field(
        "Targeted",
        description="Targeted writes rows like the mistakes. Untargeted, the control arm, writes rows like random "
        "seed rows.",
        json_schema_extra=IDENTITY,
    )
    rows_per_round: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Number of rows that the teacher writes per round, before filtering, regardless of the number of "
        "mistakes. 0: examplesPerMistake rows for each mistake; Untargeted counts at least one mistake.",
        json_schema_extra=IDENTITY,
    )
    limits: Limits = Field(
        default_factory=Limits,
        description="Upper limits for the requests to the teacher. Below them the rate adapts to the endpoint's "
        "responses.",
    )
    filters: Filters = Field(
        default_factory=Filters,
        description="Which of the teacher's rows are rejected. Rejected rows are stored separately, each with its "
        "reason.",
        json_schema_extra=IDENTITY,
    )

    cel_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.mode != 'Online' || has(self.teacher.baseUrl)",
            "baseUrl must be set if mode is Online",
            ".teacher",
        ),
        CelRule(
            "self.mode != 'Online' || !has(self.teacher.source)",
            "source must not be set if mode is Online",
            ".teacher",
        ),
        CelRule(
            "self.mode != 'Local' || has(self.teacher.source)",
            "source must be set if mode is Local",
            ".teacher",
        ),
        CelRule(
            "self.mode != 'Local' || !(has(self.teacher.baseUrl) || has(self.teacher.apiKeySecretRef) ||"
            " has(self.teacher.caBundleRef) ||"
            " has(self.teacher.extraHeaders) && self.teacher.extraHeaders.size() > 0)",
            "baseUrl, apiKeySecretRef, caBundleRef and extraHeaders must not be set if mode is Local",
            ".teacher",
        ),
        CelRule(
            "self.mode != 'Online' || self.tensorParallelSize == 1",
            "must not be set if mode is Online",
            ".tensorParallelSize",
        ),
    )

    @field_validator("teacher")
    @classmethod
    def _teacher_of_mode(cls, teacher: Teacher, info: ValidationInfo) -> Teacher:
        match info.data.get("mode"):
            case "Online" if teacher.base_url is None:
                raise ValueError("baseUrl must be set if mode is Online")
            case "Online" if teacher.source is not None:
                raise ValueError("source must not be set if mode is Online")
            case "Local" if teacher.source is None:
                raise ValueError("source must be set if mode is Local")
            case "Local" if (
                teacher.base_url or teacher.api_key_secret_ref or teacher.ca_bundle_ref or teacher.extra_headers
            ):
                raise ValueError(
                    "baseUrl, apiKeySecretRef, caBundleRef and extraHeaders must not be set if mode is Local"
                )
        return teacher

    @field_validator("tensor_parallel_size")
    @classmethod
    def _one_online(cls, size: int, info: ValidationInfo) -> int:
        if info.data.get("mode") == "Online" and size != 1:
            raise ValueError("must not be set if mode is Online")
        return size
