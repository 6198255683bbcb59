{{- /*
Receives all inference requests.
*/}}
{{- define "seldon.component.envoy" -}}
- name: seldon-envoy
  {{- include "seldon.componentMetadata" .Values.envoy | nindent 2 }}
  podSpec:
    {{- include "seldon.podSecurityContext" (list . .Values.envoy.securityContext) | nindent 4 }}
    {{- include "seldon.imagePullSecrets" . | nindent 4 }}
    terminationGracePeriodSeconds: {{ int64 .Values.envoy.terminationGracePeriodSeconds }}
    containers:
      - name: envoy
        {{- include "seldon.image" (list . .Values.envoy.image) | nindent 8 }}
        {{- include "seldon.containerSecurityContext" . | nindent 8 }}
        ports:
          - name: http
            containerPort: 9000
            protocol: TCP
          - name: envoy-stats
            containerPort: 9003
            protocol: TCP
        env:
          # Envoy TLS
          - name: ENVOY_SECURITY_PROTOCOL
            value: {{ .Values.security.envoy.protocol | default "" | quote }}
          # TLS towards the scheduler, whose xDS configures Envoy
          {{- with .Values.security.controlplane.ssl.client.secret }}
          - name: ENVOY_XDS_CLIENT_TLS_KEY
            valueFrom:
              secretKeyRef:
                name: {{ . | quote }}
                key: tls.key
                optional: true
          - name: ENVOY_XDS_CLIENT_TLS_CRT
            valueFrom:
              secretKeyRef:
                name: {{ . | quote }}
                key: tls.crt
                optional: true
          {{- end }}
          {{- with .Values.security.controlplane.ssl.client.serverValidationSecret }}
          - name: ENVOY_XDS_SERVER_TLS_CA
            valueFrom:
              secretKeyRef:
                name: {{ . | quote }}
                key: ca.crt
                optional: true
          {{- end }}
        readinessProbe:
          httpGet:
            path: /ready
            port: envoy-stats
          initialDelaySeconds: 10
          periodSeconds: 5
          failureThreshold: 3
        # Fail Envoy's health check through its admin interface, so that load
        # balancers stop using it, and wait until they have detected that. The
        # subshell prevents that a refused connection ends the script before the sleep.
        lifecycle:
          preStop:
            exec:
              command:
                - /bin/sh
                - -c
                - |-
                  (
                    exec 3<>/dev/tcp/localhost/{{ int64 .Values.envoy.adminInterfacePort }}
                    printf 'POST /healthcheck/fail HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' >&3
                    read -r status <&3
                  )
                  sleep {{ int64 .Values.envoy.preStopSleepPeriodSeconds }}
        {{- include "seldon.resources" .Values.envoy.resources | nindent 8 }}
{{- end }}
