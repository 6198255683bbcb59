{{- /* The common part of the operator's pod and of the Job that runs before an uninstall. */}}
{{- define "seldon.operator.podSpec" -}}
serviceAccountName: {{ include "seldon.operator.name" . }}
{{- /* These are set even if a value of null removes the default. */}}
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
{{- include "seldon.operator.image" . }}
command: [/manager]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  requests:
    cpu: {{ include "seldon.number" .Values.controller.resources.cpu | quote }}
    memory: {{ include "seldon.operator.memory" (list . "64Mi") | quote }}
  limits:
    memory: {{ include "seldon.operator.memory" (list . "256Mi") | quote }}
{{- end }}

{{- /*
The operator's image. Values that were used with the upstream operator may contain its default repository or its
version: these are replaced by this operator's own, from the same registry.
*/}}
{{- define "seldon.operator.image" -}}
{{- $image := .Values.controller.image }}
{{- if include "seldon.operator.namesAnother" . }}
{{- $image = merge (dict "repository" "seldon-operator/seldon-operator" "tag" .Chart.AppVersion) $image }}
{{- end }}
{{- include "seldon.image" (list . $image) }}
{{- end }}

{{- /* The value of controller.image that is the upstream operator's, or an empty string. Its releases all have version 2. */}}
{{- define "seldon.operator.namesAnother" -}}
{{- $image := .Values.controller.image }}
{{- if eq $image.repository "seldonio/seldonv2-controller" -}}
controller.image.repository {{ $image.repository }}
{{- else if eq (base $image.repository) "seldonv2-controller" }}
{{- fail (printf "controller.image.repository %s is the upstream operator's image, which this chart cannot run: set the repository of this operator's image, or omit repository and tag" $image.repository) }}
{{- else if and (eq $image.repository "seldon-operator/seldon-operator") (regexMatch "^2[.][0-9]+[.][0-9]+" (toString $image.tag)) (semverCompare "<2.0.0-0" .Chart.AppVersion) -}}
controller.image.tag {{ $image.tag }}
{{- end }}
{{- end }}

{{- /* The memory of the values, including 0, or else the default, for (list $ default). */}}
{{- define "seldon.operator.memory" -}}
{{- $memory := (index . 0).Values.controller.resources.memory }}
{{- kindIs "invalid" $memory | ternary (index . 1) (include "seldon.number" $memory) }}
{{- end }}

{{- /*
GOMEMLIMIT, 90 % of the memory limit: garbage is collected more often when the heap
approaches it. Empty without a limit (0 is none to Kubernetes) and for limits beyond the
range of Go's integers.
*/}}
{{- define "seldon.operator.goMemoryLimit" -}}
{{- $units := dict "" 1 "n" 1e-9 "u" 1e-6 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
      "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 }}
{{- $limit := include "seldon.operator.memory" (list . "256Mi") }}
{{- $unit := regexFind "([KMGTPE]i|[numkMGTPE])$" $limit }}
{{- $mebibytes := divf (mulf (trimSuffix $unit $limit) (index $units $unit) 0.9) 1048576 | floor }}
{{- if and (ge $mebibytes 1.0) (lt $mebibytes 8e12) }}{{ printf "%.0fMiB" $mebibytes }}{{ end }}
{{- end }}

{{- /* The data plane has additional levels, such as trace, for which the operator uses debug. */}}
{{- define "seldon.operator.logLevel" -}}
{{- $level := .Values.controller.logLevel | default .Values.logging.logLevel }}
{{- has $level (list "debug" "info" "warn" "error") | ternary $level "debug" }}
{{- end }}

{{- /* The flags that set the namespaces to watch. */}}
{{- define "seldon.operator.scopeArgs" -}}
- --watch-namespaces=$(WATCH_NAMESPACES)
- --namespace=$(POD_NAMESPACE)
- --clusterwide=$(CLUSTERWIDE)
{{- end }}

{{- /* The environment variables of these flags. */}}
{{- define "seldon.operator.scopeEnv" -}}
- name: CLUSTERWIDE
  value: {{ .Values.controller.clusterwide | quote }}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: WATCH_NAMESPACES
  value: {{ include "seldon.watched" . | fromJsonArray | join "," | quote }}
{{- end }}
