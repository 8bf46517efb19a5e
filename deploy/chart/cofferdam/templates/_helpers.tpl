{{/* Labels of every object; give (list . "component"). */}}
{{- define "cofferdam.labels" -}}
{{- $root := index . 0 -}}
{{ include "cofferdam.selector" . }}
app.kubernetes.io/part-of: cofferdam
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What selectors use: it never changes. */}}
{{- define "cofferdam.selector" -}}
app.kubernetes.io/name: cofferdam
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "cofferdam.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "cofferdam.probe" -}}
httpGet:
  path: {{ . }}
  port: metrics
periodSeconds: 20
timeoutSeconds: 5
{{- end }}

{{/* What pods of people's choosing share: give the component's values. */}}
{{- define "cofferdam.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if ne .dnsPolicy "ClusterFirst" }}
dnsPolicy: {{ .dnsPolicy }}
{{- end }}
{{- end }}

{{/* The hook's own limit in seconds, and two minutes to start in. */}}
{{- define "cofferdam.uninstall.deadline" -}}
{{- $unit := regexFind "[smh]$" .Values.uninstall.timeout -}}
{{- $number := trimSuffix $unit .Values.uninstall.timeout | int -}}
{{- add 120 (mul $number (get (dict "s" 1 "m" 60 "h" 3600) $unit)) -}}
{{- end }}
