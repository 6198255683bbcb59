{{- /* TLS of a client of the scheduler. */}}
{{- define "seldon.env.controlPlaneClient" -}}
- name: CONTROL_PLANE_SECURITY_PROTOCOL
  value: {{ .Values.security.controlplane.protocol | default "" | quote }}
- name: CONTROL_PLANE_CLIENT_TLS_SECRET_NAME
  value: {{ .Values.security.controlplane.ssl.client.secret | default "" | quote }}
- name: CONTROL_PLANE_SERVER_TLS_SECRET_NAME
  value: {{ .Values.security.controlplane.ssl.client.serverValidationSecret | default "" | quote }}
- name: CONTROL_PLANE_CLIENT_TLS_KEY_LOCATION
  value: {{ .Values.security.controlplane.ssl.client.keyPath | default "" | quote }}
- name: CONTROL_PLANE_CLIENT_TLS_CRT_LOCATION
  value: {{ .Values.security.controlplane.ssl.client.crtPath | default "" | quote }}
- name: CONTROL_PLANE_CLIENT_TLS_CA_LOCATION
  value: {{ .Values.security.controlplane.ssl.client.caPath | default "" | quote }}
- name: CONTROL_PLANE_SERVER_TLS_CA_LOCATION
  value: {{ .Values.security.controlplane.ssl.client.serverCaPath | default "" | quote }}
{{- end }}

{{- /* TLS and SASL of a client of Kafka. */}}
{{- define "seldon.env.kafkaClient" -}}
- name: KAFKA_SECURITY_PROTOCOL
  value: {{ .Values.security.kafka.protocol | default "" | quote }}
- name: KAFKA_SASL_MECHANISM
  value: {{ .Values.security.kafka.sasl.mechanism | default "" | quote }}
- name: KAFKA_CLIENT_TLS_ENDPOINT_IDENTIFICATION_ALGORITHM
  value: {{ .Values.security.kafka.ssl.client.endpointIdentificationAlgorithm | default "" | quote }}
- name: KAFKA_CLIENT_TLS_SECRET_NAME
  value: {{ .Values.security.kafka.ssl.client.secret | default "" | quote }}
- name: KAFKA_CLIENT_TLS_KEY_LOCATION
  value: {{ .Values.security.kafka.ssl.client.keyPath | default "" | quote }}
- name: KAFKA_CLIENT_TLS_CRT_LOCATION
  value: {{ .Values.security.kafka.ssl.client.crtPath | default "" | quote }}
- name: KAFKA_CLIENT_TLS_CA_LOCATION
  value: {{ .Values.security.kafka.ssl.client.caPath | default "" | quote }}
- name: KAFKA_CLIENT_SASL_USERNAME
  value: {{ .Values.security.kafka.sasl.client.username | default "" | quote }}
- name: KAFKA_CLIENT_SASL_SECRET_NAME
  value: {{ .Values.security.kafka.sasl.client.secret | default "" | quote }}
- name: KAFKA_CLIENT_SASL_PASSWORD_LOCATION
  value: {{ .Values.security.kafka.sasl.client.passwordPath | default "" | quote }}
- name: KAFKA_BROKER_TLS_SECRET_NAME
  value: {{ .Values.security.kafka.ssl.client.brokerValidationSecret | default "" | quote }}
- name: KAFKA_BROKER_TLS_CA_LOCATION
  value: {{ .Values.security.kafka.ssl.client.brokerCaPath | default "" | quote }}
{{- end }}

{{- /* TLS of a server behind Envoy. */}}
{{- define "seldon.env.upstreamServer" -}}
- name: ENVOY_UPSTREAM_SERVER_TLS_SECRET_NAME
  value: {{ .Values.security.envoy.ssl.upstream.server.secret | default "" | quote }}
- name: ENVOY_UPSTREAM_CLIENT_TLS_SECRET_NAME
  value: {{ .Values.security.envoy.ssl.upstream.server.clientValidationSecret | default "" | quote }}
- name: ENVOY_UPSTREAM_SERVER_TLS_KEY_LOCATION
  value: {{ .Values.security.envoy.ssl.upstream.server.keyPath | default "" | quote }}
- name: ENVOY_UPSTREAM_SERVER_TLS_CRT_LOCATION
  value: {{ .Values.security.envoy.ssl.upstream.server.crtPath | default "" | quote }}
- name: ENVOY_UPSTREAM_SERVER_TLS_CA_LOCATION
  value: {{ .Values.security.envoy.ssl.upstream.server.caPath | default "" | quote }}
- name: ENVOY_UPSTREAM_CLIENT_TLS_CA_LOCATION
  value: {{ .Values.security.envoy.ssl.upstream.server.clientCaPath | default "" | quote }}
{{- end }}

{{- /* TLS of a client of Envoy. */}}
{{- define "seldon.env.downstreamClient" -}}
- name: ENVOY_DOWNSTREAM_CLIENT_MTLS
  value: {{ .Values.security.envoy.ssl.downstream.client.mtls | quote }}
- name: ENVOY_DOWNSTREAM_CLIENT_TLS_SECRET_NAME
  value: {{ .Values.security.envoy.ssl.downstream.client.secret | default "" | quote }}
- name: ENVOY_DOWNSTREAM_SERVER_TLS_SECRET_NAME
  value: {{ .Values.security.envoy.ssl.downstream.client.serverValidationSecret | default "" | quote }}
- name: ENVOY_DOWNSTREAM_CLIENT_TLS_KEY_LOCATION
  value: {{ .Values.security.envoy.ssl.downstream.client.keyPath | default "" | quote }}
- name: ENVOY_DOWNSTREAM_CLIENT_TLS_CRT_LOCATION
  value: {{ .Values.security.envoy.ssl.downstream.client.crtPath | default "" | quote }}
- name: ENVOY_DOWNSTREAM_CLIENT_TLS_CA_LOCATION
  value: {{ .Values.security.envoy.ssl.downstream.client.caPath | default "" | quote }}
- name: ENVOY_DOWNSTREAM_SERVER_TLS_CA_LOCATION
  value: {{ .Values.security.envoy.ssl.downstream.client.serverCaPath | default "" | quote }}
{{- end }}
