//! The step of a tool's own tests, on targets that are not WebAssembly.
//!
//! Each thread has one of its own, so tests do not meet. Files are the real ones: give a tool a temporary directory.
//!
//! ```
//! use wbuild_step::{image, mock, secrets};
//!
//! fn tool() -> wbuild_step::Result {
//!     let token = secrets::get("token")?;
//!     image::set_label("length", &token.text()?.len().to_string())
//! }
//!
//! mock::set(mock::Mock::default().secret("token", "abc"));
//! tool().unwrap();
//! assert_eq!(mock::take().image, ["LABEL length=3"]);
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::context::Mount;
use crate::events::Level;

/// What a tool asks, and what it said.
#[derive(Clone, Debug)]
pub struct Mock {
    /// Answers [`crate::context::stage`].
    pub stage: String,
    /// Answers [`crate::context::target_platform`].
    pub target_platform: String,
    /// Answers [`crate::context::build_platform`].
    pub build_platform: String,
    /// Answers [`crate::context::mounts`].
    pub mounts: Vec<Mount>,
    /// Answers [`crate::secrets::get`].
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Lines and diagnostics, in order.
    pub lines: Vec<(Level, String)>,
    /// The last progress of each id: done, total.
    pub progress: BTreeMap<String, (u64, u64)>,
    /// Declared outputs.
    pub declared: Vec<String>,
    /// Attributes that were set, by path as given.
    pub files: BTreeMap<String, File>,
    /// Changes of the image as a Dockerfile would say them, in order.
    pub image: Vec<String>,
}

/// Attributes that were set of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Owner and group.
    pub owner: Option<(u32, u32)>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Modification time, in seconds since 1970.
    pub mtime: Option<i64>,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Default for Mock {
    fn default() -> Self {
        Self {
            stage: "0".to_owned(),
            target_platform: "linux/amd64".to_owned(),
            build_platform: "linux/amd64".to_owned(),
            mounts: Vec::new(),
            secrets: BTreeMap::new(),
            lines: Vec::new(),
            progress: BTreeMap::new(),
            declared: Vec::new(),
            files: BTreeMap::new(),
            image: Vec::new(),
        }
    }
}

impl Mock {
    /// With this secret.
    #[must_use]
    pub fn secret(mut self, id: &str, content: impl Into<Vec<u8>>) -> Self {
        self.secrets.insert(id.to_owned(), content.into());
        self
    }

    pub(crate) fn file(&mut self, path: String) -> &mut File {
        self.files.entry(path).or_default()
    }
}

thread_local! {
    static MOCK: RefCell<Mock> = RefCell::default();
}

/// The step of this thread from now on.
pub fn set(mock: Mock) {
    MOCK.set(mock);
}

/// What this thread's step has come to; a new one begins.
pub fn take() -> Mock {
    MOCK.take()
}

pub(crate) fn with<T>(use_it: impl FnOnce(&mut Mock) -> T) -> T {
    MOCK.with_borrow_mut(use_it)
}
