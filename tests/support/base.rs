//! Base images, made on this machine and kept beneath `target/`: busybox, and Debian by debootstrap.
//!
//! Debian's carries over what this machine's apt is configured with (sources of Debian, proxy, certificates), and
//! nothing else of the machine.

use crate::command::{self, command, output};
use crate::workspace::Scratch;
use crate::{layout, workspace};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The modification time of every entry of the busybox base: 2024-01-01.
const MTIME: u64 = 1_704_067_200;
/// Raise it when what this file makes changes, so that caches of older checkouts are not used.
const GENERATION: u32 = 2;

/// A base image: an OCI layout, and the same tree on disk as root sees it.
#[derive(Clone, Debug)]
pub struct Base {
    /// The OCI layout.
    pub layout: PathBuf,
    /// The only tag in it.
    pub tag: &'static str,
    /// The root directory that the layer was made of; absent for busybox.
    pub rootfs: Option<PathBuf>,
}

/// Debian's busybox-static with a link per applet and the files that a system has; needs no privilege.
pub fn busybox() -> Result<Base> {
    let dir = workspace::cache(&format!("busybox-{GENERATION}"))?;
    let base = Base { layout: dir.join("layout"), tag: "latest", rootfs: None };
    let _lock = workspace::lock("busybox")?;
    if dir.exists() {
        return Ok(base);
    }
    let making = remade(&dir)?;
    busybox_archive(&making.join("layer.tar"))?;
    let runtime = json!({ "Env": [PATH], "Cmd": ["sh"] });
    layout::write(&making.join("layout"), base.tag, &making.join("layer.tar"), &runtime)?;
    fs::rename(&making, &dir)?;
    Ok(base)
}

fn busybox_archive(path: &Path) -> Result<()> {
    let program = Path::new("/bin/busybox");
    let applets = output(program, ["--list"]).context("busybox-static is not installed")?;
    let mut tar = tar::Builder::new(File::create(path)?);
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(MTIME);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    let dirs = [
        ("bin", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("var", 0o755),
        ("var/tmp", 0o1777),
    ];
    for (name, mode) in dirs {
        tar.append_data(&mut header(tar::EntryType::Directory, mode, 0), format!("{name}/"), &[][..])?;
    }
    let size = fs::metadata(program)?.len();
    tar.append_data(&mut header(tar::EntryType::Regular, 0o755, size), "bin/busybox", File::open(program)?)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), format!("bin/{applet}"), "busybox")?;
    }
    let files = [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ];
    for (name, text) in files {
        tar.append_data(
            &mut header(tar::EntryType::Regular, 0o644, text.len() as u64),
            name,
            text.as_bytes(),
        )?;
    }
    tar.into_inner()?.sync_all()?;
    Ok(())
}

/// Debian's minbase of this machine's release, with this machine's apt configuration; needs root.
pub fn debian() -> Result<Base> {
    let dir = workspace::cache(&format!("debian-{GENERATION}"))?;
    let base = Base { layout: dir.join("layout"), tag: "latest", rootfs: Some(dir.join("rootfs")) };
    let _lock = workspace::lock("debian")?;
    if dir.exists() {
        return Ok(base);
    }
    ensure!(workspace::is_root(), "a Debian base image is made by debootstrap, which needs root");
    let making = remade(&dir)?;
    let rootfs = making.join("rootfs");
    let sources = sources()?;
    let main = sources.iter().find(|s| s.suite == sources[0].codename).context("apt lists no main suite")?;
    let arguments = ["--variant=minbase", &main.suite];
    let mut debootstrap = command("debootstrap", arguments);
    debootstrap.arg(&rootfs).arg(&main.uri).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command::run(debootstrap)?.success()?;
    carry_over(&rootfs, &sources)?;
    tidy_rootfs(&rootfs)?;
    pack(&rootfs, &making.join("layout"), base.tag, &carried_environment(&rootfs))?;
    fs::rename(&making, &dir)?;
    Ok(base)
}

