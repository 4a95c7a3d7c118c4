{{/* The labels of every object. */}}
{{- define "ipam-ledger.labels" -}}
app.kubernetes.io/part-of: ipam-ledger
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The metadata of a pod, from (root, its name, its part of the values). A label of ours goes before one of theirs: the selector needs it. */}}
{{- define "ipam-ledger.podMetadata" -}}
{{- $name := index . 1 }}
{{- $values := index . 2 }}
{{- with $values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  {{- merge (dict "app.kubernetes.io/name" $name "app.kubernetes.io/part-of" "ipam-ledger") ($values.podLabels | default dict) | toYaml | nindent 2 }}
{{- end }}

{{/* Which image, in each container. */}}
{{- define "ipam-ledger.image" -}}
{{- with .Values.image -}}
image: {{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- with .pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* What no container needs. */}}
{{- define "ipam-ledger.careful" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* The ledger's URL, from a part of the values that names a Secret and its key. */}}
{{- define "ipam-ledger.database" -}}
- name: IPAM_LEDGER_DB
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .key | quote }}}
{{- end }}
