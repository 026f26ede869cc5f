//! What a build was asked to do, as objects: the second stage of the arguments.
//!
//! Everything that can be refused without reading a file or asking a registry is refused here.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use wbuild_build::{CacheRules, GitMaterial, NoCache, Packing, ReadSets, TreeSharing};
use wbuild_oci::{GitDir, GitSource, Platform, Reference};
use wbuild_policy::Mode;

use super::args::BuildArgs;
use super::attestations::AttestSettings;
use super::audit::AuditSettings;
use super::caches;
use super::call::Call;
use super::contexts::{self, NamedContext};
use super::outputs::{self, Destination, Given, Output};
use super::run_flags::RunSettings;
use crate::environment::Environment;
use crate::failure::Failure;

/// A build's settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the Dockerfile is.
    pub(crate) dockerfile: DockerfileFrom,
    /// The build context's directory.
    pub(crate) context: ContextFrom,
    /// The image's names.
    pub(crate) tags: Vec<Reference>,
    /// Values of ARGs.
    pub(crate) build_args: BTreeMap<String, String>,
    /// The stage to build.
    pub(crate) target: Option<String>,
    /// `--platform`.
    pub(crate) platform: Option<Platform>,
    /// Named contexts.
    pub(crate) contexts: BTreeMap<String, NamedContext>,
    /// Labels of the image.
    pub(crate) labels: BTreeMap<String, String>,
    /// Where the image goes.
    pub(crate) outputs: Vec<Output>,
    /// How new layers are compressed.
    pub(crate) packing: Packing,
    /// Annotations of the manifest.
    pub(crate) annotations: BTreeMap<String, String>,
    /// What times are held to.
    pub(crate) epoch: Epoch,
    /// How progress is shown.
    pub(crate) progress: ProgressMode,
    /// Whether the image's id goes to standard output.
    pub(crate) print_id: PrintId,
    /// `--metadata-file`.
    pub(crate) metadata_file: Option<PathBuf>,
    /// `--iidfile`.
    pub(crate) iidfile: Option<PathBuf>,
    /// `--root`.
    pub(crate) root: Option<PathBuf>,
    /// What steps are given and held to.
    pub(crate) run: RunSettings,
    /// What the user should hear of before the build begins.
    pub(crate) notes: Vec<String>,
    /// Which steps run though the cache knows them.
    pub(crate) no_cache: NoCache,
    pub(crate) cache_rules: CacheRules,
    /// Shared caches to read.
    pub(crate) cache_from: Vec<caches::Place>,
    /// Shared caches to write.
    pub(crate) cache_to: Vec<caches::To>,
    /// `--policy`
    pub(crate) policy: Option<String>,
    /// `--policy-mode`
    pub(crate) policy_mode: Option<Mode>,
    /// What is recorded of steps.
    pub(crate) audit: AuditSettings,
    /// What is attested.
    pub(crate) attest: AttestSettings,
    /// What is done.
    pub(crate) call: Call,
    /// The git commits that contexts are made of.
    pub(crate) materials: Vec<GitMaterial>,
}

/// Where the build context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContextFrom {
    /// A directory, or an archive of one.
    Directory(PathBuf),
    /// `-`: an archive, or a Dockerfile without a context.
    Stdin,
    /// An archive at a URL, or a Dockerfile.
    Url(String),
    /// A git repository.
    Git(Box<GitSource>),
    /// The directory that the files of a commit were put into. As in BuildKit, its `.dockerignore` hides nothing.
    Checkout(PathBuf),
}

impl ContextFrom {
    /// Its name for messages.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Directory(path) | Self::Checkout(path) => path.display().to_string(),
            Self::Git(source) => source.to_string(),
            Self::Stdin => "standard input".to_owned(),
            Self::Url(url) => url.clone(),
        }
    }
}

/// Where the Dockerfile is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DockerfileFrom {
    /// `-f -`.
    Stdin,
    /// `-f FILE`, or `PATH/Dockerfile`.
    File(PathBuf),
    /// A file of a context that was an archive.
    Within(PathBuf),
    /// What was given in place of a context.
    Text(Vec<u8>),
}

