{{- /*
Containers that all servers have, for (list $ server), where server is mlserver or
triton. Keep the order of the variables: a change would restart existing pods.
*/}}
{{- /* Downloads model artifacts. */}}
{{- define "seldon.server.rclone" -}}
{{- $root := index . 0 }}
{{- $server := index . 1 }}
- name: rclone
  {{- include "seldon.image" (list $root $root.Values.serverConfig.rclone.image) | nindent 2 }}
  {{- include "seldon.containerSecurityContext" $root | nindent 2 }}
  {{- if not (include "seldon.on" $root.Values.useDeploymentsForServers) }}
  command:
    - rclone
  args:
    - rcd
    - --rc-no-auth
    - --config=/rclone/rclone.conf
    - --rc-addr=0.0.0.0:5572
    - --max-buffer-memory=$(MAX_BUFFER_MEMORY)
  {{- end }}
  ports:
    - name: rclone
      containerPort: 5572
      protocol: TCP
  env:
    - name: RCLONE_LOG_LEVEL
      value: {{ $root.Values.serverConfig.rclone.logLevel | default $root.Values.logging.logLevel | upper | quote }}
    {{- if not (include "seldon.on" $root.Values.useDeploymentsForServers) }}
    - name: MAX_BUFFER_MEMORY
      value: "64M"
    {{- end }}
  readinessProbe:
    tcpSocket:
      port: 5572
    initialDelaySeconds: 5
    periodSeconds: 5
    timeoutSeconds: 1
    failureThreshold: 3
    successThreshold: 1
  {{- if not (include "seldon.on" $root.Values.useDeploymentsForServers) }}
  livenessProbe:
    exec:
      command:
        - rclone
        - rc
        - rc/noop
    initialDelaySeconds: 5
    periodSeconds: 5
    timeoutSeconds: 1
    failureThreshold: 1
    successThreshold: 1
  {{- end }}
  lifecycle:
    preStop:
      httpGet:
        path: terminate
        port: 9007
  resources:
    requests:
      cpu: {{ include "seldon.number" $root.Values.serverConfig.rclone.resources.cpu | quote }}
      memory: {{ include "seldon.number" $root.Values.serverConfig.rclone.resources.memory | quote }}
    limits:
      {{- if include "seldon.on" $root.Values.useDeploymentsForServers }}
      memory: {{ include "seldon.number" $root.Values.serverConfig.rclone.resources.memory | quote }}
      {{- else }}
      memory: {{ include "seldon.number" $root.Values.serverConfig.rclone.resources.limits.memory | quote }}
      {{- end }}
  volumeMounts:
    - name: {{ $server }}-models
      mountPath: /mnt/agent
{{- end }}

