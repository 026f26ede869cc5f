//! `wbuild build`: from settings to a result, and what is printed of it.

mod agents;
mod archives;
mod args;
mod attestations;
mod audit;
mod caches;
mod call;
mod called;
mod contexts;
mod denials;
mod destinations;
mod fields;
mod inputs;
mod load;
mod not_built;
mod outputs;
mod own_store;
mod problems;
mod run_flags;
mod settings;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_build::{BuildRequest, Built, Cancel, EpochRule, NoCache, Wiring};
use wbuild_oci::Platform;
use wbuild_policy::Ruleset;
use wbuild_registry::GitLogins;
use wbuild_store::Store;

pub(crate) use args::BuildArgs;
pub(crate) use contexts::{Selector, layout_of};
pub(crate) use denials::denied_lines;
pub(crate) use inputs::Source;
pub(crate) use problems::place;
pub(crate) use problems::{failure, remote_failure};
use settings::{Epoch, PrintId, Settings};
pub(crate) use settings::{ProgressMode, progress as progress_mode};

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::stdout_failure;
use crate::terminal::{Paint, Style};
use crate::{interrupt, location, progress, registry};

/// This machine's architecture in Go's names.
#[must_use]
pub(crate) fn host_architecture() -> String {
    Platform::host().architecture
}

/// Builds an image.
///
/// # Errors
/// The failure with its exit code.
pub(crate) fn run(args: &BuildArgs, environment: &Environment) -> Result<(), Failure> {
    let mut settings = Settings::new(args, environment)?;
    let paint = Paint::for_stderr(environment);
    let logins = settings.run.git_logins()?;
    let _unpacked = archives::unpack(args, &mut settings, environment, &logins)?;
    let source = inputs::dockerfile(&settings)?;
    let auditor = {
        use wbuild_build::EvidenceDetail::{Counts, Off};
        let least = if settings.attest.provenance.is_some() { Counts } else { Off };
        audit::Auditor::new(&settings.audit, least)?
    };
    let mut request = request(&settings, &source, environment)?;
    request.auditing = auditor.auditing();
    request.attest.provenance.clone_from(&settings.attest.provenance);
    for note in &settings.notes {
        say(&settings, &format!("{} {note}", paint.of(Style::Warning, "note:")));
    }
    let wiring = wire(args, &settings, &source, (environment, logins))?;
    if let Some(note) = own_store::hide(&wiring.store_path, &mut request)? {
        say(&settings, &format!("{} {note}", paint.of(Style::Warning, "note:")));
    }
    let named = wiring.store.clone();
    if let Some(answered) = settings.call.answer(&request, &wiring, &source) {
        return answered;
    }
    let built = wbuild_build::build(&request, &wiring);
    // The view of a terminal ends before anything else is written.
    drop(wiring);
    let built = built.map_err(|error| problems::failure(&error, &source))?;
    auditor.finish()?;
    if built.attested.is_some() && outputs_without_attestations(&settings) {
        say(
            &settings,
            "note: attestations are in the store, in OCI outputs and in registries; the other outputs have no place for them",
        );
    }
    for tag in &settings.tags {
        let named = named.name_image(tag, built.whole());
        named.map_err(|error| Failure::from_error(Exit::Host, &error))?;
    }
    write_files(&settings, &built)?;
    summary(&settings, &built, paint)
}

/// What a build works with.
fn wire(
    args: &BuildArgs,
    settings: &Settings,
    source: &Source,
    (environment, logins): (&Environment, GitLogins),
) -> Result<Wiring, Failure> {
    let root = location::find(settings.root.as_deref(), environment)?;
    let store = open_store(&root)?;
    let cancel = Cancel::default();
    interrupt::watch(cancel.clone())?;
    let client = registry::client_with(&args.registry, environment, logins)?;
    registry::log_in(&client, &settings.destinations()?)?;
    let engine = engine(store.clone(), inputs::accounting(environment)?);
    Ok(Wiring {
        store,
        store_path: root,
        remote: Arc::new(client),
        trees: settings.tree_sharing(),
        engine,
        progress: progress::sink(settings.progress, Paint::for_stderr(environment), source.clone()),
        cancel,
    })
}

