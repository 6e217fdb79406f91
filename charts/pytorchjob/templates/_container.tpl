{{/* The one container: the trainer, or the user's script under torchrun. */}}
{{- define "pytorchjob.container" -}}
name: pytorch
image: {{ required "image: required, the container image to run" .Values.image | toJson }}
imagePullPolicy: {{ quote .Values.imagePullPolicy }}
{{- if .Values.restartRules }}
restartPolicy: Never
restartPolicyRules:
  - action: Restart
    exitCodes:
      operator: In
      values: [134, 137, 138, 139, 143]
{{- end }}
{{- if .Values.runFile }}
command: [python, -P, -m, trainer]
args: [run, --run-file, /etc/pytorchjob/run.json, --results, {{ include "pytorchjob.resultsFolder" . | toJson }}]
{{- else }}
command: [sh, -c, 'mkdir -p "$RESULTS_DIR" && exec torchrun "$@"', torchrun]
args: {{ toJson .Values.command }}
{{- end }}
ports:
  - name: pytorchjob-port
    containerPort: 23456
env:
  {{- if or .Values.runFile (not .Values.elastic) }}
  # torchrun's own names; the operator adds PET_NNODES and PET_NPROC_PER_NODE. Left out where torchrun runs an elastic
  # job: there it agrees on ranks through the operator's PET_RDZV_*, which the trainer does not read.
  - name: PET_NODE_RANK
    valueFrom:
      fieldRef:
        fieldPath: metadata.labels['training.kubeflow.org/replica-index']
  - name: PET_MASTER_ADDR
    value: {{ printf "%s-worker-0" .Release.Name | quote }}
  - name: PET_MASTER_PORT
    value: "23456"
  {{- end }}
  - name: RESULTS_DIR
    value: {{ include "pytorchjob.resultsFolder" . | toJson }}
  {{- if not .Values.runFile }}
  # torchrun writes what each rank says to the volume too, and tags it in the pod's log as the trainer does.
  - name: PET_LOG_DIR
    value: {{ printf "%s/logs" (include "pytorchjob.resultsFolder" .) | toJson }}
  - name: PET_TEE
    value: "3"
  - name: TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE
    value: "[rank ${rank}] "
  {{- end }}
  {{- range $name, $value := .Values.env }}
  {{- if not (kindIs "invalid" $value) }}
  - name: {{ quote $name }}
    {{- if kindIs "string" $value }}
    value: {{ toJson $value }}
    {{- else }}
    valueFrom:
      secretKeyRef:
        name: {{ quote $value.secret }}
        key: {{ quote $value.key }}
    {{- end }}
  {{- end }}
  {{- end }}
resources: {{ toJson .Values.resources }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: {{ toJson .Values.readOnlyRootFilesystem }}
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: shm
    mountPath: /dev/shm
  - name: results
    mountPath: {{ toJson .Values.results.path }}
  {{- if .Values.runFile }}
  - name: run
    mountPath: /etc/pytorchjob
    readOnly: true
  {{- end }}
  {{- range .Values.volumes }}
  - name: {{ quote .name }}
    mountPath: {{ toJson .mount }}
    readOnly: {{ dig "readOnly" true . | toJson }}
  {{- end }}
{{- end }}
