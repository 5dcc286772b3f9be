//! The pod and the container that the path of a cgroup names.

/// What a path says, in the form that Kubernetes's own metrics use. Empty: the path does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerPath {
    /// The UID of the pod.
    pub pod: String,
    /// The container's id, without the name of the runtime.
    pub container: String,
}

/// What runtimes put before the id in the name of a scope.
const RUNTIMES: [&str; 4] = ["cri-containerd-", "docker-", "crio-", "libpod-"];
/// The length of a container's id, in hexadecimal digits.
const ID: usize = 64;

impl ContainerPath {
    /// Reads a path of the v2 hierarchy, of kubelet's systemd driver or of its cgroupfs driver.
    pub fn read(path: &str) -> Self {
        let mut found = Self::default();
        for directory in path.split('/') {
            if let Some(pod) = pod(directory) {
                found.pod = pod;
            } else if let Some(id) = container(directory) {
                found.container = id.to_owned();
            }
        }
        found
    }
}

/// Returns the UID of the pod whose directory has this name: `kubepods-burstable-podUID.slice` by
/// systemd, `podUID` by cgroupfs. In the name of a slice, `-` stands for a level, so systemd has
/// `_` in the UID.
fn pod(directory: &str) -> Option<String> {
    let uid = match directory.strip_suffix(".slice") {
        Some(slice) => {
            let (parents, uid) = slice.rsplit_once("-pod")?;
            parents.contains("kubepods").then_some(uid)?
        }
        None => directory.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    // A static pod's has no dashes.
    let is_uid =
        matches!(uid.len(), 32 | 36) && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_uid.then_some(uid)
}

/// Returns the id of the container whose directory has this name.
fn container(directory: &str) -> Option<&str> {
    let name = directory.strip_suffix(".scope").unwrap_or(directory);
    let id = RUNTIMES
        .iter()
        .find_map(|runtime| name.strip_prefix(runtime))
        .unwrap_or(name);
    (id.len() == ID && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b0a2f4e-9a3c-4d1e-8f7a-5c6d7e8f9a0b";
    const SYSTEMD_UID: &str = "0b0a2f4e_9a3c_4d1e_8f7a_5c6d7e8f9a0b";
    const STATIC: &str = "3f2c8b1a9d7e6f5041c2b3a4958677e0";
    const CONTAINER: &str = "4d3c2b1a0f9e8d7c6b5a49382716f5e4d3c2b1a0f9e8d7c6b5a49382716f5e4d";

    #[test]
    fn paths_of_every_runtime_are_read() {
        for (path, pod, container) in [
            // kubelet's systemd driver.
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SYSTEMD_UID}.slice/cri-containerd-{CONTAINER}.scope"
                ),
                UID,
                CONTAINER,
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/crio-{CONTAINER}.scope/container"
                ),
                UID,
                CONTAINER,
            ),
            (
                format!(
                    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{SYSTEMD_UID}.slice/cri-containerd-{CONTAINER}.scope/init.scope"
                ),
                UID,
                CONTAINER,
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/docker-{CONTAINER}.scope"
                ),
                STATIC,
                CONTAINER,
            ),
            (
                format!("/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice"),
                UID,
                "",
            ),
            // kubelet's cgroupfs driver.
            (
                format!("/kubepods/burstable/pod{UID}/{CONTAINER}"),
                UID,
                CONTAINER,
            ),
            (format!("/kubepods/pod{UID}"), UID, ""),
            // Without Kubernetes.
            (
                format!("/system.slice/docker-{CONTAINER}.scope"),
                "",
                CONTAINER,
            ),
            (format!("/docker/{CONTAINER}"), "", CONTAINER),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{CONTAINER}.scope"
                ),
                "",
                CONTAINER,
            ),
        ] {
            let read = ContainerPath::read(&path);
            assert_eq!((&*read.pod, &*read.container), (pod, container), "{path}");
        }
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "/",
            "other",
            "unknown",
            "/system.slice/nginx.service",
            "/system.slice/podman.service",
            "/kubepods.slice/kubepods-burstable.slice",
            "/machine.slice/pods-pod1.slice",
            "/user.slice/deadbeef",
            &format!("/machine.slice/libpod-conmon-{CONTAINER}.scope"),
            &format!("/kubepods.slice/crio-conmon-{CONTAINER}.scope"),
        ] {
            assert_eq!(
                ContainerPath::read(path),
                ContainerPath::default(),
                "{path}"
            );
        }
    }
}
