{{- /* Environment variables of the manager. An entry of extraEnv replaces the chart's variable of that name, since names must be unique. */}}
{{- define "seldon.operator.env" -}}
{{- $further := .Values.controller.extraEnv | default list }}
{{- $names := list }}
{{- range $further }}
{{- $names = append $names .name }}
{{- end }}
{{- $variables := list }}
{{- range include "seldon.operator.ownEnv" . | fromYamlArray }}
{{- if not (has .name $names) }}
{{- $variables = append $variables . }}
{{- end }}
{{- end }}
{{- toYaml (concat $variables $further) }}
{{- end }}

{{- define "seldon.operator.ownEnv" -}}
{{- include "seldon.operator.scopeEnv" . | nindent 0 }}
- name: LOG_LEVEL
  value: {{ include "seldon.operator.logLevel" . | quote }}
# Only within the pod, unless a ClusterRole allows the operator to
# authenticate clients.
- name: METRICS_BIND_ADDRESS
  value: {{ eq (include "seldon.metrics" .) "true" | ternary ":8443" "127.0.0.1:4000" | quote }}
- name: USE_DEPLOYMENTS_FOR_SERVERS
  value: {{ .Values.useDeploymentsForServers | quote }}
{{- with include "seldon.operator.goMemoryLimit" . }}
- name: GOMEMLIMIT
  value: {{ . | quote }}
{{- end }}
{{- if eq .Values.security.controlplane.protocol "SSL" }}
{{- include "seldon.env.controlPlaneClient" . | nindent 0 }}
{{- end }}
{{- end }}
