//! A step's key: a hash over everything that decides what the step makes.
//!
//! Every field is framed by its name, the number of its parts and the length of each, so that no two different inputs are the
//! same bytes; the version and the kind of step come first. The structs of the plan are taken apart by name: a field that
//! is added there does not compile here until someone has decided whether it is an input. What is no input:
//! names for display, the Dockerfile's position, proxy arguments, resolv.conf, times of the host, who builds.

use wbuild_layer::Timestamp;
use wbuild_monitor::{Limit, MtimeRule};
use wbuild_oci::{Digest, GitDir, GitSource, GitTimes, Hasher, Platform, Submodules};
use wbuild_plan::{
    Archive, Chmod, Clause, ConditionalExecute, Copy, CopyDest, CopyKind, CopySource, DestShape, Include,
    Link, Op, Perm, Run, RunFile, RunNetwork, UrlSource, Workdir,
};

/// Of the fields and of what they mean, the layers' format included: another number forgets every entry.
const VERSION: u64 = 1;

/// One field of a key, for explanations.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Input {
    /// `argument 2`, `variable PATH`, `parent`.
    pub(crate) name: String,
    /// The value, or its digest where it is long.
    pub(crate) value: String,
}

/// The key of one step with what went into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepKey {
    pub(crate) digest: Digest,
    pub(crate) inputs: Vec<Input>,
}

/// What decides the layer of any step.
#[derive(Clone, Debug)]
pub(crate) struct Common<'a> {
    /// The ChainID of the tree that the step finds.
    pub(crate) parent: Digest,
    /// What the stage is for.
    pub(crate) platform: &'a Platform,
    /// What happens to the times of what the step writes.
    pub(crate) mtimes: MtimeRule,
    /// How the layer is compressed: the format and the level.
    pub(crate) packing: &'a str,
}

/// What every RUN of a build is given by the command line.
#[derive(Clone, Debug)]
pub(crate) struct Given<'a> {
    pub(crate) hostname: &'a str,
    /// `--add-host`
    pub(crate) hosts: &'a [(String, String)],
    /// `--ulimit`
    pub(crate) limits: &'a [Limit],
    /// `--shm-size`
    pub(crate) shm_size: Option<u64>,
    /// What the policy says of the step: its fingerprint.
    pub(crate) policy: &'a str,
}

/// What a COPY takes its files from, as its key names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The selected files themselves.
    Content(Digest),
    /// The whole tree that they are selected from, by its ChainID: known without the tree.
    Tree(Digest),
}

/// The key of a RUN. `is_proxy` names the variables that are the build's proxy arguments; `mounted` has the files of each mount
/// that brings some.
pub(crate) fn run(
    common: &Common<'_>,
    run: &Run,
    mounted: &[Option<Origin>],
    given: &Given<'_>,
    is_proxy: &dyn Fn(&str) -> bool,
) -> StepKey {
    let mut key = Writer::new("run", common);
    let Run { argv, env, cwd, user, files, mounts, network } = run;
    key.list("argument", argv.iter().map(String::as_str));
    let variables = env.iter().filter(|entry| !is_proxy(name_of(entry)));
    key.count("variable", variables.clone().count());
    for entry in variables {
        key.named(format!("variable {}", name_of(entry)), entry, value_of(entry));
    }
    key.text("directory", cwd);
    key.text("user", user);
    let Given { hostname, hosts, limits, shm_size, policy } = given;
    key.text("policy", policy);
    key.text("host name", hostname);
    key.count("host", hosts.len());
    for (name, address) in *hosts {
        key.field("host", &[name.as_bytes(), address.as_bytes()], format!("{name}:{address}"));
    }
    key.count("limit", limits.len());
    for Limit { resource, soft, hard } in *limits {
        let text = format!("{resource:?} {soft:?} {hard:?}");
        key.field("limit", &[text.as_bytes()], text.clone());
    }
    let shm_size = shm_size.map(|size| size.to_string());
    key.optional("size of /dev/shm", shm_size.as_deref());
    key.count("file", files.len());
    for RunFile { name, content } in files {
        key.field("file", &[name.as_bytes(), content.as_bytes()], format!("{name}: {}", shown(content)));
    }
    key.count("mount", mounts.len());
    for (i, mount) in mounts.iter().enumerate() {
        let fields = mount.key_fields();
        let parts: Vec<&[u8]> = fields.iter().map(String::as_bytes).collect();
        key.field("mount", &parts, fields.join(" "));
        match mounted.get(i).copied().flatten() {
            Some(origin) => key.origin("files of the mount", origin),
            None => key.hash("files of the mount", &[]),
        }
    }
    let network = match network {
        RunNetwork::Default => "default",
        RunNetwork::None => "none",
    };
    key.text("network", network);
    key.finish()
}

