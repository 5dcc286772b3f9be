{{- define "pinscope.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "pinscope.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "pinscope.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pinscope.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pinscope.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pinscope.labels" -}}
{{ include "pinscope.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "pinscope.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pinscope.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pinscope.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* The address and port, with an IPv6 address in brackets. */ -}}
{{- define "pinscope.listen" -}}
{{- if contains ":" .Values.listenAddress -}}
{{- printf "[%s]:%d" .Values.listenAddress (int .Values.port) -}}
{{- else -}}
{{- printf "%s:%d" .Values.listenAddress (int .Values.port) -}}
{{- end -}}
{{- end -}}

{{- /* http or https: the one answer for probes, PodMonitor and notes. */ -}}
{{- define "pinscope.scheme" -}}
{{- if and .Values.webConfig.existingSecret .Values.webConfig.tls -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{- define "pinscope.capabilities" -}}
{{- $all := .Values.capabilities -}}
{{- if .Values.lockMemory -}}
{{- $all = append $all "SYS_RESOURCE" | uniq -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{- /* How a probe asks. The kubelet does not verify certificates, and has none of its own. */ -}}
{{- define "pinscope.probe" -}}
{{- if and .root.Values.webConfig.existingSecret .root.Values.webConfig.clientCertificates -}}
tcpSocket:
  port: metrics
{{- else -}}
httpGet:
  path: {{ .path }}
  port: metrics
  scheme: {{ include "pinscope.scheme" .root | upper }}
{{- end -}}
{{- end -}}
