{{- /*
A role and the operator's binding to it, for a dict with root, name, rules and, unless
the rules are for all namespaces, namespace. A ClusterRole can belong to another release;
a ClusterRoleBinding has the namespace of the release in its name.
*/}}
{{- define "seldon.roleAndBinding" }}
{{- $cluster := not .namespace }}
{{- $kind := $cluster | ternary "ClusterRole" "Role" }}
{{- $binding := replace "-role" "-rolebinding" .name }}
{{- if or .namespace (eq (include "seldon.ownsClusterRoles" .root) "true") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "seldon.labels" .root | nindent 4 }}
rules:
  {{- toYaml .rules | nindent 2 }}
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ $cluster | ternary (printf "%s-%s" $binding .root.Release.Namespace) $binding }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "seldon.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "seldon.operator.name" .root }}
    namespace: {{ .root.Release.Namespace | quote }}
{{- end }}
