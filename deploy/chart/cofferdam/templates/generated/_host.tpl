{{/* Made by `cargo xtask generate` from crates/cluster/src/access/host.rs. Do not edit. */}}
{{- define "cofferdam.host.securityContext" -}}
allowPrivilegeEscalation: false
appArmorProfile:
  type: Unconfined
capabilities:
  drop:
  - ALL
privileged: false
readOnlyRootFilesystem: true
runAsGroup: 0
runAsNonRoot: false
runAsUser: 0
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "cofferdam.host.volumeMounts" -}}
- mountPath: /run/cofferdam
  mountPropagation: HostToContainer
  name: run-cofferdam
- mountPath: /run/dbus
  mountPropagation: HostToContainer
  name: run-dbus
  readOnly: true
- mountPath: /run/systemd
  mountPropagation: HostToContainer
  name: run-systemd
  readOnly: true
{{- end }}
{{- define "cofferdam.host.volumes" -}}
- hostPath:
    path: /run/cofferdam
    type: DirectoryOrCreate
  name: run-cofferdam
- hostPath:
    path: /run/dbus
  name: run-dbus
- hostPath:
    path: /run/systemd
    type: Directory
  name: run-systemd
{{- end }}
