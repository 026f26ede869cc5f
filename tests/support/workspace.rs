//! Where things are: the checkout, the cache beneath `target/`, scratch directories, the binary under test.

use crate::command::{self, command};
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    let told = || format!("cannot create {}", dir.display());
    fs::create_dir_all(&dir).with_context(told)?;
    // Several checkouts may share it by a link, and runc takes no root that is reached through one.
    Ok(fs::canonicalize(&dir).with_context(told)?.join(name))
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

    /// Makes every scratch directory from here on in this one, each in a block group of its own where the filesystem is ext4: ext4
    /// reuses no inode for minutes after its removal, so what ran before slows down what makes files where it was.
    pub fn hold_all(&self) -> Result<()> {
        // Another filesystem knows no such wish and needs none.
        let _spread = command::output("chattr", [OsStr::new("+T"), self.path().as_os_str()]);
        tempfile::env::override_temp_dir(self.path())
            .map_err(|dir| anyhow::anyhow!("temporary files already go to {}", dir.display()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A captured tree has directories that even their owner cannot enter; root needs no mode.
        if !is_root() {
            let _ = command::run(command(
                "chmod",
                [OsStr::new("-R"), OsStr::new("u+rwX"), self.path().as_os_str()],
            ));
        }
    }
}

/// Holds `NAME.lock` in the cache until dropped: two test binaries never make the same thing at once.
pub fn lock(name: &str) -> Result<File> {
    let path = cache(&format!("{name}.lock"))?;
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// What cargo makes of this checkout.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The binary `wbuild`.
    pub wbuild: PathBuf,
    /// The loader stub that it embeds, as a file of its own.
    pub stub: PathBuf,
}

/// How it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As the tests are.
    Dev,
    /// As it is used.
    Release,
}

/// Builds wbuild, if it has changed; `WBUILD_BIN` and `WBUILD_STUB` name files to use in its place.
pub fn artifacts(profile: Profile) -> Result<Artifacts> {
    let given = |name| std::env::var_os(name).map(PathBuf::from);
    if let (Some(wbuild), Some(stub)) = (given("WBUILD_BIN"), given("WBUILD_STUB")) {
        return Ok(Artifacts { wbuild, stub });
    }
    let release = if profile == Profile::Release { &["--release"][..] } else { &[] };
    let messages = cargo_build("wbuild", release)?;
    let (mut wbuild, mut stub) = (None, None);
    for message in messages {
        let id = message["package_id"].as_str().unwrap_or_default();
        if message["reason"] == "build-script-executed" && id.contains("/host/native#") {
            stub = message["out_dir"].as_str().map(|dir| Path::new(dir).join("stub"));
        }
        wbuild = executable(&message, "wbuild").or(wbuild);
    }
    let wbuild = wbuild.context("cargo built no executable wbuild")?;
    let stub = stub.filter(|stub| stub.is_file()).context("cargo built no stub")?;
    Ok(Artifacts { wbuild, stub })
}

/// Builds the runner of single steps (host/native/tests/support/step.rs), if it has changed; `WBUILD_STEP_BIN` names a file to use in its
/// place. It alone can take fences down.
pub fn step_runner() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    let path = match std::env::var_os("WBUILD_STEP_BIN") {
        Some(path) => path.into(),
        None => {
            let messages = cargo_build("wbuild_step", &["--package", "wbuild-native"])?;
            let found = messages.iter().find_map(|message| executable(message, "wbuild_step"));
            found.context("cargo built no executable wbuild_step")?
        }
    };
    *built = Some(path.clone());
    Ok(path)
}

fn executable(message: &serde_json::Value, name: &str) -> Option<PathBuf> {
    let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
}

/// Builds a binary of the workspace; what cargo told of it.
fn cargo_build(bin: &str, more: &[&str]) -> Result<Vec<serde_json::Value>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build =
        command(cargo, ["build", "--locked", "--bin", bin, "--message-format=json-render-diagnostics"]);
    build.current_dir(root()).args(more);
    // What the outer cargo told this program about its package would make build scripts run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            build.env_remove(&name);
        }
    }
    let messages = command::run(build)?.success()?.stdout;
    Ok(messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The binary under test, built once per test program.
pub fn wbuild() -> Result<PathBuf> {
    Ok(built()?.wbuild)
}

/// The artifacts under test, built once per test program.
pub fn built() -> Result<Artifacts> {
    built_as(Profile::Dev)
}

/// From now on the artifacts under test are release ones.
pub fn use_release() -> Result<()> {
    built_as(Profile::Release).map(|_| ())
}

/// What the first call built.
fn built_as(profile: Profile) -> Result<Artifacts> {
    static BUILT: Mutex<Option<Artifacts>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(artifacts) = &*built {
        return Ok(artifacts.clone());
    }
    let artifacts = artifacts(profile)?;
    *built = Some(artifacts.clone());
    Ok(artifacts)
}