/// Writes a root directory, as root sees it, as an image of one layer.
pub fn pack(rootfs: &Path, layout: &Path, tag: &str, environment: &[String]) -> Result<()> {
    let archive = Scratch::new("pack")?;
    let archive = archive.path().join("layer.tar");
    let mut tar = command(
        "tar",
        ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--sort=name", "--format=posix"],
    );
    tar.arg("-C").arg(rootfs).arg("-cf").arg(&archive).arg(".");
    command::run(tar)?.success()?;
    let mut env = vec![PATH.to_owned()];
    env.extend_from_slice(environment);
    layout::write(layout, tag, &archive, &json!({ "Env": env, "Cmd": ["bash"] }))
}

/// An empty `DIR.new`; what an interrupted run left there is removed.
fn remade(dir: &Path) -> Result<PathBuf> {
    let making = dir.with_extension("new");
    if making.exists() {
        fs::remove_dir_all(&making).with_context(|| format!("cannot remove {}", making.display()))?;
    }
    fs::create_dir_all(&making).with_context(|| format!("cannot create {}", making.display()))?;
    Ok(making)
}

/// One line of this machine's apt sources that comes from Debian.
struct Source {
    uri: String,
    suite: String,
    codename: String,
    component: String,
}

fn sources() -> Result<Vec<Source>> {
    let release = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no codename")?;
    let format = "$(CREATED_BY)|$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
    let listed = output("apt-get", ["indextargets", "--format", format])?;
    let mut sources = Vec::new();
    for line in listed.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        if let ["Packages", "Debian", uri, suite, component] = fields[..] {
            sources.push(Source {
                uri: uri.into(),
                suite: suite.into(),
                codename: codename.into(),
                component: component.into(),
            });
        }
    }
    if sources.is_empty() {
        bail!("apt knows no source of Debian's packages: run `apt-get update` first");
    }
    Ok(sources)
}

/// Writes the machine's sources, its plain `Acquire` settings and its certificates into the base.
fn carry_over(rootfs: &Path, sources: &[Source]) -> Result<()> {
    let mut list = String::new();
    for source in sources {
        writeln!(list, "deb {} {} {}", source.uri, source.suite, source.component)?;
    }
    fs::write(rootfs.join("etc/apt/sources.list"), list)?;
    let settings = output("apt-config", ["dump"])?;
    let carried =
        ["Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::Retries", "Acquire::Languages"];
    let settings: String = settings
        .lines()
        .filter(|line| carried.iter().any(|name| line.starts_with(name)) && !line.ends_with(" \"\";"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(rootfs.join("etc/apt/apt.conf.d/90machine"), settings)?;
    let bundle = Path::new("etc/ssl/certs/ca-certificates.crt");
    if Path::new("/").join(bundle).exists() {
        fs::create_dir_all(rootfs.join("etc/ssl/certs"))?;
        fs::copy(Path::new("/").join(bundle), rootfs.join(bundle))?;
    }
    let own = Path::new("usr/local/share/ca-certificates");
    if Path::new("/").join(own).is_dir() {
        fs::create_dir_all(rootfs.join(own))?;
        for entry in fs::read_dir(Path::new("/").join(own))? {
            let entry = entry?;
            fs::copy(entry.path(), rootfs.join(own).join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// The variables that tell this machine's programs about its proxy and its certificates, where they hold in the base.
fn carried_environment(rootfs: &Path) -> Vec<String> {
    let proxies = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
    let certificates = ["SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"];
    let given = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
    let proxies = proxies.iter().filter_map(|name| given(name));
    let certificates = certificates.iter().filter_map(|name| given(name));
    let certificates = certificates.filter(|(_, file)| rootfs.join(file.trim_start_matches('/')).is_file());
    proxies.chain(certificates).map(|(name, value)| format!("{name}={value}")).collect()
}

/// Takes away what debootstrap leaves of this machine and adds what container bases have: no daemon is started.
fn tidy_rootfs(rootfs: &Path) -> Result<()> {
    for name in ["var/cache/apt/archives", "var/lib/apt/lists", "var/log"] {
        for entry in fs::read_dir(rootfs.join(name))? {
            let path = entry?.path();
            if path.is_file() {
                fs::remove_file(path)?;
            }
        }
    }
    for name in ["etc/resolv.conf", "etc/hostname"] {
        fs::write(rootfs.join(name), "")?;
    }
    let policy = rootfs.join("usr/sbin/policy-rc.d");
    fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
