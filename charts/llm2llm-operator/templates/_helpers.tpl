{{- define "llm2llm.labels" -}}
app.kubernetes.io/name: llm2llm-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
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
