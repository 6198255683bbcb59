{{- /*
Moves data between the steps of pipelines on Kafka.
*/}}
{{- define "seldon.component.dataflow" -}}
- name: seldon-dataflow-engine
  {{- include "seldon.componentMetadata" .Values.dataflow | nindent 2 }}
  podSpec:
    serviceAccountName: seldon-scheduler
    {{- include "seldon.podSecurityContext" (list . .Values.dataflow.securityContext) | nindent 4 }}
    {{- include "seldon.imagePullSecrets" . | nindent 4 }}
    terminationGracePeriodSeconds: 5
    containers:
      - name: dataflow-engine
        {{- include "seldon.image" (list . .Values.dataflow.image) | nindent 8 }}
        {{- include "seldon.containerSecurityContext" . | nindent 8 }}
        ports:
          - name: health
            containerPort: 8000
            protocol: TCP
        env:
          # Kafka; this component does not read the Kafka ConfigMap
          - name: SELDON_KAFKA_BOOTSTRAP_SERVERS
            value: {{ .Values.kafka.bootstrap | quote }}
          - name: SELDON_KAFKA_CONSUMER_PREFIX
            value: {{ .Values.kafka.consumerGroupIdPrefix | default "" | quote }}
          - name: SELDON_KAFKA_REPLICATION_FACTOR
            value: {{ include "seldon.number" .Values.kafka.topics.replicationFactor | quote }}
          - name: SELDON_KAFKA_PARTITIONS_DEFAULT
            value: {{ include "seldon.number" .Values.kafka.topics.numPartitions | quote }}
          - name: SELDON_KAFKA_MAX_MESSAGE_SIZE_BYTES
            value: {{ include "seldon.number" .Values.kafka.consumer.messageMaxBytes | quote }}
          # Kafka TLS and SASL
          - name: SELDON_KAFKA_SECURITY_PROTOCOL
            value: {{ .Values.security.kafka.protocol | default "" | quote }}
          - name: SELDON_KAFKA_TLS_CLIENT_SECRET
            value: {{ .Values.security.kafka.ssl.client.secret | default "" | quote }}
          - name: SELDON_KAFKA_TLS_CLIENT_KEY_PATH
            value: {{ .Values.security.kafka.ssl.client.keyPath | default "" | quote }}
          - name: SELDON_KAFKA_TLS_CLIENT_CERT_PATH
            value: {{ .Values.security.kafka.ssl.client.crtPath | default "" | quote }}
          - name: SELDON_KAFKA_TLS_CLIENT_CA_PATH
            value: {{ .Values.security.kafka.ssl.client.caPath | default "" | quote }}
          - name: SELDON_KAFKA_TLS_BROKER_SECRET
            value: {{ .Values.security.kafka.ssl.client.brokerValidationSecret | default "" | quote }}
          - name: SELDON_KAFKA_TLS_BROKER_CA_PATH
            value: {{ .Values.security.kafka.ssl.client.brokerCaPath | default "" | quote }}
          - name: SELDON_KAFKA_TLS_ENDPOINT_IDENTIFICATION_ALGORITHM
            value: {{ .Values.security.kafka.ssl.client.endpointIdentificationAlgorithm | default "" | quote }}
          - name: SELDON_KAFKA_SASL_MECHANISM
            value: {{ .Values.security.kafka.sasl.mechanism | default "" | quote }}
          - name: SELDON_KAFKA_SASL_USERNAME
            value: {{ .Values.security.kafka.sasl.client.username | default "" | quote }}
          - name: SELDON_KAFKA_SASL_SECRET
            value: {{ .Values.security.kafka.sasl.client.secret | default "" | quote }}
          - name: SELDON_KAFKA_SASL_PASSWORD_PATH
            value: {{ .Values.security.kafka.sasl.client.passwordPath | default "" | quote }}
          # Schema registry
          - name: SELDON_KAFKA_SCHEMA_REGISTRY_CONFIG_PATH
            value: {{ .Values.security.schemaRegistry.configPath | default "" | quote }}
          # TLS host name check
          - name: SELDON_TLS_ENDPOINT_IDENTIFICATION_ALGORITHM
            value: {{ .Values.security.kafka.ssl.client.endpointIdentificationAlgorithm | default "" | quote }}
          # Parallelism and logging
          - name: SELDON_CORES_COUNT
            value: {{ include "seldon.number" .Values.dataflow.cores | quote }}
          - name: SELDON_LOG_LEVEL_APP
            value: {{ .Values.dataflow.logLevel | default .Values.logging.logLevel | upper | quote }}
          - name: SELDON_LOG_LEVEL_KAFKA
            value: {{ .Values.dataflow.logLevelKafka | default .Values.logging.logLevel | upper | quote }}
          - name: SELDON_PIPELINE_CTLOPS_THREADS
            value: {{ include "seldon.number" .Values.dataflow.pipelineCtlopsThreads | quote }}
          # Addresses and ports
          - name: SELDON_HEALTH_SERVER_PORT
            value: "8000"
          - name: SELDON_UPSTREAM_HOST
            value: "seldon-scheduler"
          - name: SELDON_UPSTREAM_PORT
            value: "9008"
          # Tracing
          - name: OTEL_JAVAAGENT_ENABLED
            valueFrom:
              configMapKeyRef:
                name: seldon-tracing
                key: OTEL_JAVAAGENT_ENABLED
          - name: OTEL_EXPORTER_OTLP_ENDPOINT
            valueFrom:
              configMapKeyRef:
                name: seldon-tracing
                key: OTEL_EXPORTER_OTLP_ENDPOINT
          - name: OTEL_EXPORTER_OTLP_PROTOCOL
            valueFrom:
              configMapKeyRef:
                name: seldon-tracing
                key: OTEL_EXPORTER_OTLP_PROTOCOL
          # Identity
          - name: SELDON_POD_NAMESPACE
            valueFrom:
              fieldRef:
                fieldPath: metadata.namespace
        startupProbe:
          httpGet:
            path: /startup
            port: health
          initialDelaySeconds: 10
          periodSeconds: 10
          failureThreshold: 10
        readinessProbe:
          httpGet:
            path: /ready
            port: health
          periodSeconds: 5
          failureThreshold: 3
        livenessProbe:
          httpGet:
            path: /live
            port: health
          periodSeconds: 5
          failureThreshold: 3
        {{- include "seldon.resources" .Values.dataflow.resources | nindent 8 }}
        volumeMounts:
          - name: kafka-schema-volume
            mountPath: /mnt/schema-registry
            readOnly: true
    volumes:
      - name: kafka-schema-volume
        secret:
          secretName: confluent-schema
          optional: true
{{- end }}
