//! What an image is for: operating system, architecture, variant.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `linux/arm64/v8`, in Go's names (image-spec config.md).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64`, ..
    pub architecture: String,
    /// `v7`, ..; empty where there is none.
    pub variant: String,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}
