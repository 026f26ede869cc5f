//! Where things are: the checkout, the cache beneath `target/`, scratch directories, the binary under test.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// `target/wbuild-tests/NAME`: what is expensive to make and stays between runs. Its parent exists.
pub fn cache(name: &str) -> Result<PathBuf> {
    let dir = target().join("wbuild-tests");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir.join(name))
}

/// Whether this process runs as root: the pod, debootstrap and chroot need it.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How large the N of a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Fits a run on every commit.
    Default,
    /// `cargo xtask soak`.
    Soak,
}

impl Scale {
    /// The scale of this run, from `WBUILD_TEST_SCALE`.
    pub fn of_this_run() -> Self {
        match std::env::var("WBUILD_TEST_SCALE").as_deref() {
            Ok("soak") => Self::Soak,
            _ => Self::Default,
        }
    }

    /// One of the two numbers.
    pub fn pick(self, default: u32, soak: u32) -> u32 {
        match self {
            Self::Default => default,
            Self::Soak => soak,
        }
    }
}

/// A directory that any user may enter and that is removed when this value is dropped.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new empty directory beneath the machine's temporary directory.
    pub fn new(label: &str) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("wbuild-{label}-"))
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .context("cannot create a temporary directory")?;
        Ok(Self(dir))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Holds `NAME.lock` in the cache until dropped: two test binaries never make the same thing at once.
pub fn lock(name: &str) -> Result<File> {
    let path = cache(&format!("{name}.lock"))?;
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The binary under test: `WBUILD_BIN`, or the `wbuild` that cargo put beside this test binary.
pub fn wbuild() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WBUILD_BIN") {
        return Ok(path.into());
    }
    let me = std::env::current_exe().context("cannot find this program")?;
    let beside = me.ancestors().skip(1).map(|dir| dir.join("wbuild")).take(2).find(|path| path.is_file());
    let Some(path) = beside else {
        bail!(
            "no wbuild beside {}: `cargo build --bin wbuild` makes it, `cargo xtask test` does so by itself",
            me.display()
        );
    };
    Ok(path)
}
