{{- define "proxyxai.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Labels by which a role is selected: (dict "root" $ "role" "control"). */}}
{{- define "proxyxai.selector" -}}
app.kubernetes.io/name: proxyxai
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "proxyxai.labels" -}}
{{ include "proxyxai.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* What both roles' pods have in common, apart from their container. */}}
{{- define "proxyxai.pod" -}}
automountServiceAccountToken: false
# Otherwise Kubernetes sets variables named after services, which may be ours.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "proxyxai.selector" . | nindent 8 }}
{{- end }}

{{- define "proxyxai.container" -}}
image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: [{{ .role }}]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 2
  # Four minutes: the first start with a new schema may fill sums before it serves.
  failureThreshold: 120
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}

{{- define "proxyxai.secret" -}}
{{ required "secretName: name a Secret with DATABASE_URL, MASTER_KEY, NODE_TOKEN and INIT_USERS" .Values.secretName }}
{{- end }}
