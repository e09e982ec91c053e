{{/* "true" where the signer of this release issues certificates. */}}
{{- define "piccolo.signs" -}}
{{- $tls := .Values.tls -}}
{{- $agents := and .Values.agent.enabled (not $tls.agentFiles) -}}
{{- $servers := and .Values.server.enabled (not $tls.serverFiles) -}}
{{- if and $tls.enabled (or $agents $servers) }}true{{ end -}}
{{- end -}}

{{/* Takes (dict "root" $ "component" "agent"): "true" where the signer issues that component's. */}}
{{- define "piccolo.tls.isIssued" -}}
{{- $tls := .root.Values.tls -}}
{{- if and $tls.enabled (not (index $tls (printf "%sFiles" .component))) }}true{{ end -}}
{{- end -}}

{{- define "piccolo.signer.host" -}}
{{ include "piccolo.fullname" . }}-signer.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* Takes (dict "root" $ "component" "agent" "prefix" "PI_AGENT"). */}}
{{- define "piccolo.tls.environment" -}}
{{- if .root.Values.tls.enabled -}}
- {name: {{ .prefix }}_TLS, value: {{ .root.Values.tls.mode }}}
- {name: {{ .prefix }}_TLS_CERT, value: /etc/piccolo-tls/tls.crt}
- {name: {{ .prefix }}_TLS_KEY, value: /etc/piccolo-tls/tls.key}
{{- if eq .root.Values.tls.mode "permissive" }}
- {name: {{ .prefix }}_TLS_SEEN, value: /var/lib/piccolo-tls/seen}
{{- end }}
{{- if include "piccolo.tls.isIssued" . }}
- {name: {{ .prefix }}_TLS_CA, value: /etc/piccolo-authority/ca.crt}
- {name: {{ .prefix }}_TLS_ISSUER, value: "https://{{ include "piccolo.signer.host" .root }}:7791"}
- {name: {{ .prefix }}_TLS_ISSUER_TOKEN, value: /var/run/secrets/piccolo/token}
{{- else }}
- {name: {{ .prefix }}_TLS_CA, value: /etc/piccolo-tls/ca.crt}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "piccolo.tls.mounts" -}}
{{- if .root.Values.tls.enabled -}}
{{- if eq .root.Values.tls.mode "permissive" -}}
- {name: tls-seen, mountPath: /var/lib/piccolo-tls}
{{ end -}}
{{- if include "piccolo.tls.isIssued" . -}}
- {name: tls, mountPath: /etc/piccolo-tls}
# The directory, not the file: only so does a change arrive without a restart.
- {name: authority, mountPath: /etc/piccolo-authority, readOnly: true}
- {name: token, mountPath: /var/run/secrets/piccolo, readOnly: true}
{{- else -}}
- {name: tls, mountPath: /etc/piccolo-tls, readOnly: true}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "piccolo.tls.volumes" -}}
{{- if .root.Values.tls.enabled -}}
{{- if eq .root.Values.tls.mode "permissive" -}}
# Who has spoken TLS, also after a restart of the container: some 60 MiB where a quarter of a million have.
- {name: tls-seen, emptyDir: {sizeLimit: 128Mi}}
{{ end -}}
{{- if include "piccolo.tls.isIssued" . -}}
# Keys are in memory only; a restart of the container keeps them.
- {name: tls, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: authority, configMap: {name: {{ include "piccolo.fullname" .root }}-authority-public}}
- name: token
  projected:
    sources:
      - serviceAccountToken: {path: token, audience: piccolo, expirationSeconds: 3600}
{{- else -}}
- name: tls
  {{- toYaml (index .root.Values.tls (printf "%sFiles" .component)) | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Takes a component's labels: how Prometheus reads its metrics. */}}
{{- define "piccolo.tls.scrape" -}}
{{- $values := .root.Values -}}
{{- $token := $values.monitoring.tokenSecret -}}
{{- if $token -}}
authorization:
  credentials: {name: {{ $token }}, key: token}
{{- if $values.tls.enabled }}
scheme: https
tlsConfig:
  ca:
    {{- if or (eq .component "signer") (include "piccolo.tls.isIssued" .) }}
    configMap: {name: {{ include "piccolo.fullname" .root }}-authority-public, key: ca.crt}
    {{- else }}
    secret: {name: {{ dig "secret" "secretName" $token (index $values.tls (printf "%sFiles" .component)) }}, key: ca.crt}
    {{- end }}
{{- end -}}
{{- end -}}
{{- end -}}
