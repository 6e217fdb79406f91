{{/* Labels of every object; `labels` wins over the standard ones. */}}
{{- define "pytorchjob.labels" -}}
{{- $standard := dict
    "app.kubernetes.io/name" .Chart.Name
    "app.kubernetes.io/instance" .Release.Name
    "app.kubernetes.io/component" "training"
    "app.kubernetes.io/version" .Chart.AppVersion
    "app.kubernetes.io/managed-by" .Release.Service }}
{{- toJson (merge (dict) .Values.labels $standard) }}
{{- end }}

{{/* Labels of the pods; the operator adds its own. Namespace-wide policies leave an isolated job to its own policy. */}}
{{- define "pytorchjob.podLabels" -}}
{{- $labels := include "pytorchjob.labels" . | fromJson }}
{{- if .Values.isolatedNetwork }}
{{- $_ := set $labels "pytorchjob-launcher/network" "isolated" }}
{{- end }}
{{- toJson $labels }}
{{- end }}

{{/* Annotations of the pods, among them the run file, which the downward API turns into a file. */}}
{{- define "pytorchjob.podAnnotations" -}}
{{- $annotations := merge (dict) .Values.podAnnotations }}
{{- if .Values.runFile }}
{{- $_ := set $annotations "pytorchjob-launcher/run" .Values.runFile }}
{{- end }}
{{- toJson $annotations }}
{{- end }}

{{- define "pytorchjob.resultsFolder" -}}
{{- printf "%s/%s/%s" .Values.results.path .Release.Namespace .Release.Name }}
{{- end }}

{{/* What no schema can say. */}}
{{- define "pytorchjob.check" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$" .Release.Name) }}
{{- fail "the release must be named like a job: at most 50 lower-case letters, digits and dashes, starting with a letter" }}
{{- end }}
{{- if eq (empty .Values.runFile) (empty .Values.command) }}
{{- fail "runFile: give either runFile or command" }}
{{- end }}
{{- with .Values.elastic }}
{{- $replicas := int $.Values.replicas }}
{{- if or (gt (int .minReplicas) $replicas) (gt $replicas (int .maxReplicas)) }}
{{- fail "elastic: minReplicas <= replicas <= maxReplicas must hold" }}
{{- end }}
{{- end }}
{{- end }}