/// The key of a COPY or an ADD.
pub(crate) fn copy(common: &Common<'_>, copy: &Copy, origin: Origin) -> StepKey {
    let mut key = Writer::new("copy", common);
    // Where the files come from says nothing that their content does not.
    let Copy { kind, from: _, sources, dest, chown, chmod, exclude, link } = copy;
    let kind = match kind {
        CopyKind::Copy => "copy",
        CopyKind::Add => "add",
    };
    key.text("instruction", kind);
    key.origin("files", origin);
    key.count("source", sources.len());
    for source in sources {
        match source {
            CopySource::Path { pattern, written: _, include: None } => {
                key.field("source", &[b"path", pattern.as_bytes()], pattern.clone());
            }
            CopySource::Path { pattern, written: _, include: Some(include) } => {
                let Include { pattern: beneath, presence: _ } = include;
                let parts = [&b"parents"[..], pattern.as_bytes(), beneath.as_bytes()];
                key.field("source", &parts, format!("{pattern}/./{beneath}"));
            }
            // Where it comes from says nothing that its content does not.
            CopySource::Url(UrlSource { name, archive, url: _, checksum: _ }) => {
                let archive = match archive {
                    Archive::Keep => "keep",
                    Archive::Unpack => "unpack",
                };
                key.field("source", &[b"url", name.as_bytes(), archive.as_bytes()], name.clone());
            }
            // Which commit it is stands with the files.
            CopySource::Git(git) => {
                let GitSource { subdir, git_dir, submodules, times, .. } = &**git;
                let kept = match git_dir {
                    Some(GitDir::Kept) => "with .git",
                    Some(GitDir::LeftOut) | None => "without .git",
                };
                let submodules = match submodules {
                    Submodules::Fetched => "with submodules",
                    Submodules::Empty => "without submodules",
                };
                let times = match times {
                    GitTimes::Commit => "times of the commit",
                    GitTimes::Checkout => "times of the checkout",
                };
                let parts = [
                    &b"git"[..],
                    subdir.as_bytes(),
                    kept.as_bytes(),
                    submodules.as_bytes(),
                    times.as_bytes(),
                ];
                key.field("source", &parts, git.to_string());
            }
            CopySource::Inline { name, content } => key.field(
                "source",
                &[b"inline", name.as_bytes(), content.as_bytes()],
                format!("{name}: {}", shown(content)),
            ),
        }
    }
    let CopyDest { path, shape } = dest;
    let shape = match shape {
        DestShape::Directory => "directory",
        DestShape::AsIs => "as it is",
    };
    key.field("destination", &[path.as_bytes(), shape.as_bytes()], path.clone());
    key.optional("owner", chown.as_deref());
    let chmod = chmod.as_ref().map(mode);
    key.optional("mode", chmod.as_deref());
    key.list("exclude", exclude.iter().map(String::as_str));
    if *link == Link::Layer {
        key.text("link", "layer");
    }
    key.finish()
}

/// The key of a WORKDIR.
pub(crate) fn workdir(common: &Common<'_>, workdir: &Workdir) -> StepKey {
    let mut key = Writer::new("workdir", common);
    let Workdir { path, owner } = workdir;
    key.text("path", path);
    key.text("owner", owner);
    key.finish()
}

