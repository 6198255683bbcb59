{{- /*
Reports usage figures to PUBLISH_URL.
*/}}
{{- define "seldon.component.hodometer" -}}
- name: hodometer
  {{- include "seldon.componentMetadata" .Values.hodometer | nindent 2 }}
  podSpec:
    serviceAccountName: hodometer
    {{- include "seldon.podSecurityContext" (list . .Values.hodometer.securityContext) | nindent 4 }}
    {{- include "seldon.imagePullSecrets" . | nindent 4 }}
    terminationGracePeriodSeconds: 5
    containers:
      - name: hodometer
        {{- include "seldon.image" (list . .Values.hodometer.image) | nindent 8 }}
        {{- include "seldon.containerSecurityContext" . | nindent 8 }}
        env:
          # What is reported, and logging
          - name: METRICS_LEVEL
            value: {{ .Values.hodometer.metricsLevel | quote }}
          - name: LOG_LEVEL
            value: {{ .Values.hodometer.logLevel | default .Values.logging.logLevel | quote }}
          - name: EXTRA_PUBLISH_URLS
            value: {{ .Values.hodometer.extraPublishUrls | default "" | quote }}
          # Control plane TLS
          {{- include "seldon.env.controlPlaneClient" . | nindent 10 }}
          # Addresses and ports
          - name: PUBLISH_URL
            value: "http://hodometer.seldon.io"
          - name: SCHEDULER_HOST
            value: "seldon-scheduler"
          - name: SCHEDULER_PLAINTXT_PORT
            value: "9004"
          - name: SCHEDULER_TLS_PORT
            value: "9044"
          - name: POD_NAMESPACE
            valueFrom:
              fieldRef:
                fieldPath: metadata.namespace
        {{- include "seldon.resources" .Values.hodometer.resources | nindent 8 }}
{{- end }}