/// The build's epoch as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Epoch {
    /// `--timestamp SECONDS` or SOURCE_DATE_EPOCH.
    Seconds(i64),
    /// The base image's.
    FromBase,
    /// `--timestamp now`.
    Now,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    /// A line for each step and each line a step prints.
    Plain,
    /// A live view of the running steps.
    Tty,
    /// BuildKit's status messages, a JSON document a line.
    RawJson,
    /// Nothing but errors.
    Quiet,
}

/// Whether the image's id goes to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrintId {
    /// It does not.
    No,
    /// `-q`.
    Yes,
}

impl Settings {
    /// Reads the arguments and the environment.
    ///
    /// # Errors
    /// Exit 2 with what is wrong.
    pub(crate) fn new(args: &BuildArgs, environment: &Environment) -> Result<Self, Failure> {
        args.not_built.refuse()?;
        let outputs::Outputs { list: outputs, packing, annotations } = outputs::parse(&Given {
            outputs: &args.outputs,
            push: args.push == Some(true),
            load: args.load == Some(true),
            compression: args.compression.as_deref(),
            level: args.compression_level,
        })?;
        let annotations = self::annotations(annotations, &args.annotations)?;
        let tags = args.tags.iter().map(|text| reference(text, "-t")).collect::<Result<Vec<_>, _>>()?;
        names_to_push(&outputs, &tags)?;
        let build_args = build_args(&args.build_args, environment)?;
        let quiet = args.quiet == Some(true);
        if quiet && outputs.iter().any(|output| matches!(output, Output::Archive(_, Destination::Stdout))) {
            return Err(Failure::usage(
                "-q prints the image's id, so the archive cannot go to standard output",
            ));
        }
        let notes = Vec::new();
        Ok(Self {
            dockerfile: dockerfile(args)?,
            context: context(&args.path, &build_args)?,
            tags,
            epoch: epoch(args.timestamp.as_deref(), &build_args, environment)?,
            build_args,
            target: args.target.clone().filter(|target| !target.is_empty()),
            platform: args.platform.as_deref().map(platform).transpose()?,
            contexts: contexts::parse(&args.build_contexts)?,
            labels: labels(&args.labels)?,
            outputs,
            packing,
            annotations,
            progress: progress(&args.progress, quiet, environment)?,
            print_id: if quiet { PrintId::Yes } else { PrintId::No },
            metadata_file: args.metadata_file.clone(),
            iidfile: args.iidfile.clone(),
            root: args.root.clone(),
            run: RunSettings::new(&args.run, environment)?,
            notes,
            no_cache: no_cache(args),
            cache_rules: cache_rules(args)?,
            cache_from: caches::from(&args.cache_from)?,
            cache_to: caches::to(&args.cache_to)?,
            policy: args.policy.clone(),
            policy_mode: args.policy_mode.as_deref().map(policy_mode).transpose()?,
            audit: AuditSettings::new(args.audit.as_deref(), args.audit_files.as_deref())?,
            attest: AttestSettings::new(&args.attest, args.provenance.as_deref(), None)?,
            call: Call::new(args.check, args.call.as_deref())?,
            materials: Vec::new(),
        })
    }

    /// A Dockerfile under a policy is not trusted with files that other builds share.
    pub(crate) fn tree_sharing(&self) -> TreeSharing {
        match self.policy {
            Some(_) => TreeSharing::WithinBuild,
            None => TreeSharing::BetweenBuilds,
        }
    }
}

fn policy_mode(text: &str) -> Result<Mode, Failure> {
    match text {
        "enforce" => Ok(Mode::Enforce),
        "audit" => Ok(Mode::Audit),
        _ => Err(Failure::usage(format!("--policy-mode {text}: it is enforce or audit"))),
    }
}

