{{/* helm --reuse-values gives a new chart the defaults of the old one, which do not have what was added since. */}}
{{- define "llm2llm.check" -}}
{{- range $block := list "admission" "crds" "image" "metrics" "networkPolicy" "operator" "podDisruptionBudget" "rbac" }}
{{- if not (hasKey $.Values $block) }}
{{- fail (printf "%s is missing: these are the values of an older chart; use --reset-then-reuse-values instead of --reuse-values" $block) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The name of the application, in a label. */}}
{{- define "llm2llm.name" -}}
{{ .Values.nameOverride | default "llm2llm-operator" }}
{{- end }}

{{/* The name of the objects. */}}
{{- define "llm2llm.fullname" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{- define "llm2llm.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "llm2llm.fullname" .) }}
{{- else -}}
{{ required "serviceAccount.name must be set if serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* What the Deployment and others select the operator's pods by; it cannot change. */}}
{{- define "llm2llm.selectorLabels" -}}
app.kubernetes.io/name: {{ include "llm2llm.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object: the chart's own win over commonLabels. */}}
{{- define "llm2llm.labels" -}}
{{- $ours := include "llm2llm.selectorLabels" . | fromYaml }}
{{- $more := dict "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service }}
{{- merge $ours $more (.Values.commonLabels | default dict) | toYaml }}
{{- end }}

{{/* An image by its name in `images`: registry/repository, and its digest, its tag, image.tag, or the version. */}}
{{- define "llm2llm.image" -}}
{{- $image := index .root.Values.images .name }}
{{- if kindIs "string" $image }}
{{- $image }}
{{- else }}
{{- with .root.Values.image.registry }}{{ . }}/{{ end }}
{{- $image.repository }}
{{- if $image.digest }}
{{- with $image.tag }}:{{ . }}{{ end }}@{{ $image.digest }}
{{- else }}:{{ $image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* The default resources as the operator reads them: without blocks and lists that are set to null. */}}
{{- define "llm2llm.stepResources" -}}
{{- $blocks := dict }}
{{- range $block, $resources := .Values.steps.resources }}
{{- $set := dict }}
{{- range $part, $amounts := $resources }}
{{- with $amounts }}{{ $set = set $set $part . }}{{ end }}
{{- end }}
{{- with $set }}{{ $blocks = set $blocks $block . }}{{ end }}
{{- end }}
{{- $blocks | toJson }}
{{- end }}

{{/* What the operator may do with the objects of a run. One place, for the ClusterRole and for Roles. */}}
{{- define "llm2llm.rules" -}}
- apiGroups: [llm2llm.dev]
  resources: [augmentationruns]
  verbs: [get, list, watch{{ if .Values.deleteFinishedRuns }}, delete{{ end }}]
- apiGroups: [llm2llm.dev]
  resources: [augmentationruns/status]
  verbs: [patch]
{{- /* asked by the admission plugin OwnerReferencesPermissionEnforcement (OpenShift has it on) for blockOwnerDeletion */}}
- apiGroups: [llm2llm.dev]
  resources: [augmentationruns/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- if .Values.kueue.readWorkloads }}
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- end }}
{{- end }}

{{/* The CustomResourceDefinition's head as a map. Only the head is parsed: the schema's numbers would become floats. */}}
{{- define "llm2llm.crdFile" -}}
files/llm2llm.dev_augmentationruns.yaml
{{- end }}
{{- define "llm2llm.crdHead" -}}
{{ (splitn "\nspec:\n" 2 (.Files.Get (include "llm2llm.crdFile" .)))._0 }}
{{- end }}
