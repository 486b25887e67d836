"""The part of the API about affinity: the types of Kubernetes' own `affinity`, field by field.

It is typed, although Kubernetes checks it again when the Job is created, because a field without a schema keeps
whatever a user writes, of any depth. The fields are those of Kubernetes 1.34; each is passed on as it was written.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm2llm.api.base import Model, ShortText, TextLimit

TERMS = 16
"""Maximum number of terms and requirements in each list."""
_AT_MOST = TextLimit(8192)
"""Of a list of terms; its entries may be as long as they are many, but not both."""
Values = Annotated[list[ShortText], Field(max_length=64)]
Names = Annotated[list[ShortText], Field(max_length=TERMS)]
Weight = Annotated[int, Field(ge=1, le=100, description="Weight of the preference, from 1 to 100.")]


class NodeRequirement(Model):
    key: ShortText = Field(description="Name of the label or field.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="How the values are compared."
    )
    values: Values | None = Field(None, description="Values; none for Exists and DoesNotExist, one for Gt and Lt.")


NodeRequirements = Annotated[list[NodeRequirement], Field(max_length=TERMS)]


class NodeSelectorTerm(Model):
    match_expressions: NodeRequirements | None = Field(None, description="Requirements on the node's labels.")
    match_fields: NodeRequirements | None = Field(None, description="Requirements on the node's fields.")


class NodeSelector(Model):
    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(max_length=TERMS), _AT_MOST] = Field(
        description="Terms, of which a node must match at least one."
    )


class PreferredNode(Model):
    weight: Weight
    preference: NodeSelectorTerm = Field(description="What the preferred nodes match.")


class NodeAffinity(Model):
    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        None, description="What a node must match."
    )
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredNode], Field(max_length=TERMS), _AT_MOST] | None
    ) = Field(None, description="What the scheduler prefers in a node.")


class LabelRequirement(Model):
    key: ShortText = Field(description="Name of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How the values are compared.")
    values: Values | None = Field(None, description="Values; none for Exists and DoesNotExist.")


class LabelSelector(Model):
    match_labels: Annotated[dict[ShortText, ShortText], Field(max_length=TERMS)] | None = Field(
        None, description="Labels with exactly these values."
    )
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=TERMS)] | None = Field(
        None, description="Requirements on labels."
    )


class PodAffinityTerm(Model):
    topology_key: ShortText = Field(description="Label of a node that says what counts as the same place.")
    label_selector: LabelSelector | None = Field(None, description="The other pods, by their labels.")
    namespace_selector: LabelSelector | None = Field(None, description="Namespaces of the other pods, by their labels.")
    namespaces: Names | None = Field(None, description="Namespaces of the other pods, by name.")
    match_label_keys: Names | None = Field(None, description="Labels that the other pods must share with this one.")
    mismatch_label_keys: Names | None = Field(
        None, description="Labels that the other pods must not share with this one."
    )


class PreferredPodAffinity(Model):
    weight: Weight
    pod_affinity_term: PodAffinityTerm = Field(description="The other pods, and what counts as the same place.")


class PodAffinity(Model):
    required_during_scheduling_ignored_during_execution: (
        Annotated[list[PodAffinityTerm], Field(max_length=TERMS), _AT_MOST] | None
    ) = Field(None, description="Terms that must hold.")
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredPodAffinity], Field(max_length=TERMS), _AT_MOST] | None
    ) = Field(None, description="Terms that the scheduler prefers.")


class Affinity(Model):
    node_affinity: NodeAffinity | None = Field(None, description="Nodes to run on, as in a pod spec.")
    pod_affinity: PodAffinity | None = Field(None, description="Other pods to run near to, as in a pod spec.")
    pod_anti_affinity: PodAffinity | None = Field(None, description="Other pods to keep away from, as in a pod spec.")
