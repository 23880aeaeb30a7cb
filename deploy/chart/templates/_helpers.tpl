{{- /* Labels of a role; also its selector, so they must never change. */ -}}
{{- define "oauth2-csi.labels" -}}
app.kubernetes.io/name: oauth2-csi
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "oauth2-csi.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* What all containers have in common. */ -}}
{{- define "oauth2-csi.container" -}}
image: {{ include "oauth2-csi.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "oauth2-csi.commonArgs" -}}
- --store=kubernetes
- --driver-namespace={{ .Release.Namespace }}
- --tokens-namespace={{ .Values.tokensNamespace.name }}
- --log-level={{ .Values.logLevel }}
- --log-format={{ .Values.logFormat }}
{{- end }}

{{- define "oauth2-csi.env" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
{{- end }}

{{- /* Liveness and readiness on the port that also serves metrics. */ -}}
{{- define "oauth2-csi.probes" -}}
# A node under load answers late; only one that stopped answering is started anew.
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: metrics
  periodSeconds: 5
  timeoutSeconds: 5
# Until it has begun to serve; afterwards the two above count. A start takes about a second: asked
# sooner, each would leave a warning among the events.
startupProbe:
  httpGet:
    path: /healthz
    port: metrics
  initialDelaySeconds: 2
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 60
{{- end }}

{{- /* The pod of a role without privileges: what the PSA level `restricted` asks for. */ -}}
{{- define "oauth2-csi.restrictedPod" -}}
runAsNonRoot: true
# Numeric: kubelet cannot tell from a name that it is not root.
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "oauth2-csi.restrictedContainer" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Scheduling, from the values of a role given as (list role-name values root). */ -}}
{{- define "oauth2-csi.placement" -}}
{{- $role := index . 0 -}}
{{- $values := index . 1 -}}
{{- $root := index . 2 -}}
nodeSelector:
  kubernetes.io/os: linux
  {{- with $values.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- if $values.affinity }}
affinity:
  {{- toYaml $values.affinity | nindent 2 }}
{{- else if ne $role "node" }}
affinity:
  podAntiAffinity:
    # Not required: a cluster of one node runs both replicas on it.
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "oauth2-csi.labels" $role | nindent 12 }}
{{- end }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A quantity in Ki, Mi or Gi as a number of Mi. */ -}}
{{- define "oauth2-csi.mebibytes" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- if hasSuffix "Gi" . }}{{ mul $number 1024 }}
{{- else if hasSuffix "Mi" . }}{{ $number }}
{{- else }}{{ div $number 1024 }}
{{- end }}
{{- end }}

{{- /* Binds a ClusterRole to the ServiceAccount of the same name, everywhere or where Secrets are
served. Given (list root name). */ -}}
{{- define "oauth2-csi.bindings" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- range ($root.Values.refresher.namespaces | default (list "")) }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if . }}RoleBinding{{ else }}ClusterRoleBinding{{ end }}
metadata:
  name: {{ $name }}
  {{- if . }}
  namespace: {{ . }}
  {{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
- kind: ServiceAccount
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
{{- end }}
{{- end }}
