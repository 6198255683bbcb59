{{- /* "true" or an empty string, for boolean values that may be quoted strings: the string "false" is true for "if". */}}
{{- define "runtime.on" -}}
{{- if eq (toString .) "true" }}true{{ end }}
{{- end }}

{{- /* The override of a component, for a dict with name and values; empty if it overrides nothing. */}}
{{- define "runtime.override" -}}
{{- $override := dict }}
{{- if include "runtime.on" .values.disable }}
{{- $_ := set $override "disable" true }}
{{- end }}
{{- /* The scheduler keeps its state on one volume claim, so its value is ignored. */}}
{{- if and (ne .name "seldon-scheduler") (not (kindIs "invalid" .values.replicas)) }}
{{- $_ := set $override "replicas" (int64 .values.replicas) }}
{{- end }}
{{- with .values.serviceType }}
{{- $_ := set $override "serviceType" . }}
{{- end }}
{{- with .values.podSpec }}
{{- $_ := set $override "podSpec" . }}
{{- end }}
{{- if $override -}}
- name: {{ .name }}
  {{- toYaml $override | nindent 2 }}
{{- end }}
{{- end }}

{{- define "runtime.overrides" -}}
{{- range $key, $name := dict "hodometer" "hodometer" "scheduler" "seldon-scheduler" "envoy" "seldon-envoy" "dataflow" "seldon-dataflow-engine" "modelgateway" "seldon-modelgateway" "pipelinegateway" "seldon-pipelinegateway" }}
{{- with include "runtime.override" (dict "name" $name "values" (index $.Values $key)) }}
{{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* scalingConfig, with booleans and numbers that may be quoted strings converted to their types. */}}
{{- define "runtime.scalingConfig" -}}
{{- range $section, $fields := .Values.config.scalingConfig }}
{{- with $fields }}
{{ $section }}:
  {{- range $field, $value := . }}
  {{ $field }}: {{ $value }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The values of .Values.config that are set, with the field names of the SeldonRuntime. Empty sections are omitted. */}}
{{- define "runtime.config" -}}
{{- $sections := dict
      "scalingConfig" (include "runtime.scalingConfig" . | fromYaml)
      "kafkaConfig" (dict)
      "tracingConfig" (dict)
      "serviceConfig" (dict) }}
{{- range $field, $key := dict "bootstrap.servers" "bootstrap" "topicPrefix" "topicPrefix" "consumerGroupIdPrefix" "consumerGroupIdPrefix" "debug" "debug" "consumer" "consumer" "producer" "producer" "streams" "streams" "topics" "topics" }}
{{- $value := index $.Values.config.kafkaConfig $key }}
{{- if not (kindIs "invalid" $value) }}
{{- $_ := set $sections.kafkaConfig $field $value }}
{{- end }}
{{- end }}
{{- range $field, $value := .Values.config.tracingConfig }}
{{- if not (kindIs "invalid" $value) }}
{{- $_ := set $sections.tracingConfig $field (eq $field "disable" | ternary (eq (toString $value) "true") (toString $value)) }}
{{- end }}
{{- end }}
{{- range $field, $key := dict "grpcServicePrefix" "serviceGRPCPrefix" "serviceType" "serviceType" }}
{{- $value := index $.Values.config.serviceConfig $key }}
{{- if not (kindIs "invalid" $value) }}
{{- $_ := set $sections.serviceConfig $field $value }}
{{- end }}
{{- end }}
{{- with .Values.config.agentConfig.rclone.configSecrets }}
{{- $_ := set $sections "agentConfig" (dict "rclone" (dict "config_secrets" .)) }}
{{- end }}
{{- range $section, $content := $sections }}
{{- with $content }}
{{ $section }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
