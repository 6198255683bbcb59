{{- /*
Names of the operator's objects. They are fixed, so a namespace can have one release.
*/}}
{{- define "seldon.operator.name" -}}
seldon-v2-controller-manager
{{- end }}

{{- /* Labels of the operator's objects, except its pods. */}}
{{- define "seldon.labels" -}}
app.kubernetes.io/name: seldon-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* These labels and additional ones, which take precedence, for (list $ labels). */}}
{{- define "seldon.labelsWith" -}}
{{- merge (index . 1 | default dict | deepCopy) (include "seldon.labels" (index . 0) | fromYaml) | toYaml }}
{{- end }}

{{- define "seldon.operator.selector" -}}
control-plane: v2-controller-manager
{{- end }}

{{- /* "true" or an empty string, for boolean values that may be quoted strings: the string "false" is true for "if". */}}
{{- define "seldon.on" -}}
{{- if eq (toString .) "true" }}true{{ end }}
{{- end }}

{{- /* A number as text: Helm would print 1000000 as 1e+06. Other values than integers stay unchanged. */}}
{{- define "seldon.number" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) (lt . 9e18) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- /*
Image and pull policy, for (list $ image). The digest takes precedence over the tag, and
imageRegistry over the registry of each image.
*/}}
{{- define "seldon.image" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- $name := printf "%s/%s" ($root.Values.imageRegistry | default $image.registry) $image.repository }}
{{- if $image.digest -}}
image: {{ printf "%s@%s" $name $image.digest | quote }}
{{- else -}}
image: {{ printf "%s:%s" $name (include "seldon.number" ($image.tag | default $root.Chart.AppVersion)) | quote }}
{{- end }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end }}

{{- define "seldon.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Requests, and a limit only for memory, so that idle CPU can be used. */}}
{{- define "seldon.resources" -}}
resources:
  requests:
    cpu: {{ include "seldon.number" .cpu | quote }}
    memory: {{ include "seldon.number" .memory | quote }}
  limits:
    memory: {{ include "seldon.number" .memory | quote }}
{{- end }}

{{- /* Labels and annotations of a component, if it has any. */}}
{{- define "seldon.componentMetadata" -}}
{{- with .labels -}}
labels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* "true" on OpenShift, which assigns each namespace a range of user IDs. */}}
{{- define "seldon.openshift" -}}
{{- if kindIs "invalid" .Values.openshift }}{{ .Capabilities.APIVersions.Has "security.openshift.io/v1" }}{{ else }}{{ .Values.openshift }}{{ end }}
{{- end }}

{{- /*
Security context of a pod, for (list $ securityContext): without IDs if the platform
assigns them; non-root and with a seccomp profile if pods must be restricted.
*/}}
{{- define "seldon.podSecurityContext" -}}
{{- $root := index . 0 }}
{{- $context := index . 1 | default dict }}
{{- if eq (include "seldon.openshift" $root) "true" }}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" "supplementalGroups" }}
{{- end }}
{{- if include "seldon.on" $root.Values.restricted }}
{{- $context = merge (dict "runAsNonRoot" true "seccompProfile" ($context.seccompProfile | default (dict "type" "RuntimeDefault"))) $context }}
{{- end }}
{{- with $context -}}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Security context of a container of the data plane, if pods must be restricted. */}}
{{- define "seldon.containerSecurityContext" -}}
{{- if include "seldon.on" .Values.restricted -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
{{- end }}
{{- end }}

{{- /* "all", "listed" or "own": the namespaces that the operator watches. */}}
{{- define "seldon.mode" -}}
{{- if not (include "seldon.on" .Values.controller.clusterwide) }}own{{ else if .Values.controller.watchNamespaces }}listed{{ else }}all{{ end }}
{{- end }}

{{- /* The namespaces of watchNamespaces, as JSON. Without clusterwide they are ignored, as in the upstream chart. */}}
{{- define "seldon.watched" -}}
{{- eq (include "seldon.mode" .) "listed" | ternary .Values.controller.watchNamespaces list | toJson }}
{{- end }}

{{- /* "true" if metrics are served outside of the pod. */}}
{{- define "seldon.metrics" -}}
{{- if kindIs "invalid" .Values.controller.metrics.enabled }}{{ eq (include "seldon.mode" .) "all" }}{{ else }}{{ .Values.controller.metrics.enabled }}{{ end }}
{{- end }}

{{- /* Fails if a value needs metrics that are not served outside of the pod, for (list $ key). */}}
{{- define "seldon.needsMetrics" -}}
{{- if ne (include "seldon.metrics" (index . 0)) "true" }}
{{- fail (printf "controller.metrics.%s.enabled needs controller.metrics.enabled=true: otherwise metrics can only be read from within the pod" (index . 1)) }}
{{- end }}
{{- end }}

{{- /* "true" if this release creates the ClusterRoles. */}}
{{- define "seldon.ownsClusterRoles" -}}
{{- not (include "seldon.on" .Values.controller.skipClusterRoleCreation) }}
{{- end }}
