//! Platforms: `os/architecture[/variant]` (image-spec image-index.md; containerd's normalisation and order of
//! preference, which Docker and BuildKit share).
//!
//! What is parsed is normalised; what is compared is normalised first, so `aarch64` finds `arm64/v8`.

use crate::json;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A platform an image is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// GOOS, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// The Windows version.
    #[serde(
        default,
        rename = "os.version",
        deserialize_with = "json::null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Windows features.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "json::null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// The variant of the architecture, such as `v7`.
    #[serde(default, deserialize_with = "json::null_as_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A text that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed platform {0:?} (expected os/architecture[/variant], such as linux/amd64)")]
pub struct PlatformError(String);

const SYSTEMS: [&str; 14] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
];

impl Platform {
    /// `os/architecture`, normalised, without a variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), ..Self::default() }.normalised()
    }

    /// The platform wbuild itself runs on: the default of a build.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH)
    }

    /// The same platform under its usual name: `linux/x86_64` is `linux/amd64`, `arm64/v8` is `arm64`, `arm` is
    /// `arm/v7`.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        self.os = match self.os.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = self.variant.to_lowercase();
        let (architecture, variant) = match (self.architecture.to_lowercase().as_str(), variant.as_str()) {
            ("i386" | "x86", _) => ("386".to_owned(), String::new()),
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64".to_owned(), String::new()),
            ("x86_64" | "x86-64", other) => ("amd64".to_owned(), other.to_owned()),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64".to_owned(), String::new()),
            ("aarch64", other) => ("arm64".to_owned(), other.to_owned()),
            ("armhf", _) => ("arm".to_owned(), "v7".to_owned()),
            ("armel", _) => ("arm".to_owned(), "v6".to_owned()),
            ("arm", "" | "7") => ("arm".to_owned(), "v7".to_owned()),
            ("arm", number @ ("5" | "6" | "8")) => ("arm".to_owned(), format!("v{number}")),
            ("powerpc64le", other) => ("ppc64le".to_owned(), other.to_owned()),
            (architecture, other) => (architecture.to_owned(), other.to_owned()),
        };
        self.architecture = architecture;
        self.variant = variant;
        self
    }

    /// How well an image of platform `offered` suits this one: 0 is exact, larger is a worse fit, `None` cannot run.
    /// As containerd's `Only`: a Windows version that either names has to be the same up to the build; amd64/v3 also runs v2, v1 and 386; arm64 also runs 32-bit arm; arm/v7 runs v6 and v5.
    pub fn rank(&self, offered: &Self) -> Option<usize> {
        let offered = offered.clone().normalised();
        let wanted = self.clone().normalised();
        let suits = wanted.os != "windows" || same_build(&wanted.os_version, &offered.os_version);
        if wanted.os != offered.os || !suits {
            return None;
        }
        wanted.runnable().iter().position(|(architecture, variant)| {
            *architecture == offered.architecture && *variant == offered.variant
        })
    }

    /// Architectures and variants this (normalised) platform runs, best first.
    fn runnable(&self) -> Vec<(String, String)> {
        let level = |digits: &str| digits.strip_prefix('v').and_then(|number| number.parse::<u32>().ok());
        let arm = |from: u32| (5..=from).rev().map(|number| ("arm".to_owned(), format!("v{number}")));
        let mut list = vec![(self.architecture.clone(), self.variant.clone())];
        match self.architecture.as_str() {
            "amd64" => {
                let lower =
                    level(&self.variant).filter(|number| *number > 1).map_or(1, |number| number.min(9));
                list.extend((2..lower).rev().map(|number| ("amd64".to_owned(), format!("v{number}"))));
                list.push(("amd64".to_owned(), String::new()));
                list.push(("386".to_owned(), String::new()));
            }
            "arm64" => {
                list.push(("arm64".to_owned(), String::new()));
                list.extend(arm(8));
            }
            "arm" => list.extend(arm(level(&self.variant).map_or(4, |number| number.clamp(5, 9) - 1))),
            _ => {}
        }
        list
    }
}

/// Whether two Windows versions agree in major, minor and build number; one that is not given agrees with all.
fn same_build(wanted: &str, offered: &str) -> bool {
    let build = |version: &str| -> Vec<String> { version.split('.').take(3).map(str::to_owned).collect() };
    wanted.is_empty() || offered.is_empty() || build(wanted) == build(offered)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.os)?;
        if !self.os_version.is_empty() || !self.os_features.is_empty() {
            let features: String = self.os_features.iter().map(|feature| format!("+{feature}")).collect();
            write!(f, "({}{features})", self.os_version)?;
        }
        write!(f, "/{}", self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `os[(version[+feature..])]/architecture[/variant]`, or only an operating system or only an architecture, as containerd does;
    /// what is left out is the host's (`linux`, [`Platform::host`]).
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let malformed = || PlatformError(text.to_owned());
        let valid = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let (text, version) = match text.split_once('(') {
            None => (text.to_owned(), ""),
            Some((os, rest)) => {
                let (version, rest) = rest.split_once(')').ok_or_else(malformed)?;
                (format!("{os}{rest}"), version)
            }
        };
        let mut version = version.split('+');
        let os_version = version.next().unwrap_or_default();
        let os_features: Vec<&str> = version.collect();
        if !os_features.iter().all(valid) || !(os_version.is_empty() || valid(&os_version)) {
            return Err(malformed());
        }
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(valid) {
            return Err(malformed());
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [os] if SYSTEMS.contains(&os.to_lowercase().as_str()) => (*os, std::env::consts::ARCH, ""),
            [architecture] => ("linux", *architecture, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => return Err(malformed()),
        };
        let platform = Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os_version: os_version.to_owned(),
            os_features: os_features.into_iter().map(str::to_owned).collect(),
        };
        Ok(platform.normalised())
    }
}

#[cfg(test)]
mod tests;