/// Builds an image again, every step of it, and leaves it in the store.
///
/// # Errors
/// As [`run`].
pub(crate) fn rebuild(args: &BuildArgs, environment: &Environment) -> Result<Built, Failure> {
    let mut settings = Settings::new(args, environment)?;
    settings.no_cache = NoCache::Everywhere;
    let logins = settings.run.git_logins()?;
    let _unpacked = archives::unpack(args, &mut settings, environment, &logins)?;
    let source = inputs::dockerfile(&settings)?;
    let mut request = request(&settings, &source, environment)?;
    let wiring = wire(args, &settings, &source, (environment, logins))?;
    own_store::hide(&wiring.store_path, &mut request)?;
    wbuild_build::build(&request, &wiring).map_err(|error| problems::failure(&error, &source))
}

/// Which outputs a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destinations {
    /// Files and directories of any kind.
    Files,
    /// OCI layouts only: an index has no other form.
    Layouts,
}

/// The outputs of `-o` for an image that is there already.
///
/// # Errors
/// Exit 2: what [`outputs::parse`] refuses, and what only a build can do.
pub(crate) fn outputs(
    given: &[String],
    kinds: Destinations,
    environment: &Environment,
) -> Result<Vec<wbuild_build::Output>, Failure> {
    let read = outputs::parse(&outputs::Given { outputs: given, ..outputs::Given::default() })?;
    let changed =
        read.packing != outputs::parse(&outputs::Given::default())?.packing || !read.annotations.is_empty();
    if changed {
        return Err(Failure::usage("-o: an image that is there keeps its compression and annotations"));
    }
    for output in &read.list {
        let allowed = match output {
            outputs::Output::Registry(..) => false,
            outputs::Output::Layout(_) | outputs::Output::Archive(wbuild_build::Archive::Oci, _) => true,
            outputs::Output::Archive(..) | outputs::Output::Directory(_) => kinds == Destinations::Files,
        };
        if !allowed {
            return Err(Failure::usage("-o: this kind of output is not for this command").hint(
                match kinds {
                    Destinations::Files => "`wbuild push` pushes; oci, docker, tar and local write files",
                    Destinations::Layouts => {
                        "type=oci,dest=FILE and type=oci,tar=false,dest=DIR hold an index; --push pushes it"
                    }
                },
            ));
        }
    }
    destinations::open(&read.list, environment)
}

fn engine(store: Store, accounting: wbuild_native::Accounting) -> Arc<dyn wbuild_monitor::Engine> {
    let mut engine = wbuild_native::NativeEngine { accounting, ..Default::default() };
    engine.modules = Some(Arc::new(wbuild_wasi::CodeStore::new(store, engine.exe.clone())));
    Arc::new(engine)
}

/// Opens the store; the engine is given trees by path, so the path is absolute from here on.
pub(crate) fn open_store(root: &Path) -> Result<Store, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Host, format!("cannot open the store at {}: {error}", root.display()))
    };
    let dir = Dir::open_ambient_dir(root, ambient_authority()).map_err(failed)?;
    Store::open(&dir).map_err(|error| {
        let mut failure = Failure::from_error(Exit::Host, &error);
        failure.message = format!("cannot open the store at {}: {}", root.display(), failure.message);
        failure
    })
}

fn request(
    settings: &Settings,
    source: &inputs::Source,
    environment: &Environment,
) -> Result<BuildRequest, Failure> {
    Ok(BuildRequest {
        dockerfile: source.text.clone(),
        dockerfile_name: source.name.clone(),
        build_args: settings.build_args.clone(),
        target: settings.target.clone(),
        platform: settings.platform.clone(),
        build_platform: Platform::host(),
        labels: settings.labels.clone(),
        epoch: match settings.epoch {
            Epoch::Seconds(seconds) => EpochRule::Fixed(seconds),
            Epoch::FromBase => EpochRule::FromBase,
            Epoch::Now => EpochRule::Off,
        },
        context: inputs::context(settings)?,
        contexts: inputs::named_contexts(settings)?,
        tags: settings.tags.clone(),
        outputs: destinations::open(&settings.outputs, environment)?,
        packing: settings.packing,
        annotations: settings.annotations.clone(),
        hostname: hostname(settings)?,
        secrets: settings.run.read_secrets()?,
        agents: settings.run.open_agents()?,
        network: settings.run.network,
        extra_hosts: settings.run.hosts.clone(),
        limits: settings.run.limits.clone(),
        shm_size: settings.run.shm_size,
        resolv_conf: inputs::resolv_conf(),
        journal_check: inputs::journal_check(environment)?,
        no_cache: settings.no_cache.clone(),
        cache_rules: settings.cache_rules,
        materials: settings.materials.clone(),
        cache_from: caches::open(&settings.cache_from, |note| say(settings, &format!("note: {note}"))),
        cache_to: caches::create(&settings.cache_to)?,
        policy: Arc::new(policy(settings)?),
        auditing: wbuild_build::Auditing::default(),
        attest: wbuild_build::Attest::default(),
    })
}