fn cache_rules(args: &BuildArgs) -> Result<CacheRules, Failure> {
    let network_ttl = args.cache_network_ttl.as_deref().map(|text| {
        wbuild_build::lifetime(text).ok_or_else(|| {
            Failure::usage(format!("--cache-network-ttl {text}: it is no duration"))
                .hint("90s, 30m, 12h, 7d, 2w")
        })
    });
    let verify = args.cache_verify.as_deref().map(|text| {
        let number = text.strip_suffix('%').unwrap_or(text).parse::<u8>().ok();
        number
            .filter(|number| *number <= 100)
            .ok_or_else(|| Failure::usage(format!("--cache-verify {text}: it is no number from 0% to 100%")))
    });
    Ok(CacheRules {
        network_ttl: network_ttl.transpose()?,
        verify_percent: verify.transpose()?.unwrap_or_default(),
        read_sets: if args.cache_read_sets == Some(false) { ReadSets::Off } else { ReadSets::Used },
    })
}

fn no_cache(args: &BuildArgs) -> NoCache {
    let stages: std::collections::BTreeSet<String> =
        args.no_cache_filter.iter().filter(|name| !name.is_empty()).cloned().collect();
    match (args.no_cache, stages) {
        (Some(true), _) => NoCache::Everywhere,
        (_, stages) if stages.is_empty() => NoCache::Nowhere,
        (_, stages) => NoCache::Stages(stages),
    }
}

impl Settings {
    /// Every name under which the image is pushed.
    ///
    /// # Errors
    /// Exit 2 for a name that is none.
    pub(crate) fn destinations(&self) -> Result<Vec<Reference>, Failure> {
        let mut names = Vec::new();
        for output in &self.outputs {
            let Output::Registry(more, _) = output else { continue };
            names.extend(self.tags.iter().cloned());
            for name in more {
                names.push(reference(name, "-o type=registry,name=")?);
            }
        }
        Ok(names)
    }
}

/// Reads an image's name that a flag gives.
pub(super) fn reference(text: &str, flag: &str) -> Result<Reference, Failure> {
    let reference: Reference =
        text.parse().map_err(|error| Failure::usage(format!("{flag} {text}: {error}")))?;
    if reference.digest().is_some() {
        return Err(Failure::usage(format!("{flag} {text}: a name to write to cannot have a digest")));
    }
    Ok(reference)
}

fn names_to_push(outputs: &[Output], tags: &[Reference]) -> Result<(), Failure> {
    for output in outputs {
        let Output::Registry(names, _) = output else { continue };
        if names.is_empty() && tags.is_empty() {
            return Err(Failure::usage("nothing says where to push to").hint("give the image a name with -t"));
        }
        for name in names {
            reference(name, "-o type=registry,name=")?;
        }
    }
    Ok(())
}

fn dockerfile(args: &BuildArgs) -> Result<DockerfileFrom, Failure> {
    match &args.file {
        None => Ok(DockerfileFrom::File(PathBuf::from(&args.path).join("Dockerfile"))),
        Some(file) if file.as_os_str() == "-" => Ok(DockerfileFrom::Stdin),
        Some(file) if file.as_os_str().is_empty() => Err(Failure::usage("-f names no file")),
        Some(file) => Ok(DockerfileFrom::File(file.clone())),
    }
}

fn context(path: &str, build_args: &BTreeMap<String, String>) -> Result<ContextFrom, Failure> {
    if let Some(mut source) = git(path, "the build context")? {
        let keep = build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").map(String::as_str);
        if matches!(keep, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) {
            source.git_dir = Some(GitDir::Kept);
        }
        return Ok(ContextFrom::Git(Box::new(source)));
    }
    match path {
        "" => Err(Failure::usage("PATH is empty").hint("`.` is the current directory")),
        "-" => Ok(ContextFrom::Stdin),
        _ if path.contains("://") => url(path).map(ContextFrom::Url),
        _ => Ok(ContextFrom::Directory(PathBuf::from(path))),
    }
}

