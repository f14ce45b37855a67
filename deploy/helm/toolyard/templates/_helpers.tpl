{{/* The name of the release's objects, and what they begin with. At most 40 letters: parts append theirs. */}}
{{- define "toolyard.name" -}}
{{- if .Values.nameOverride -}}
{{- .Values.nameOverride -}}
{{- else if contains "toolyard" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-toolyard" (.Release.Name | trunc 30 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "toolyard.replicasNamespace" -}}
{{- .Values.replicas.namespace | default .Release.Namespace -}}
{{- end -}}

{{/* Of objects in the namespace of replicas, which other releases may have, too. Also the owner of all replicas: the same wherever the data is. */}}
{{- define "toolyard.replicasName" -}}
{{- printf "%s-%s" (include "toolyard.name" .) (printf "%s/%s" .Release.Namespace .Release.Name | sha256sum | trunc 10) -}}
{{- end -}}

{{- define "toolyard.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "toolyard.publicUrl" -}}
{{- if .Values.publicUrl -}}
{{- .Values.publicUrl | trimSuffix "/" -}}
{{- else if .Values.ingress.enabled -}}
{{- printf "http%s://%s" (empty .Values.ingress.tlsSecret | ternary "" "s") .Values.ingress.host -}}
{{- else -}}
http://localhost:4000
{{- end -}}
{{- end -}}

{{- define "toolyard.secret" -}}
{{- .Values.existingSecret | default (include "toolyard.name" .) -}}
{{- end -}}

{{/* By which the pods of the release are chosen, one part's with `component` added. */}}
{{- define "toolyard.selector" -}}
app.kubernetes.io/name: toolyard
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "toolyard.labels" -}}
{{ include "toolyard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* files/parts.yaml, of the parts that this mode has, each with its name, its values, and all secrets that it may be told. As JSON. */}}
{{- define "toolyard.parts" -}}
{{- $root := . -}}
{{- $all := .Files.Get "files/parts.yaml" | fromYaml -}}
{{- $every := list -}}
{{- range $part := $all }}{{ $every = concat $every $part.needs ($part.secrets | default list) }}{{ end -}}
{{- $parts := dict -}}
{{- range $name, $part := $all -}}
{{- if eq (eq $root.Values.mode "embedded") (eq $name "embedded") -}}
{{- $may := concat $part.needs ($part.secrets | default list) -}}
{{- if eq $name "embedded" }}{{ $may = without (uniq $every) "PROXY_CREDENTIAL" | sortAlpha }}{{ end -}}
{{- $_ := set $parts $name (merge (dict "name" $name "may" $may "values" (get $root.Values.parts $name) "url" (printf "http://%s-%s:%v" (include "toolyard.name" $root) $name (values $part.ports | first))) $part) -}}
{{- end -}}
{{- end -}}
{{- $parts | toJson -}}
{{- end -}}

{{/* Refuses what no schema can: see `fail`. */}}
{{- define "toolyard.check" -}}
{{- $secrets := list -}}
{{- $needs := list -}}
{{- range (include "toolyard.parts" . | fromJson) }}{{ $secrets = concat $secrets .may }}{{ $needs = concat $needs .needs }}{{ end -}}
{{- range $name := keys .Values.env -}}
{{- if has $name $secrets }}{{ fail (printf "env.%s is a secret: it belongs into existingSecret or secrets" $name) }}{{ end -}}
{{- end -}}
{{- if .Values.existingSecret -}}
{{- if .Values.secrets }}{{ fail "Set existingSecret or secrets, not both" }}{{ end -}}
{{- else -}}
{{- range $name := uniq $needs -}}
{{- if not (get $.Values.secrets $name) }}{{ fail (printf "mode: distributed needs %s: name by existingSecret the Secret that has %s, or set them in secrets" $name (uniq $needs | join ", ")) }}{{ end -}}
{{- end -}}
{{- range $name := keys .Values.secrets -}}
{{- if not (has $name $secrets) }}{{ fail (printf "secrets.%s is no secret of Toolyard's in this mode; there are %s" $name (uniq $secrets | sortAlpha | join ", ")) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.backup.enabled (not .Values.backup.claim) }}{{ fail "backup.claim: name the PersistentVolumeClaim that backups are written to" }}{{ end -}}
{{- end -}}

{{/* The environment of a part, or of a command that knows what one knows: (dict "root" . "part" PART "set" VARIABLES). */}}
{{- define "toolyard.env" -}}
{{- range $name, $value := merge (dict) .root.Values.env .set }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- range .part.may }}
{{- $needed := has . $.part.needs }}
{{- if or $.root.Values.existingSecret (hasKey $.root.Values.secrets .) }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.secret | default (include "toolyard.secret" $.root) }}, key: {{ . }}, optional: {{ not $needed }}}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "toolyard.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "toolyard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where pods run, and the like. */}}
{{- define "toolyard.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - {name: {{ . }}}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A pod of a Job: (dict "root" . "args" ARGUMENTS "env" TEXT "component" NAME "volumes" … "mounts" …). */}}
{{- define "toolyard.commandPod" -}}
metadata:
  labels:
    {{- include "toolyard.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    toolyard.dev/reaches: servers
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .root.Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext: {{- include "toolyard.podSecurity" .root | nindent 4 }}
  {{- include "toolyard.placement" .root | nindent 2 }}
  containers:
    - name: {{ .component }}
      image: {{ include "toolyard.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      {{- with .command }}
      command: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .args }}
      args: {{- toYaml . | nindent 8 }}
      {{- end }}
      env: {{- .env | nindent 8 }}
      resources: {requests: {cpu: 100m, memory: 192Mi}, limits: {memory: 1Gi}}
      securityContext: {{- include "toolyard.containerSecurity" .root | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- with concat (.mounts | default list) .root.Values.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - {name: tmp, emptyDir: {sizeLimit: 1Gi}}
    {{- with concat (.volumes | default list) .root.Values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
