{{- define "rochallor-operator.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "rochallor-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rochallor-operator.labels" -}}
{{ include "rochallor-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rochallor-operator.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}

{{- define "rochallor-operator.workerImage" -}}
{{- if .Values.workerImage }}{{ .Values.workerImage }}
{{- else if hasSuffix "rochallor-operator" .Values.image.repository }}
{{- printf "%srochallor-worker:%s" (trimSuffix "rochallor-operator" .Values.image.repository) .Chart.AppVersion }}
{{- else }}{{ fail "set workerImage: the default is derived from an image.repository that ends with rochallor-operator" }}
{{- end }}
{{- end }}

{{- define "rochallor-operator.placement" -}}
{{- range $field := list "imagePullSecrets" "priorityClassName" "nodeSelector" "tolerations" "affinity" }}
{{- with get $.Values $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "rochallor-operator.rules" -}}
- apiGroups: [rochallor.io]
  resources: [rochallorworkers]
  verbs: [get, list, watch]
- apiGroups: [rochallor.io]
  resources: [rochallorworkers/status]
  verbs: [patch]
# Where the API server enforces it, a blocking owner reference needs the right to update the owner's finalizers.
- apiGroups: [rochallor.io]
  resources: [rochallorworkers/finalizers]
  verbs: [update]
- apiGroups: [rochallor.io]
  resources: [engineconnections]
  verbs: [get, list, watch]
- apiGroups: [rochallor.io]
  resources: [engineconnections/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# The pod templates of a canary rollout's versions. Only the Deployment of a canary is ever deleted.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.keda }}
- apiGroups: [keda.sh]
  resources: [scaledobjects, triggerauthentications]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.podMonitors }}
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
# Secrets and ConfigMaps in use are hashed, so that a change rolls the pods. RBAC can't be limited to those in use.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get{{ if .Values.watchSecrets }}, list, watch{{ end }}]
# Handlers in a ConfigMap are copied, and a copy is deleted when no ReplicaSet refers to it any more. Another ConfigMap
# follows the number of ready pods, for limits that all pods share.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, patch, delete]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
- apiGroups: [""]
  resources: [pods]
  verbs: [list{{ if .Values.patchPods }}, patch{{ end }}]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "rochallor-operator.clusterRules" -}}
- apiGroups: [rochallor.io]
  resources: [clusterengineconnections]
  verbs: [get, list, watch]
- apiGroups: [rochallor.io]
  resources: [clusterengineconnections/status]
  verbs: [patch]
# Their namespaceSelector goes by the labels of namespaces.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- if .Values.clusterConnections.copySecrets }}
# RBAC can't be limited to the copies.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch, delete]
{{- end }}
{{- end }}
