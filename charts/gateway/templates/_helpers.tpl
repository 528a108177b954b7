{{- define "gateway.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}-gateway
{{- end -}}

{{- define "gateway.claim" -}}
{{- include "gateway.name" . -}}-data
{{- end -}}

{{- define "gateway.labels" -}}
app.kubernetes.io/name: gateway
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "gateway.selector" -}}
app.kubernetes.io/name: gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The gateway's container, for this chart's Deployment or for a pod of your own. */}}
{{- define "gateway.container" -}}
name: gateway
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: ADMIN_LISTEN
    value: "0.0.0.0:{{ .Values.adminPort }}"
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- range .Values.ports }}
  - name: {{ .name }}
    containerPort: {{ .port }}
    protocol: {{ .protocol | default "TCP" }}
  {{- end }}
  - name: admin
    containerPort: {{ .Values.adminPort }}
startupProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
lifecycle:
  preStop:
    exec:
      command: ["sleep", "{{ .Values.withdrawSeconds }}"]
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: gateway
    mountPath: /etc/gateway
    readOnly: true
  - name: gateway-tmp
    mountPath: /tmp
  - name: gateway-data
    mountPath: {{ .Values.persistence.mountPath }}
{{- end -}}

{{/* The volumes that the container mounts. One projected volume, so that updates of its files arrive. */}}
{{- define "gateway.volumes" -}}
- name: gateway-tmp
  emptyDir: {sizeLimit: 64Mi}
- name: gateway-data
  {{- if .Values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | default (include "gateway.claim" .) }}
  {{- else }}
  emptyDir: {sizeLimit: {{ .Values.persistence.size }}}
  {{- end }}
- name: gateway
  projected:
    sources:
      - configMap:
          name: {{ include "gateway.name" . }}
          items:
            - {key: routes.yaml, path: routes.yaml}
            {{- range $name, $_ := .Values.schemas }}
            - {key: {{ $name | quote }}, path: {{ printf "schemas/%s" $name | quote }}}
            {{- end }}
{{- end -}}
