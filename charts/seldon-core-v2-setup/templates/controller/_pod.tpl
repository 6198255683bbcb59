{{- /* What the operator's pod and the Job before its end have in common. */}}
{{- define "seldon.operator.podSpec" -}}
serviceAccountName: {{ include "seldon.operator.name" . }}
{{- /* What values take away by a null is there all the same. */}}
{{- $secure := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") }}
{{- include "seldon.podSecurityContext" (list . (mergeOverwrite $secure (.Values.controller.securityContext | default dict))) | nindent 0 }}
{{- include "seldon.imagePullSecrets" . | nindent 0 }}
{{- with .Values.controller.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- range $field := list "nodeSelector" "affinity" "tolerations" }}
{{- with index $.Values.controller $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Image, security context and resources of a container that runs the manager. */}}
{{- define "seldon.operator.container" -}}
{{- if eq (base .Values.controller.image.repository) "seldonv2-controller" }}
{{- fail "controller.image names the existing operator's image: leave controller.image out of the values, or name this operator's" }}
{{- end }}
{{- include "seldon.image" (list . .Values.controller.image) }}
command: [/manager]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  requests:
    cpu: {{ .Values.controller.resources.cpu }}
    memory: {{ .Values.controller.resources.memory | default "64Mi" }}
  limits:
    memory: {{ include "seldon.operator.memoryLimit" . }}
{{- end }}

{{- define "seldon.operator.memoryLimit" -}}
{{ .Values.controller.resources.memory | default "256Mi" }}
{{- end }}

{{- /* The data plane has further levels, such as trace, which say more than the operator has to say. */}}
{{- define "seldon.operator.logLevel" -}}
{{- $level := .Values.controller.logLevel | default .Values.logging.logLevel }}
{{- has $level (list "debug" "info" "warn" "error") | ternary $level "debug" }}
{{- end }}

{{- /* Which namespaces the operator watches, as flags. */}}
{{- define "seldon.operator.scopeArgs" -}}
- --watch-namespaces=$(WATCH_NAMESPACES)
- --namespace=$(POD_NAMESPACE)
- --clusterwide=$(CLUSTERWIDE)
{{- end }}

{{- /* The variables of those flags. */}}
{{- define "seldon.operator.scopeEnv" -}}
- name: CLUSTERWIDE
  value: {{ .Values.controller.clusterwide | quote }}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: WATCH_NAMESPACES
  value: {{ join "," .Values.controller.watchNamespaces | quote }}
{{- end }}
