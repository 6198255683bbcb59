{{- /*
Places models on servers and configures Envoy. It keeps its state in a
database on the claim, so it must have a single replica.
*/}}
{{- define "seldon.component.scheduler" -}}
- name: seldon-scheduler
  {{- include "seldon.componentMetadata" .Values.scheduler | nindent 2 }}
  podSpec:
    serviceAccountName: seldon-scheduler
    {{- include "seldon.podSecurityContext" (list . .Values.scheduler.securityContext) | nindent 4 }}
    {{- include "seldon.imagePullSecrets" . | nindent 4 }}
    terminationGracePeriodSeconds: 5
    containers:
      - name: scheduler
        {{- include "seldon.image" (list . .Values.scheduler.image) | nindent 8 }}
        {{- include "seldon.containerSecurityContext" . | nindent 8 }}
        command:
          - /bin/scheduler
        args:
          - --pipeline-gateway-host=seldon-pipelinegateway
          - --tracing-config-path=/mnt/tracing/tracing.json
          - --db-path=/mnt/scheduler/db
          - --allow-plaintxt=$(ALLOW_PLAINTXT)
          - --kafka-config-path=/mnt/kafka/kafka.json
          - --scaling-config-path=/mnt/scaling/scaling.yaml
          - --scheduler-ready-timeout-seconds=$(SCHEDULER_READY_TIMEOUT_SECONDS)
          - --server-packing-enabled=$(SERVER_PACKING_ENABLED)
          - --server-packing-percentage=$(SERVER_PACKING_PERCENTAGE)
          - --envoy-accesslog-path=$(ENVOY_ACCESSLOG_PATH)
          - --enable-envoy-accesslog=$(ENABLE_ENVOY_ACCESSLOG)
          - --include-successful-requests-envoy-accesslog=$(INCLUDE_SUCCESSFUL_REQUESTS_ENVOY_ACCESSLOG)
          - --enable-model-autoscaling=$(ENABLE_MODEL_AUTOSCALING)
          - --enable-server-autoscaling=$(ENABLE_SERVER_AUTOSCALING)
          - --log-level=$(LOG_LEVEL)
          - --health-probe-port=$(HEALTH_PROBE_PORT)
          - --enable-pprof=$(ENABLE_PPROF)
          - --pprof-port=$(PPROF_PORT)
          - --pprof-block-rate=$(PPROF_BLOCK_RATE)
          - --pprof-mutex-rate=$(PPROF_MUTEX_RATE)
          - --retry-creating-failed-pipelines-tick=$(RETRY_CREATING_FAILED_PIPELINES_TICK)
          - --retry-deleting-failed-pipelines-tick=$(RETRY_DELETING_FAILED_PIPELINES_TICK)
          - --max-retry-failed-pipelines=$(MAX_RETRY_FAILED_PIPELINES)
        ports:
          - name: xds
            containerPort: 9002
            protocol: TCP
          - name: scheduler
            containerPort: 9004
            protocol: TCP
          - name: scheduler-mtls
            containerPort: 9044
            protocol: TCP
          - name: agent
            containerPort: 9005
            protocol: TCP
          - name: agent-mtls
            containerPort: 9055
            protocol: TCP
          - name: dataflow
            containerPort: 9008
            protocol: TCP
          - name: health
            containerPort: 9999
            protocol: TCP
        env:
          # Control plane TLS
          - name: CONTROL_PLANE_SECURITY_PROTOCOL
            value: {{ .Values.security.controlplane.protocol | default "" | quote }}
          - name: CONTROL_PLANE_SERVER_TLS_SECRET_NAME
            value: {{ .Values.security.controlplane.ssl.server.secret | default "" | quote }}
          - name: CONTROL_PLANE_CLIENT_TLS_SECRET_NAME
            value: {{ .Values.security.controlplane.ssl.server.clientValidationSecret | default "" | quote }}
          - name: CONTROL_PLANE_SERVER_TLS_KEY_LOCATION
            value: {{ .Values.security.controlplane.ssl.server.keyPath | default "" | quote }}
          - name: CONTROL_PLANE_SERVER_TLS_CRT_LOCATION
            value: {{ .Values.security.controlplane.ssl.server.crtPath | default "" | quote }}
          - name: CONTROL_PLANE_SERVER_TLS_CA_LOCATION
            value: {{ .Values.security.controlplane.ssl.server.caPath | default "" | quote }}
          - name: CONTROL_PLANE_CLIENT_TLS_CA_LOCATION
            value: {{ .Values.security.controlplane.ssl.server.clientCaPath | default "" | quote }}
          # Envoy TLS
          - name: ENVOY_SECURITY_PROTOCOL
            value: {{ .Values.security.envoy.protocol | default "" | quote }}
          # Envoy TLS towards the servers
          - name: ENVOY_UPSTREAM_CLIENT_TLS_SECRET_NAME
            value: {{ .Values.security.envoy.ssl.upstream.client.secret | default "" | quote }}
          - name: ENVOY_UPSTREAM_SERVER_TLS_SECRET_NAME
            value: {{ .Values.security.envoy.ssl.upstream.client.serverValidationSecret | default "" | quote }}
          - name: ENVOY_UPSTREAM_CLIENT_TLS_KEY_LOCATION
            value: {{ .Values.security.envoy.ssl.upstream.client.keyPath | default "" | quote }}
          - name: ENVOY_UPSTREAM_CLIENT_TLS_CRT_LOCATION
            value: {{ .Values.security.envoy.ssl.upstream.client.crtPath | default "" | quote }}
          - name: ENVOY_UPSTREAM_CLIENT_TLS_CA_LOCATION
            value: {{ .Values.security.envoy.ssl.upstream.client.caPath | default "" | quote }}
          - name: ENVOY_UPSTREAM_SERVER_TLS_CA_LOCATION
            value: {{ .Values.security.envoy.ssl.upstream.client.serverCaPath | default "" | quote }}
          # Envoy TLS towards its clients
          - name: ENVOY_DOWNSTREAM_SERVER_TLS_SECRET_NAME
            value: {{ .Values.security.envoy.ssl.downstream.server.secret | default "" | quote }}
          - name: ENVOY_DOWNSTREAM_CLIENT_TLS_SECRET_NAME
            value: {{ .Values.security.envoy.ssl.downstream.server.clientValidationSecret | default "" | quote }}
          - name: ENVOY_DOWNSTREAM_SERVER_TLS_KEY_LOCATION
            value: {{ .Values.security.envoy.ssl.downstream.server.keyPath | default "" | quote }}
          - name: ENVOY_DOWNSTREAM_SERVER_TLS_CRT_LOCATION
            value: {{ .Values.security.envoy.ssl.downstream.server.crtPath | default "" | quote }}
          - name: ENVOY_DOWNSTREAM_SERVER_TLS_CA_LOCATION
            value: {{ .Values.security.envoy.ssl.downstream.server.caPath | default "" | quote }}
          - name: ENVOY_DOWNSTREAM_CLIENT_TLS_CA_LOCATION
            value: {{ .Values.security.envoy.ssl.downstream.server.clientCaPath | default "" | quote }}
          # Scheduling
          - name: SCHEDULER_READY_TIMEOUT_SECONDS
            value: {{ include "seldon.number" .Values.scheduler.schedulerReadyTimeoutSeconds | quote }}
          - name: SERVER_PACKING_ENABLED
            value: {{ .Values.autoscaling.serverPackingEnabled | quote }}
          - name: SERVER_PACKING_PERCENTAGE
            value: {{ .Values.autoscaling.serverPackingPercentage | float64 | int | quote }}
          # Envoy access log
          - name: ENVOY_ACCESSLOG_PATH
            value: {{ .Values.envoy.accesslogPath | quote }}
          - name: ENABLE_ENVOY_ACCESSLOG
            value: {{ .Values.envoy.enableAccesslog | quote }}
          - name: INCLUDE_SUCCESSFUL_REQUESTS_ENVOY_ACCESSLOG
            value: {{ .Values.envoy.includeSuccessfulRequests | quote }}
          # Autoscaling
          - name: ENABLE_MODEL_AUTOSCALING
            value: {{ .Values.autoscaling.autoscalingModelEnabled | quote }}
          - name: ENABLE_SERVER_AUTOSCALING
            value: {{ .Values.autoscaling.autoscalingServerEnabled | quote }}
          # Logging
          - name: LOG_LEVEL
            value: {{ .Values.scheduler.logLevel | default .Values.logging.logLevel | quote }}
          # Kafka consumers; the gateways must have the same numbers
          - name: MODELGATEWAY_MAX_NUM_CONSUMERS
            value: {{ include "seldon.number" .Values.modelgateway.maxNumConsumers | quote }}
          - name: PIPELINEGATEWAY_MAX_NUM_CONSUMERS
            value: {{ include "seldon.number" .Values.pipelinegateway.maxNumConsumers | quote }}
          # Addresses and ports
          - name: ALLOW_PLAINTXT
            value: "true"
          - name: POD_NAMESPACE
            valueFrom:
              fieldRef:
                fieldPath: metadata.namespace
          - name: HEALTH_PROBE_PORT
            value: "9999"
          # Profiling
          - name: ENABLE_PPROF
            value: "false"
          - name: PPROF_PORT
            value: "6060"
          - name: PPROF_BLOCK_RATE
            value: "0"
          - name: PPROF_MUTEX_RATE
            value: "0"
          # Retries of failed pipelines
          - name: RETRY_CREATING_FAILED_PIPELINES_TICK
            value: "60s"
          - name: RETRY_DELETING_FAILED_PIPELINES_TICK
            value: "60s"
          - name: MAX_RETRY_FAILED_PIPELINES
            value: "10"
        readinessProbe:
          httpGet:
            path: /ready
            port: health
          initialDelaySeconds: 10
          periodSeconds: 5
          failureThreshold: 3
        livenessProbe:
          httpGet:
            path: /live
            port: health
          initialDelaySeconds: 10
          periodSeconds: 5
          failureThreshold: 3
        {{- include "seldon.resources" .Values.scheduler.resources | nindent 8 }}
        volumeMounts:
          - name: kafka-config-volume
            mountPath: /mnt/kafka
          - name: scaling-config-volume
            mountPath: /mnt/scaling
          - name: tracing-config-volume
            mountPath: /mnt/tracing
          - name: scheduler-state
            mountPath: /mnt/scheduler
    volumes:
      - name: scaling-config-volume
        configMap:
          name: seldon-scaling
      - name: kafka-config-volume
        configMap:
          name: seldon-kafka
      - name: tracing-config-volume
        configMap:
          name: seldon-tracing
  volumeClaimTemplates:
    - name: scheduler-state
      spec:
        accessModes:
          - ReadWriteOnce
        resources:
          requests:
            storage: {{ include "seldon.number" .Values.scheduler.resources.storage | quote }}
{{- end }}
