{{- /*
Consumes the inputs of models from Kafka and publishes their outputs there.
*/}}
{{- define "seldon.component.modelgateway" -}}
- name: seldon-modelgateway
  {{- include "seldon.componentMetadata" .Values.modelgateway | nindent 2 }}
  podSpec:
    serviceAccountName: seldon-scheduler
    {{- include "seldon.podSecurityContext" (list . .Values.modelgateway.securityContext) | nindent 4 }}
    {{- include "seldon.imagePullSecrets" . | nindent 4 }}
    terminationGracePeriodSeconds: 5
    containers:
      - name: modelgateway
        {{- include "seldon.image" (list . .Values.modelgateway.image) | nindent 8 }}
        {{- include "seldon.containerSecurityContext" . | nindent 8 }}
        command:
          - /bin/modelgateway
        args:
          - --scheduler-host=seldon-scheduler
          - --scheduler-plaintxt-port=$(SELDON_SCHEDULER_PLAINTXT_PORT)
          - --scheduler-tls-port=$(SELDON_SCHEDULER_TLS_PORT)
          - --envoy-host=seldon-mesh
          - --envoy-port=80
          - --kafka-config-path=/mnt/kafka/kafka.json
          - --tracing-config-path=/mnt/tracing/tracing.json
          - --log-level=$(LOG_LEVEL)
          - --health-probe-port=$(HEALTH_PROBE_PORT)
        ports:
          - name: health
            containerPort: 9999
            protocol: TCP
        env:
          # Kafka topics and workers
          - name: MODELGATEWAY_NUM_WORKERS
            value: {{ include "seldon.number" .Values.modelgateway.workers | quote }}
          - name: KAFKA_DEFAULT_REPLICATION_FACTOR
            value: {{ include "seldon.number" .Values.kafka.topics.replicationFactor | quote }}
          - name: KAFKA_DEFAULT_NUM_PARTITIONS
            value: {{ include "seldon.number" .Values.kafka.topics.numPartitions | quote }}
          # Control plane TLS
          {{- include "seldon.env.controlPlaneClient" . | nindent 10 }}
          # Kafka TLS and SASL
          {{- include "seldon.env.kafkaClient" . | nindent 10 }}
          # Envoy TLS
          - name: ENVOY_SECURITY_PROTOCOL
            value: {{ .Values.security.envoy.protocol | default "" | quote }}
          # TLS as a client of Envoy
          {{- include "seldon.env.downstreamClient" . | nindent 10 }}
          # Logging
          - name: LOG_LEVEL
            value: {{ .Values.modelgateway.logLevel | default .Values.logging.logLevel | quote }}
          # Kafka consumers; the scheduler must have the same number
          - name: MODELGATEWAY_MAX_NUM_CONSUMERS
            value: {{ include "seldon.number" .Values.modelgateway.maxNumConsumers | quote }}
          # Schema registry
          - name: SCHEMA_REGISTRY_CONFIG_PATH
            value: {{ .Values.security.schemaRegistry.configPath | default "" | quote }}
          # Addresses and ports
          - name: SELDON_SCHEDULER_PLAINTXT_PORT
            value: "9004"
          - name: SELDON_SCHEDULER_TLS_PORT
            value: "9044"
          - name: HEALTH_PROBE_PORT
            value: "9999"
          - name: POD_NAME
            valueFrom:
              fieldRef:
                fieldPath: metadata.name
          - name: POD_NAMESPACE
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
        {{- include "seldon.resources" .Values.modelgateway.resources | nindent 8 }}
        volumeMounts:
          - name: kafka-config-volume
            mountPath: /mnt/kafka
          - name: tracing-config-volume
            mountPath: /mnt/tracing
          - name: kafka-schema-volume
            mountPath: /mnt/schema-registry
            readOnly: true
    volumes:
      - name: kafka-config-volume
        configMap:
          name: seldon-kafka
      - name: tracing-config-volume
        configMap:
          name: seldon-tracing
      - name: kafka-schema-volume
        secret:
          secretName: confluent-schema
          optional: true
{{- end }}
