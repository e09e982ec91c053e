{{- define "piccolo.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Takes (dict "root" $ "component" "agent"). */}}
{{- define "piccolo.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "piccolo.labels" -}}
{{ include "piccolo.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{/* Takes (dict "root" $ "program" "pi-agent"). */}}
{{- define "piccolo.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .program }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{- define "piccolo.priorityClass" -}}
{{- if .Values.priorityClass.create -}}
{{- .Values.priorityClass.name | default (include "piccolo.fullname" .) -}}
{{- else -}}
{{- .Values.priorityClass.name -}}
{{- end -}}
{{- end -}}

{{- define "piccolo.servers" -}}
{{- if .Values.agent.servers -}}
{{- join "," .Values.agent.servers -}}
{{- else if .Values.server.enabled -}}
http://{{ include "piccolo.fullname" . }}-server.{{ .Release.Namespace }}.svc:{{ .Values.server.service.port }}
{{- else -}}
{{- fail "agent.servers is empty and server.enabled is false: name the servers in agent.servers" -}}
{{- end -}}
{{- end -}}

{{- define "piccolo.topologyConfigMap" -}}
{{- if .Values.server.topologyConfigMap -}}
{{- .Values.server.topologyConfigMap -}}
{{- else if .Values.server.topology -}}
{{- include "piccolo.fullname" . }}-topology
{{- end -}}
{{- end -}}