/// A context that is a git repository, as BuildKit tells it; `None` for any other.
///
/// # Errors
/// Exit 2: a repository that cannot be named or reached so.
pub(super) fn git(text: &str, what: &str) -> Result<Option<GitSource>, Failure> {
    let Some(parsed) = GitSource::parse_context(text) else { return Ok(None) };
    let source = parsed.map_err(|error| Failure::usage(format!("{what}: {error}")))?;
    match source.unreachable() {
        None => Ok(Some(source)),
        Some(why) => Err(Failure::usage(format!("{what} {source}: {why}"))
            .hint("give its https:// URL, with --secret id=GIT_AUTH_TOKEN,env=VARIABLE if it wants a login")),
    }
}

/// A URL that a context may be downloaded from.
pub(super) fn url(text: &str) -> Result<String, Failure> {
    let host = |rest: &str| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default().to_owned(),
            None => authority.split(':').next().unwrap_or_default().to_owned(),
        }
    };
    let is_loopback = |host: &str| {
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    match text.split_once("://") {
        Some(("https", _)) => Ok(text.to_owned()),
        Some(("http", rest)) if is_loopback(&host(rest)) => Ok(text.to_owned()),
        Some(("http", _)) => Err(Failure::usage(format!("{text}: plain HTTP is used only on loopback"))
            .hint("https://; what comes over plain HTTP could be anybody's")),
        _ => Err(Failure::usage(format!("{text}: this kind of source is unknown"))
            .hint("a directory, a tar, https:// and - are known")),
    }
}

fn build_args(given: &[String], environment: &Environment) -> Result<BTreeMap<String, String>, Failure> {
    let mut values = BTreeMap::new();
    for text in given {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_str(), environment.text(text)),
        };
        if name.is_empty() {
            return Err(Failure::usage(format!("--build-arg {text:?} has no name")));
        }
        // As Docker: a name alone that the environment does not know leaves the Dockerfile's default.
        if let Some(value) = value {
            values.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(values)
}

/// `[manifest:]KEY=VALUE`, the flag before what an output says.
fn annotations(
    mut annotations: BTreeMap<String, String>,
    given: &[String],
) -> Result<BTreeMap<String, String>, Failure> {
    for text in given {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Failure::usage(format!("--annotation {text:?} is not of the form KEY=VALUE")))?;
        let key = match key.split_once(':') {
            None => key,
            Some(("manifest", key)) if !key.is_empty() => key,
            Some((level, _)) => {
                return Err(Failure::usage(format!("--annotation {text}: {level} is not built yet"))
                    .hint("a build makes one manifest, and annotations go to it; `wbuild index create` makes an index"));
            }
        };
        annotations.insert(key.to_owned(), value.to_owned());
    }
    Ok(annotations)
}

