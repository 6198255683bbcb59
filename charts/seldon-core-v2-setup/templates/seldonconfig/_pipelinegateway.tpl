{{- /*
Receives inference requests for pipelines and publishes them to Kafka.
*/}}
{{- define "seldon.component.pipelinegateway" -}}
- name: seldon-pipelinegateway
  {{- include "seldon.componentMetadata" .Values.pipelinegateway | nindent 2 }}
  podSpec:
    serviceAccountName: seldon-scheduler
    {{- include "seldon.podSecurityContext" (list . .Values.pipelinegateway.securityContext) | nindent 4 }}
    {{- include "seldon.imagePullSecrets" . | nindent 4 }}
    terminationGracePeriodSeconds: 5
    containers:
      - name: pipelinegateway
        {{- include "seldon.image" (list . .Values.pipelinegateway.image) | nindent 8 }}
        {{- include "seldon.containerSecurityContext" . | nindent 8 }}
        command:
          - /bin/pipelinegateway
        args:
          - --http-port=9010
          - --grpc-port=9011
          - --metrics-port=9006
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
          - name: http
            containerPort: 9010
            protocol: TCP
          - name: grpc
            containerPort: 9011
            protocol: TCP
          - name: metrics
            containerPort: 9006
            protocol: TCP
          - name: health
            containerPort: 9999
            protocol: TCP
        env:
          # Kafka TLS and SASL
          {{- include "seldon.env.kafkaClient" . | nindent 10 }}
          # Schema registry
          - name: SCHEMA_REGISTRY_CONFIG_PATH
            value: {{ .Values.security.schemaRegistry.configPath | default "" | quote }}
          # Envoy TLS
          - name: ENVOY_SECURITY_PROTOCOL
            value: {{ .Values.security.envoy.protocol | default "" | quote }}
          # TLS as a server behind Envoy
          {{- include "seldon.env.upstreamServer" . | nindent 10 }}
          # TLS as a client of Envoy
          {{- include "seldon.env.downstreamClient" . | nindent 10 }}
          # Control plane TLS
          {{- include "seldon.env.controlPlaneClient" . | nindent 10 }}
          # Logging
          - name: LOG_LEVEL
            value: {{ .Values.pipelinegateway.logLevel | default .Values.logging.logLevel | quote }}
          # Kafka consumers; the scheduler must have the same number
          - name: PIPELINEGATEWAY_MAX_NUM_CONSUMERS
            value: {{ include "seldon.number" .Values.pipelinegateway.maxNumConsumers | quote }}
          # Addresses and ports
          - name: SELDON_SCHEDULER_PLAINTXT_PORT
            value: "9004"
          - name: SELDON_SCHEDULER_TLS_PORT
            value: "9044"
          - name: POD_NAME
            valueFrom:
              fieldRef:
                fieldPath: metadata.name
          - name: HEALTH_PROBE_PORT
            value: "9999"
          - name: POD_IP
            valueFrom:
              fieldRef:
                fieldPath: status.podIP
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
        # Let Envoy detect that this replica is terminating before it rejects requests.
        lifecycle:
          preStop:
            exec:
              command:
                - /bin/sh
                - -c
                - sleep 2
        {{- include "seldon.resources" .Values.pipelinegateway.resources | nindent 8 }}
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
