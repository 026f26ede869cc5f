//! Container engines' default seccomp profiles, resolved for a container without capabilities, as runc takes them.
//!
//! The profiles are committed data with their licences beside them: see `seccomp/NOTICE`.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// Whose default profile stands around the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Docker's.
    Moby,
    /// Podman's and CRI-O's: it allows `unshare`, `mount`, `setns`, `clone3`, `keyctl` and `pidfd_getfd`.
    ContainersCommon,
    /// containerd 1.6's (Debian 12), what many clusters' `RuntimeDefault` is; it allows `ptrace` and io_uring.
    Containerd16,
    /// containerd 1.7's.
    Containerd17,
    /// containerd 2's: io_uring is gone, `clone3` answers ENOSYS.
    Containerd2,
    /// None at all: only wbuild's own filter is left.
    Unconfined,
}

impl Profile {
    /// Every one of them.
    pub const ALL: [Self; 6] = [
        Self::Moby,
        Self::ContainersCommon,
        Self::Containerd16,
        Self::Containerd17,
        Self::Containerd2,
        Self::Unconfined,
    ];

    /// The `linux.seccomp` value of a runtime configuration; `None` where there is no filter.
    pub fn resolve(self) -> Result<Option<Value>> {
        let text = match self {
            Self::Moby => include_str!("seccomp/moby.json"),
            Self::ContainersCommon => include_str!("seccomp/containers-common.json"),
            Self::Containerd16 => include_str!("seccomp/containerd-1.6.json"),
            Self::Containerd17 => include_str!("seccomp/containerd-1.7.json"),
            Self::Containerd2 => include_str!("seccomp/containerd-2.json"),
            Self::Unconfined => return Ok(None),
        };
        let profile: Value = serde_json::from_str(text).with_context(|| format!("the profile {self:?}"))?;
        resolve(&profile).map(Some)
    }
}

/// Keeps the rules that apply on amd64 without any capability.
fn resolve(profile: &Value) -> Result<Value> {
    let rules = profile["syscalls"].as_array().context("a profile without syscalls")?;
    let names = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let ours =
        |arches: Vec<String>| arches.iter().any(|arch| ["amd64", "x32", "x86"].contains(&arch.as_str()));
    let applies = |rule: &&Value| {
        let needs_capability = !names(&rule["includes"]["caps"]).is_empty();
        let other_architecture =
            !names(&rule["includes"]["arches"]).is_empty() && !ours(names(&rule["includes"]["arches"]));
        !needs_capability
            && !other_architecture
            && !names(&rule["excludes"]["arches"]).contains(&"amd64".to_owned())
    };
    let kept = ["names", "action", "errnoRet", "args"];
    let calls: Vec<Value> = rules
        .iter()
        .filter(applies)
        .map(|rule| {
            let fields = kept.iter().filter(|key| !rule[**key].is_null() && rule[**key] != json!([]));
            Value::Object(fields.map(|key| ((*key).to_owned(), rule[*key].clone())).collect::<Map<_, _>>())
        })
        .collect();
    Ok(json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"].as_u64().unwrap_or(1),
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": calls,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(profile: Profile) -> Vec<String> {
        let resolved = profile.resolve().unwrap().unwrap();
        let calls = resolved["syscalls"].as_array().unwrap();
        let allowing = calls.iter().filter(|call| call["action"] == "SCMP_ACT_ALLOW");
        allowing
            .flat_map(|call| call["names"].as_array().unwrap())
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn rules_for_capabilities_are_left_out() {
        let moby = allowed(Profile::Moby);
        assert!(moby.contains(&"openat".to_owned()));
        assert!(!moby.contains(&"mount".to_owned()) && !moby.contains(&"io_uring_setup".to_owned()));
        assert!(allowed(Profile::ContainersCommon).contains(&"unshare".to_owned()));
        assert!(allowed(Profile::Containerd16).contains(&"io_uring_setup".to_owned()));
        assert!(!allowed(Profile::Containerd2).contains(&"io_uring_setup".to_owned()));
        assert_eq!(Profile::Unconfined.resolve().unwrap(), None);
    }
}