fn labels(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for text in given {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(Failure::usage(format!("--label {text:?} has no name")));
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(labels)
}

fn platform(text: &str) -> Result<Platform, Failure> {
    if text.contains(',') {
        return Err(Failure::usage(format!(
            "--platform {text}: several platforms in one build are not built yet"
        ))
        .hint("build each platform by itself"));
    }
    text.parse().map_err(|error| Failure::usage(format!("--platform {text}: {error}")))
}

fn epoch(
    timestamp: Option<&str>,
    build_args: &BTreeMap<String, String>,
    environment: &Environment,
) -> Result<Epoch, Failure> {
    let seconds = |text: &str, by: &str| {
        text.parse::<i64>()
            .ok()
            .filter(|seconds| *seconds >= 0)
            .map(Epoch::Seconds)
            .ok_or_else(|| Failure::usage(format!("{by}={text} is not a number of seconds since 1970")))
    };
    match timestamp {
        Some("now") => Ok(Epoch::Now),
        Some(text) => seconds(text, "--timestamp"),
        None => {
            let name = "SOURCE_DATE_EPOCH";
            match build_args.get(name).map(String::as_str).or_else(|| environment.text(name)) {
                Some(text) if !text.is_empty() => seconds(text, name),
                _ => Ok(Epoch::FromBase),
            }
        }
    }
}

/// Reads `--progress` and `-q`.
///
/// # Errors
/// Exit 2 for a mode that does not exist, or a terminal that is none.
pub(crate) fn progress(mode: &str, quiet: bool, environment: &Environment) -> Result<ProgressMode, Failure> {
    let terminal = std::io::stderr().is_terminal() && environment.text("TERM") != Some("dumb");
    let mode = match mode {
        "auto" if terminal => ProgressMode::Tty,
        "auto" | "plain" => ProgressMode::Plain,
        "tty" if terminal => ProgressMode::Tty,
        "tty" => return Err(Failure::usage("--progress tty: standard error is not a terminal")),
        "quiet" | "none" => ProgressMode::Quiet,
        "rawjson" => ProgressMode::RawJson,
        _ => {
            return Err(Failure::usage(format!("--progress {mode} is unknown"))
                .hint("modes are auto, plain, tty, rawjson and quiet"));
        }
    };
    Ok(if quiet { ProgressMode::Quiet } else { mode })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn settings(args: &[&str], environment: &[(&str, &str)]) -> Result<Settings, Failure> {
        let cli = Cli::try_parse_from(["wbuild", "build"].iter().chain(args)).unwrap();
        let Command::Build(args) = cli.command else { unreachable!() };
        Settings::new(&args, &environment.iter().copied().collect())
    }

    fn refused(args: &[&str]) -> String {
        let failure = settings(args, &[]).unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
        failure.message.clone()
    }

    #[test]
    fn build_args_come_from_the_line_or_the_environment() {
        let args = ["--build-arg", "A=1=2", "--build-arg", "B", "--build-arg", "C", "--build-arg", "D=", "."];
        let built = settings(&args, &[("B", "from env")]).unwrap().build_args;
        let expected = [("A", "1=2"), ("B", "from env"), ("D", "")];
        assert_eq!(built, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn the_epoch_is_the_flag_then_the_argument_then_the_environment() {
        let env = [("SOURCE_DATE_EPOCH", "7")];
        let epoch = |args: &[&str], env: &[(&str, &str)]| settings(args, env).unwrap().epoch;
        assert_eq!(epoch(&["."], &[]), Epoch::FromBase);
        assert_eq!(epoch(&["."], &env), Epoch::Seconds(7));
        assert_eq!(epoch(&["--build-arg", "SOURCE_DATE_EPOCH=8", "."], &env), Epoch::Seconds(8));
        assert_eq!(epoch(&["--timestamp", "now", "."], &env), Epoch::Now);
        assert_eq!(epoch(&["--timestamp=9", "."], &env), Epoch::Seconds(9));
        assert!(settings(&["."], &[("SOURCE_DATE_EPOCH", "yesterday")]).is_err());
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        for args in [
            &["--annotation", "index:a=b", "."][..],
            &["--cache-from", "type=gha", "."],
            &["--platform", "linux/amd64,linux/arm64", "."],
        ] {
            let message = refused(args);
            assert!(message.contains("not built yet"), "{args:?}: {message}");
        }
    }

    #[test]
    fn a_push_needs_a_name_without_digest() {
        assert!(refused(&["--push", "."]).contains("where to push"));
        assert!(refused(&["-t", "UPPER", "."]).contains("-t UPPER"));
        let digest = format!("a@sha256:{}", "0".repeat(64));
        assert!(refused(&["-t", &digest, "."]).contains("digest"));
        assert_eq!(
            settings(&["-t", "a", "--push", "."], &[]).unwrap().outputs,
            [Output::Registry(vec![], wbuild_build::MediaTypes::Oci)]
        );
        assert!(settings(&["--push=false", "."], &[]).unwrap().outputs.is_empty());
    }

    #[test]
    fn a_context_is_a_directory_standard_input_or_a_url() {
        let context = |path: &str| settings(&[path], &[]).map(|settings| settings.context);
        assert_eq!(context("ctx.tar").unwrap(), ContextFrom::Directory("ctx.tar".into()));
        assert_eq!(context("-").unwrap(), ContextFrom::Stdin);
        let url = "https://example.org/ctx.tar.gz?x=1";
        assert_eq!(context(url).unwrap(), ContextFrom::Url(url.to_owned()));
        assert!(context("http://127.0.0.1:8000/ctx.tar").is_ok());
        assert!(context("http://[::1]/ctx.tar").is_ok());
        assert!(refused(&["http://example.org/ctx.tar"]).contains("loopback"));
        assert!(refused(&["http://127.0.0.1.test/ctx.tar"]).contains("loopback"));
        assert!(refused(&["ftp://example.org/ctx.tar"]).contains("unknown"));
    }

    #[test]
    fn a_context_may_be_a_git_repository() {
        let git = |args: &[&str]| match settings(args, &[]).unwrap().context {
            ContextFrom::Git(source) => *source,
            other => panic!("{other:?}"),
        };
        let source = git(&["https://user:hunter2@example.org/x.git#main:sub"]);
        assert_eq!(
            (source.to_string().as_str(), source.git_dir),
            ("https://example.org/x.git#main:sub", None)
        );
        let kept = git(&["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", "github.com/user/repo"]);
        assert_eq!(
            (kept.remote.as_str(), kept.git_dir),
            ("https://github.com/user/repo", Some(GitDir::Kept))
        );
        for (path, why) in [
            ("git@example.org:x/y", "does not speak ssh"),
            ("ssh://git@example.org/x/y.git", "does not speak ssh"),
            ("git://example.org/x.git", "git:// says neither"),
            ("https://example.org/x.git?nonsense=1", "unexpected query"),
            ("https://example.org/x.git?ref=a#b", "ref conflicts"),
        ] {
            let message = refused(&[path]);
            assert!(message.contains(why), "{path}: {message}");
        }
    }

    #[test]
    fn the_dockerfile_lies_in_the_context_unless_named() {
        assert_eq!(
            settings(&["ctx"], &[]).unwrap().dockerfile,
            DockerfileFrom::File("ctx/Dockerfile".into())
        );
        assert_eq!(settings(&["-f", "x", "ctx"], &[]).unwrap().dockerfile, DockerfileFrom::File("x".into()));
        assert_eq!(settings(&["-f", "-", "ctx"], &[]).unwrap().dockerfile, DockerfileFrom::Stdin);
    }

    #[test]
    fn the_last_of_a_repeated_flag_wins_and_lists_grow() {
        let built = settings(&["--target", "a", "--target", "b", "-t", "x", "-t", "y", "."], &[]).unwrap();
        assert_eq!(built.target.as_deref(), Some("b"));
        assert_eq!(built.tags.len(), 2);
    }

    #[test]
    fn steps_are_kept_from_the_cache_as_asked() {
        let no_cache = |args: &[&str]| settings(args, &[]).unwrap().no_cache;
        let stages = |names: &[&str]| NoCache::Stages(names.iter().map(|n| (*n).to_owned()).collect());
        assert_eq!(no_cache(&["."]), NoCache::Nowhere);
        assert_eq!(no_cache(&["--no-cache=false", "."]), NoCache::Nowhere);
        assert_eq!(no_cache(&["--no-cache", "."]), NoCache::Everywhere);
        assert_eq!(
            no_cache(&["--no-cache-filter", "a,b", "--no-cache-filter", "c", "."]),
            stages(&["a", "b", "c"])
        );
        assert_eq!(no_cache(&["--no-cache", "--no-cache-filter", "a", "."]), NoCache::Everywhere);
        let rules = |args: &[&str]| settings(args, &[]).map(|settings| settings.cache_rules);
        assert_eq!(rules(&["."]).unwrap(), CacheRules::default());
        let given = rules(&["--cache-network-ttl=2h", "--cache-verify=5%", "."]).unwrap();
        assert_eq!((given.network_ttl.unwrap().as_secs(), given.verify_percent), (7_200, 5));
        assert!(rules(&["--cache-verify=101%", "."]).is_err());
        assert!(rules(&["--cache-network-ttl=soon", "."]).is_err());
    }
}
