{{- /* Puts the defaults where values are missing or null, and removes a null that has none; every
template begins with it. Helm takes a default away where somebody sets null, and has no means to
look it up. */ -}}
{{- define "oauth2-csi.defaults" -}}
{{- include "oauth2-csi.fill" (list .Values (.Files.Get "files/defaults.yaml" | fromYaml)) -}}
{{- end }}

{{- define "oauth2-csi.fill" -}}
{{- $values := index . 0 -}}
{{- range $key, $value := $values -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $values $key -}}
{{- end -}}
{{- end -}}
{{- range $key, $default := index . 1 -}}
{{- $value := index $values $key -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := set $values $key $default -}}
{{- else if kindIs "map" $default -}}
{{- include "oauth2-csi.fill" (list $value $default) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* What selectors of a role look for, so it must never change. */ -}}
{{- define "oauth2-csi.selector" -}}
app.kubernetes.io/name: oauth2-csi
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- /* Labels of an object, given as (list root role-name-or-empty labels...). Labels given here win
over the value `labels`, and both over the recommended ones. */ -}}
{{- define "oauth2-csi.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := dict "app.kubernetes.io/name" "oauth2-csi" -}}
{{- with index . 1 }}{{ $_ := set $labels "app.kubernetes.io/component" . }}{{ end -}}
{{- $recommended := dict
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- range (concat (slice . 2) (list $root.Values.labels $recommended)) }}
{{- $labels = merge $labels . }}
{{- end }}
{{- toYaml $labels }}
{{- end }}

{{- /* Metadata of an object of a role, or of none, in the driver namespace; (list root name role). */ -}}
{{- define "oauth2-csi.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "oauth2-csi.labels" (list $root (index . 2)) | nindent 2 }}
{{- end }}

{{- /* The account of a role, given as (list root role). */ -}}
{{- define "oauth2-csi.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "oauth2-csi.metadata" (list $root (printf "oauth2-csi-%s" $role) $role) | nindent 2 }}
  {{- with (index $root.Values $role).serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# Only the pods that say so get a token.
automountServiceAccountToken: false
{{- end }}

{{- /* Metadata of a role's pods, given as (list root role). */ -}}
{{- define "oauth2-csi.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := index $root.Values $role -}}
labels:
  {{- include "oauth2-csi.labels" (list $root $role $values.podLabels) | nindent 2 }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
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

{{- /* By which nodes find and verify brokers. */ -}}
{{- define "oauth2-csi.brokerName" -}}
oauth2-csi-broker.{{ .Release.Namespace }}.svc
{{- end }}

{{- /* Liveness and readiness, on a port of their own. */ -}}
{{- define "oauth2-csi.probes" -}}
# A node under load answers late; only one that stopped answering is started anew.
livenessProbe:
  httpGet:
    path: /healthz
    port: health
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
  timeoutSeconds: 5
# Until it has begun to serve; afterwards the two above count. A start takes about a second: asked
# sooner, each would leave a warning among the events.
startupProbe:
  httpGet:
    path: /healthz
    port: health
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
{{- else if eq $role "node" }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
      # There is no node behind these, and no place for a plugin.
      - matchExpressions:
        - key: eks.amazonaws.com/compute-type
          operator: NotIn
          values: [fargate]
        - key: type
          operator: NotIn
          values: [virtual-kubelet]
{{- else }}
affinity:
  # Who takes over a node gets the tokens of the service accounts that run there. Not required: a
  # managed cluster shows no such node.
  nodeAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      preference:
        matchExpressions:
        - key: node-role.kubernetes.io/control-plane
          operator: Exists
  podAntiAffinity:
    # Not required: a cluster of one node runs both replicas on it.
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "oauth2-csi.selector" $role | nindent 12 }}
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
  labels:
    {{- include "oauth2-csi.labels" (list $root (trimPrefix "oauth2-csi-" $name)) | nindent 4 }}
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

{{- /* Puts the ValidatingAdmissionPolicy of a role into force. Given (list root role). */ -}}
{{- define "oauth2-csi.policyBinding" -}}
{{- $name := printf "oauth2-csi-%s" (index . 1) -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "oauth2-csi.labels" (list (index . 0) (index . 1)) | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end }}