/// Whether some output holds the image alone.
fn outputs_without_attestations(settings: &Settings) -> bool {
    use outputs::Output;
    use wbuild_build::{Archive, MediaTypes};
    settings.outputs.iter().any(|output| match output {
        Output::Archive(form, _) => *form != Archive::Oci,
        Output::Layout(_) => false,
        Output::Directory(_) => true,
        Output::Registry(_, types) => *types == MediaTypes::Docker,
    })
}

/// The policy that `--policy` names; without one everything is allowed.
fn policy(settings: &Settings) -> Result<Ruleset, Failure> {
    let Some(name) = &settings.policy else { return Ok(Ruleset::default()) };
    let mut rules = crate::policy::load(name)?;
    if let Some(mode) = settings.policy_mode {
        rules.set_mode(mode);
    }
    for lacking in crate::policy::meets(&rules)? {
        say(settings, &format!("warning: {lacking}"));
    }
    Ok(rules)
}

/// BuildKit's build argument for the host name of steps.
fn hostname(settings: &Settings) -> Result<String, Failure> {
    let argument = "BUILDKIT_SANDBOX_HOSTNAME";
    let Some(name) = settings.build_args.get(argument).filter(|name| !name.is_empty()) else {
        return Ok(wbuild_build::HOSTNAME.to_owned());
    };
    // What a host name may hold (man 7 hostname); Linux allows 64 bytes. It is written into /etc/hosts.
    let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if fits && name.len() <= 64 {
        Ok(name.clone())
    } else {
        Err(Failure::usage(format!("--build-arg {argument}={name} is not a host name")))
    }
}

/// A line for the user on standard error, unless the build is to be quiet.
fn say(settings: &Settings, line: &str) {
    if settings.progress != ProgressMode::Quiet {
        drop(writeln!(std::io::stderr().lock(), "{line}"));
    }
}

fn write_files(settings: &Settings, built: &Built) -> Result<(), Failure> {
    if let Some(path) = &settings.iidfile {
        inputs::write(path, built.config.to_string().as_bytes())?;
    }
    if let Some(path) = &settings.metadata_file {
        let mut descriptor = built.whole().clone();
        descriptor.platform = built.attested.is_none().then(|| built.platform.clone());
        let mut metadata = serde_json::Map::new();
        let mut put = |key: &str, value: serde_json::Value| metadata.insert(key.to_owned(), value);
        put("containerimage.config.digest", built.config.to_string().into());
        let descriptor = serde_json::to_value(&descriptor)
            .map_err(|error| Failure::new(Exit::Internal, format!("cannot write the metadata: {error}")))?;
        put("containerimage.descriptor", descriptor);
        put("containerimage.digest", built.whole().digest.to_string().into());
        if let Some(provenance) = &built.provenance {
            put("buildx.build.provenance", provenance.clone());
        }
        if !settings.tags.is_empty() {
            let names: Vec<String> = settings.tags.iter().map(ToString::to_string).collect();
            put("image.name", names.join(",").into());
        }
        let mut text = serde_json::to_string_pretty(&metadata)
            .map_err(|error| Failure::new(Exit::Internal, format!("cannot write the metadata: {error}")))?;
        text.push('\n');
        inputs::write(path, text.as_bytes())?;
    }
    Ok(())
}

fn summary(settings: &Settings, built: &Built, paint: Paint) -> Result<(), Failure> {
    if settings.outputs.is_empty() {
        let warning = "the image stays in the store: give --push or `wbuild push` to push it, or -o type=oci,dest=FILE to write it";
        say(settings, &format!("{} {warning}", paint.of(Style::Warning, "warning:")));
    }
    for pushed in &built.pushed {
        // The name by digest is what pins it.
        say(settings, &format!("pushed {}@{}", pushed.reference, pushed.digest));
    }
    let names = match settings.tags.as_slice() {
        [] => "image".to_owned(),
        tags => tags.iter().map(wbuild_oci::Reference::familiar).collect::<Vec<_>>().join(", "),
    };
    say(settings, &format!("{} {names} {}", paint.of(Style::Good, "built"), built.whole().digest));
    if settings.print_id == PrintId::Yes {
        writeln!(std::io::stdout().lock(), "{}", built.config).map_err(stdout_failure)?;
    }
    Ok(())
}
