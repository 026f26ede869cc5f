//! Image configs (image-spec config.md, with Docker's additions from moby/docker-image-spec).
//!
//! The text is BuildKit's to the byte: the outer keys sorted, `config` in the order of Docker's struct, empty
//! fields left out. Fields neither specification names are dropped on reading, as BuildKit drops them.

use crate::{Digest, DocumentError, Platform, Time, json};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An image config. Field order is the order on the wire: BuildKit sorts the outer keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// GOARCH, such as `amd64`.
    pub architecture: String,
    /// The author.
    #[serde(default, deserialize_with = "json::null_as_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// How to run the image.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub config: Execution,
    /// When the image was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// One entry for each instruction, oldest first.
    #[serde(default, deserialize_with = "json::null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// GOOS, such as `linux`.
    pub os: String,
    /// Windows features.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "json::null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// The Windows version.
    #[serde(
        default,
        rename = "os.version",
        deserialize_with = "json::null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// The layers.
    pub rootfs: RootFs,
    /// The variant of the architecture, such as `v7`.
    #[serde(default, deserialize_with = "json::null_as_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// How to run an image, and what a Dockerfile inherits from it. An empty list is the same as none, as in Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Execution {
    /// `user[:group]`, names or numbers.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol`.
    #[serde(with = "json::set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`, in order.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The entry point.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The default arguments, or the command where there is no entry point.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories that are volumes.
    #[serde(with = "json::set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// The working directory.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels, sorted by key.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops a container.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Windows: the command is already escaped. BuildKit sets it for shell-form commands, on Linux too.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// The health check; `None` inherits, `Test: ["NONE"]` turns it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions that run at the start of a stage built from this image.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// What runs shell-form instructions; empty is `/bin/sh -c`.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// A health check. Times are in nanoseconds; 0 is Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ..]` or `["CMD-SHELL", command]`.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long a start may take, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks during the start, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digests of the uncompressed layers, lowest first.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub diff_ids: Vec<Digest>,
}

/// What one instruction did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// The command, such as `RUN /bin/sh -c make # buildkit`.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// The author.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A comment, such as `buildkit.dockerfile.v0`.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The instruction made no layer.
    #[serde(deserialize_with = "json::null_as_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// The config of an image with nothing in it, as `FROM scratch` begins.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            author: String::new(),
            config: Execution::default(),
            created: None,
            history: Vec::new(),
            os: platform.os.clone(),
            os_features: platform.os_features.clone(),
            os_version: platform.os_version.clone(),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
            variant: platform.variant.clone(),
        }
    }

    /// Parses a config, OCI's or Docker's.
    ///
    /// # Errors
    /// [`DocumentError`] for malformed JSON or a rootfs that is not made of layers.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let config: Self = json::parse("image config", bytes)?;
        if config.rootfs.kind != "layers" {
            let why = format!("rootfs type {:?} is not \"layers\"", config.rootfs.kind);
            return Err(DocumentError::Shape { what: "image config", why });
        }
        Ok(config)
    }

    /// The document as BuildKit writes it: compact, no final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::compact(self)
    }

    /// The image's platform, normalised.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
        .normalised()
    }
}

#[cfg(test)]
mod tests;
