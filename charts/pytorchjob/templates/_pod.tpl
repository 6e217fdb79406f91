{{/* The spec of the pods. */}}
{{- define "pytorchjob.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ toJson .Values.terminationGracePeriodSeconds }}
{{- with .Values.activeDeadlineSeconds }}
# The operator looks at a job's deadline only when something happens to the job. So that something does, the kubelet ends
# each pod: a little later, since the pod may have started before the operator's clock.
activeDeadlineSeconds: {{ add (int64 .) 30 }}
{{- end }}
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ quote . }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ quote . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
tolerations:
  {{- range list "not-ready" "unreachable" }}
  - key: node.kubernetes.io/{{ . }}
    operator: Exists
    effect: NoExecute
    tolerationSeconds: {{ toJson $.Values.nodeLostSeconds }}
  {{- end }}
  {{- range .Values.tolerations }}
  - {{ toJson . }}
  {{- end }}
securityContext:
  runAsNonRoot: true
  {{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}
  {{- with get $.Values $key }}
  {{ $key }}: {{ toJson . }}
  {{- end }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
containers:
  - {{- include "pytorchjob.container" . | nindent 4 }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: shm
    emptyDir:
      medium: Memory
      sizeLimit: {{ quote .Values.shmSize }}
  - name: results
    persistentVolumeClaim:
      claimName: {{ quote .Values.results.claim }}
  {{- if .Values.runFile }}
  - name: run
    downwardAPI:
      items:
        - path: run.json
          fieldRef:
            fieldPath: metadata.annotations['pytorchjob-launcher/run']
  {{- end }}
  {{- range .Values.volumes }}
  - name: {{ quote .name }}
    persistentVolumeClaim:
      claimName: {{ quote .claim }}
      # Also here, not only on the mount: else the kubelet would give every file of it to fsGroup.
      readOnly: {{ dig "readOnly" true . | toJson }}
  {{- end }}
{{- end }}
