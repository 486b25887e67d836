"""What only CEL can say of a run's spec, so that the API server refuses it at apply: no webhook, no certificate."""

from __future__ import annotations

import json

from llm2llm.api.data import FIELDS_OF_SEED, LABELED_PRESETS, NO_BLANK_LABEL, SAMPLE_OF_SEED
from llm2llm.api.run import MACRO_F1_NEEDS_LABELS, PROBE_NEEDS_THE_BASE
from llm2llm.api.stages import Lora

SOURCES = ("persistentVolumeClaim", "secret", "configMap", "emptyDir")
ONE_AMOUNT = {
    "rule": "has(self.count) != has(self.fraction)",
    "message": "exactly one of count and fraction must be set",
}
LORA_UNTOUCHED = " && ".join(
    f"(!has(self.lora.{name}) || self.lora.{name} == {json.dumps(value)})"
    for name, value in Lora().model_dump(by_alias=True).items()
)
"""Whether all adapter settings are at their defaults: the API server fills those in, so left out looks like that."""
RULES: dict[str, list[dict[str, str]]] = {
    "AugmentationRunSpec": [
        {
            "rule": "!has(self.objective) || !has(self.objective.metric) || self.objective.metric != 'macroF1' || "
            f"(has(self.task.preset) && self.task.preset in [{', '.join(map(repr, LABELED_PRESETS))}]) || "
            "(has(self.task.grader) && has(self.task.grader.type) && self.task.grader.type == 'Choice')",
            "message": MACRO_F1_NEEDS_LABELS,
            "fieldPath": ".objective",
        },
        {
            "rule": "!has(self.errorsFrom) || self.errorsFrom != 'Probe' || !has(self.startFrom) || "
            "self.startFrom != 'PreviousIteration'",
            "message": PROBE_NEEDS_THE_BASE,
            "fieldPath": ".errorsFrom",
        },
    ],
    "Budget": [{"rule": "!has(self.maxCost) || has(self.prices)", "message": "maxCost requires prices"}],
    "HeldOutSource": [
        {"rule": "has(self.uri) != has(self.fromSeed)", "message": "exactly one of uri and fromSeed must be set"},
        {
            "rule": "!has(self.fromSeed) || !has(self.fields) || self.fields.size() == 0",
            "message": FIELDS_OF_SEED,
            "fieldPath": ".fields",
        },
        {
            "rule": "!has(self.fromSeed) || !has(self.sample)",
            "message": SAMPLE_OF_SEED,
            "fieldPath": ".sample",
        },
    ],
    "Generate": [
        {
            "rule": "self.mode != 'Online' || has(self.teacher.baseUrl)",
            "message": "baseUrl must be set if mode is Online",
            "fieldPath": ".teacher",
        },
        {
            "rule": "self.mode != 'Online' || !has(self.teacher.source)",
            "message": "source must not be set if mode is Online",
            "fieldPath": ".teacher",
        },
        {
            "rule": "self.mode != 'Local' || has(self.teacher.source)",
            "message": "source must be set if mode is Local",
            "fieldPath": ".teacher",
        },
        {
            "rule": "self.mode != 'Local' || !(has(self.teacher.baseUrl) || has(self.teacher.apiKeySecretRef) ||"
            " has(self.teacher.caBundleRef) ||"
            " has(self.teacher.extraHeaders) && self.teacher.extraHeaders.size() > 0)",
            "message": "baseUrl, apiKeySecretRef, caBundleRef and extraHeaders must not be set if mode is Local",
            "fieldPath": ".teacher",
        },
        {
            "rule": "self.mode != 'Online' || self.tensorParallelSize == 1",
            "message": "must not be set if mode is Online",
            "fieldPath": ".tensorParallelSize",
        },
    ],
    "Share": [ONE_AMOUNT],
    "FromSeed": [ONE_AMOUNT],
    "Grader": [
        {
            "rule": "(has(self.type) && self.type == 'Regex') == (has(self.pattern) && self.pattern.size() > 0)",
            "message": "pattern must be set if type is Regex, and only then",
        }
    ],
    "Task": [
        {
            "rule": "self.preset != 'Custom' || (has(self.promptTemplate) && self.promptTemplate.size() > 0)",
            "message": "must not be empty if preset is Custom",
            "fieldPath": ".promptTemplate",
        },
        {
            "rule": "self.preset == 'Custom' || self.grader.type == 'ExactMatch'",
            "message": "must not be set: the preset has its own",
            "fieldPath": ".grader",
        },
        {
            "rule": "self.preset == 'Custom' || !has(self.labels) || self.labels.size() == 0",
            "message": "must not be set: the preset has its own",
            "fieldPath": ".labels",
        },
        {
            "rule": "self.grader.type != 'Choice' || (has(self.labels) && self.labels.size() > 0)",
            "message": "must not be empty if grader.type is Choice",
            "fieldPath": ".labels",
        },
        # That labels differ takes each with each of 1,000, more than CEL may cost: the model alone says it.
        {
            "rule": "!has(self.labels) || self.labels.all(label, label.trim().size() > 0)",
            "message": NO_BLANK_LABEL,
            "fieldPath": ".labels",
        },
    ],
    "Train": [
        {
            "rule": f"!has(self.method) || self.method != 'Full' || !has(self.lora) || ({LORA_UNTOUCHED})",
            "message": "must not be set: method Full trains all weights",
            "fieldPath": ".lora",
        }
    ],
    "EnvVar": [
        {
            "rule": "!self.name.startsWith('LLM2LLM_')",
            "message": "names that start with LLM2LLM_ are reserved",
            "fieldPath": ".name",
        }
    ],
    "Volume": [
        {
            "rule": f"[{', '.join(f'has(self.{source})' for source in SOURCES)}].filter(p, p).size() == 1",
            "message": "exactly one of persistentVolumeClaim, secret, configMap and emptyDir must be set",
        },
        {
            "rule": "!self.name.matches('^(scratch|shared-memory|models|ca-.*|(claim|config)-[0-9]+)$')",
            "message": "scratch, shared-memory, models, ca-*, claim-N and config-N are reserved for the operator",
            "fieldPath": ".name",
        },
    ],
    "VolumeMount": [
        {
            "rule": "!self.mountPath.matches('^/(scratch|mnt)(/|$)')",
            "message": "/scratch and /mnt are reserved for the operator",
            "fieldPath": ".mountPath",
        }
    ],
    "PodOverrides": [
        {
            "rule": "!has(self.volumes) || self.volumes.all(v, self.volumes.exists_one(w, w.name == v.name))",
            "message": "volume names must be unique",
            "fieldPath": ".volumes",
        },
        {
            "rule": "!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes) &&"
            " self.volumes.exists(v, v.name == m.name))",
            "message": "every volumeMount must refer to one of the volumes",
            "fieldPath": ".volumeMounts",
        },
        {
            "rule": "!has(self.volumeMounts) ||"
            " self.volumeMounts.all(m, self.volumeMounts.exists_one(n, n.mountPath == m.mountPath))",
            "message": "every mountPath must be unique",
            "fieldPath": ".volumeMounts",
        },
    ],
}
"""CEL rules by the name of a model; the model checks the same for the local runner."""