fn mode(chmod: &Chmod) -> String {
    match chmod {
        Chmod::Octal(mode) => format!("{mode:o}"),
        Chmod::Symbolic(clauses) => {
            let clause = |Clause { who, op, perm }: &Clause| {
                let op = match op {
                    Op::Add => '+',
                    Op::Remove => '-',
                    Op::Set => '=',
                };
                let perm = match perm {
                    Perm::Bits { bits, execute: ConditionalExecute::No } => format!("{bits:o}"),
                    Perm::Bits { bits, execute: ConditionalExecute::Yes } => format!("{bits:o}X"),
                    Perm::CopyOf(class) => format!("copy {class}"),
                };
                format!("{who:o}{op}{perm}")
            };
            clauses.iter().map(clause).collect::<Vec<_>>().join(",")
        }
    }
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn value_of(entry: &str) -> String {
    shown(entry.split_once('=').map_or("", |(_, value)| value))
}

/// A value as an explanation shows it: long ones by their digest.
fn shown(value: &str) -> String {
    const LONGEST: usize = 120;
    if value.len() <= LONGEST && !value.contains('\n') {
        return value.to_owned();
    }
    format!("{} bytes, {}", value.len(), &Digest::of(value.as_bytes()).hex()[..12])
}

/// Hashes fields one after another.
struct Writer {
    hasher: Hasher,
    inputs: Vec<Input>,
}

impl Writer {
    fn new(kind: &'static str, common: &Common<'_>) -> Self {
        let mut writer = Self { hasher: Hasher::new(), inputs: Vec::new() };
        writer.hash("wbuild step", &[&VERSION.to_le_bytes(), kind.as_bytes()]);
        let Common { parent, platform, mtimes, packing } = common;
        writer.field("parent", &[parent.as_bytes()], parent.to_string());
        let Platform { architecture, os, variant, os_version, os_features } = platform;
        let mut parts =
            vec![os.as_bytes(), architecture.as_bytes(), variant.as_bytes(), os_version.as_bytes()];
        parts.extend(os_features.iter().map(String::as_bytes));
        writer.field("platform", &parts, platform.to_string());
        let (rule, Timestamp { seconds, nanoseconds }) = match mtimes {
            MtimeRule::Keep => ("as they are", Timestamp::default()),
            MtimeRule::SetTo(time) => ("set", *time),
            MtimeRule::NoLaterThan(time) => ("no later", *time),
        };
        let time: [&[u8]; 3] = [rule.as_bytes(), &seconds.to_le_bytes(), &nanoseconds.to_le_bytes()];
        writer.field("times", &time, format!("{rule} {seconds}"));
        writer.text("compression", packing);
        writer
    }

    fn hash(&mut self, name: &str, parts: &[&[u8]]) {
        let mut framed = |bytes: &[u8]| {
            self.hasher.update(&(bytes.len() as u64).to_le_bytes());
            self.hasher.update(bytes);
        };
        framed(name.as_bytes());
        framed(&(parts.len() as u64).to_le_bytes());
        parts.iter().for_each(|part| framed(part));
    }

    fn field(&mut self, name: &str, parts: &[&[u8]], shown: String) {
        self.hash(name, parts);
        self.inputs.push(Input { name: name.to_owned(), value: shown });
    }

    fn text(&mut self, name: &str, value: &str) {
        self.field(name, &[value.as_bytes()], shown(value));
    }

    /// As [`Writer::field`] for one whose name for display holds a value.
    fn named(&mut self, name: String, value: &str, shown: String) {
        self.hash("", &[value.as_bytes()]);
        self.inputs.push(Input { name, value: shown });
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.hash(name, &[]),
        }
    }

    fn origin(&mut self, name: &str, origin: Origin) {
        let (kind, digest) = match origin {
            Origin::Content(digest) => ("content", digest),
            Origin::Tree(digest) => ("tree", digest),
        };
        self.field(name, &[kind.as_bytes(), digest.as_bytes()], digest.to_string());
    }

    fn count(&mut self, name: &str, count: usize) {
        self.hash(name, &[&(count as u64).to_le_bytes()]);
    }

    fn list<'v>(&mut self, name: &str, values: impl ExactSizeIterator<Item = &'v str>) {
        self.count(name, values.len());
        for (i, value) in values.enumerate() {
            self.named(format!("{name} {i}"), value, shown(value));
        }
    }

    fn finish(self) -> StepKey {
        StepKey { digest: self.hasher.finish(), inputs: self.inputs }
    }
}

#[cfg(test)]
mod tests;