{{- /* Loads models as the scheduler requests, and forwards inference requests to them. */}}
{{- define "seldon.server.agent" -}}
{{- $root := index . 0 }}
{{- $server := index . 1 }}
- name: agent
  {{- include "seldon.image" (list $root $root.Values.serverConfig.agent.image) | nindent 2 }}
  {{- include "seldon.containerSecurityContext" $root | nindent 2 }}
  command:
    - /bin/agent
  args:
    - --tracing-config-path=/mnt/tracing/tracing.json
  ports:
    - name: grpc
      containerPort: 9501
      protocol: TCP
    - name: http
      containerPort: 9001
      protocol: TCP
    - name: metrics
      containerPort: 9006
      protocol: TCP
    {{- if not (include "seldon.on" $root.Values.useDeploymentsForServers) }}
    - name: readiness-port
      containerPort: 9008
      protocol: TCP
    {{- end }}
  env:
    # Capabilities that models can require
    - name: SELDON_SERVER_CAPABILITIES
      value: {{ (index $root.Values.serverConfig $server).serverCapabilities | quote }}
    # Autoscaling
    - name: SELDON_MODEL_INFERENCE_LAG_THRESHOLD
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.modelInferenceLagThreshold | quote }}
    - name: SELDON_MODEL_INACTIVE_SECONDS_THRESHOLD
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.modelInactiveSecondsThreshold | quote }}
    - name: SELDON_SCALING_STATS_PERIOD_SECONDS
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.scalingStatsPeriodSeconds | quote }}
    # Waiting for the other containers, loading and unloading
    - name: SELDON_MAX_TIME_READY_SUB_SERVICE_AFTER_START_SECONDS
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.maxElapsedTimeReadySubServiceAfterStartSeconds | quote }}
    - name: SELDON_MAX_ELAPSED_TIME_READY_SUB_SERVICE_BEFORE_START_MINUTES
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.maxElapsedTimeReadySubServiceBeforeStartMinutes | quote }}
    - name: SELDON_PERIOD_READY_SUB_SERVICE_SECONDS
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.periodReadySubServiceSeconds | quote }}
    - name: SELDON_MAX_LOAD_ELAPSED_TIME_MINUTES
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.maxLoadElapsedTimeMinutes | quote }}
    - name: SELDON_MAX_UNLOAD_ELAPSED_TIME_MINUTES
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.maxUnloadElapsedTimeMinutes | quote }}
    - name: SELDON_MAX_LOAD_RETRY_COUNT
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.maxLoadRetryCount | quote }}
    - name: SELDON_MAX_UNLOAD_RETRY_COUNT
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.maxUnloadRetryCount | quote }}
    - name: SELDON_UNLOAD_GRACE_PERIOD_SECONDS
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.unloadGracePeriodSeconds | quote }}
    # Memory
    - name: SELDON_OVERCOMMIT_PERCENTAGE
      value: {{ include "seldon.number" $root.Values.serverConfig.agent.overcommitPercentage | quote }}
    # Control plane TLS
    {{- include "seldon.env.controlPlaneClient" $root | nindent 4 }}
    # Envoy TLS
    - name: ENVOY_SECURITY_PROTOCOL
      value: {{ $root.Values.security.envoy.protocol | default "" | quote }}
    # TLS as a server behind Envoy
    {{- include "seldon.env.upstreamServer" $root | nindent 4 }}
    # Tracing and logging
    {{- if eq $server "mlserver" }}
    - name: MLSERVER_TRACING_SERVER
      value: {{ $root.Values.opentelemetry.endpoint | quote }}
    {{- end }}
    - name: SELDON_LOG_LEVEL
      value: {{ $root.Values.serverConfig.agent.logLevel | default $root.Values.logging.logLevel | quote }}
    # Kind of the workload that this pod belongs to
    - name: SELDON_USE_DEPLOYMENTS_FOR_SERVERS
      value: {{ $root.Values.useDeploymentsForServers | quote }}
    # Addresses and ports
    - name: SELDON_SERVER_HTTP_PORT
      value: "9000"
    - name: SELDON_SERVER_GRPC_PORT
      value: "9500"
    - name: SELDON_REVERSE_PROXY_HTTP_PORT
      value: "9001"
    - name: SELDON_REVERSE_PROXY_GRPC_PORT
      value: "9501"
    {{- if eq $server "triton" }}
    # Agent TLS
    - name: AGENT_TLS_SECRET_NAME
      value: ""
    - name: AGENT_TLS_FOLDER_PATH
      value: ""
    {{- end }}
    # The scheduler, and own ports
    - name: SELDON_SCHEDULER_HOST
      value: "seldon-scheduler"
    - name: SELDON_SCHEDULER_PORT
      value: "9005"
    {{- if eq $server "mlserver" }}
    - name: SELDON_SCHEDULER_TLS_PORT
      value: "9055"
    {{- end }}
    - name: SELDON_METRICS_PORT
      value: "9006"
    - name: SELDON_DRAINER_PORT
      value: "9007"
    {{- if not (include "seldon.on" $root.Values.useDeploymentsForServers) }}
    - name: SELDON_READINESS_PORT
      value: "9008"
    {{- end }}
    {{- if eq $server "mlserver" }}
    # Agent TLS
    - name: AGENT_TLS_SECRET_NAME
      value: ""
    - name: AGENT_TLS_FOLDER_PATH
      value: ""
    {{- end }}
    # Identity
    - name: SELDON_SERVER_TYPE
      value: {{ $server | quote }}
    {{- if eq $server "mlserver" }}
    - name: SELDON_ENVOY_HOST
      value: "seldon-mesh"
    - name: SELDON_ENVOY_PORT
      value: "80"
    {{- end }}
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    {{- if include "seldon.on" $root.Values.useDeploymentsForServers }}
    - name: POD_IP
      valueFrom:
        fieldRef:
          fieldPath: status.podIP
    {{- end }}
    - name: POD_NAMESPACE
      valueFrom:
        fieldRef:
          fieldPath: metadata.namespace
    # Memory for models: the request of the inference container
    - name: MEMORY_REQUEST
      valueFrom:
        resourceFieldRef:
          containerName: {{ $server }}
          resource: requests.memory
  {{- if not (include "seldon.on" $root.Values.useDeploymentsForServers) }}
  startupProbe:
    httpGet:
      path: /ready
      port: 9008
    periodSeconds: 15
    failureThreshold: 60
  readinessProbe:
    httpGet:
      path: /ready
      port: 9008
    periodSeconds: 5
    failureThreshold: 1
  {{- end }}
  lifecycle:
    preStop:
      httpGet:
        path: terminate
        port: 9007
  {{- include "seldon.resources" $root.Values.serverConfig.agent.resources | nindent 2 }}
  volumeMounts:
    - name: {{ $server }}-models
      mountPath: /mnt/agent
    - name: config-volume
      mountPath: /mnt/config
    - name: tracing-config-volume
      mountPath: /mnt/tracing
{{- end }}
