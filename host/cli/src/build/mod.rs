//! `wbuild build`: from settings to a result, and what is printed of it.

mod args;
mod contexts;
mod fields;
mod inputs;
mod not_built;
mod outputs;
mod problems;
mod registry;
mod settings;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_build::{BuildRequest, Built, Cancel, EpochRule, Wiring};
use wbuild_oci::Platform;
use wbuild_store::Store;

pub(crate) use args::BuildArgs;
pub(crate) use inputs::Source;
pub(crate) use settings::ProgressMode;
use settings::{Epoch, PrintId, Settings};

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::stdout_failure;
use crate::terminal::{Paint, Style};
use crate::{interrupt, location, progress};

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
    let settings = Settings::new(args, environment)?;
    let paint = Paint::for_stderr(environment);
    let source = inputs::dockerfile(&settings)?;
    let request = request(&settings, &source, environment)?;
    let root = location::find(settings.root.as_deref(), environment)?;
    let store = store(&root)?;
    let cancel = Cancel::default();
    interrupt::watch(cancel.clone())?;
    for note in &settings.notes {
        say(&settings, &format!("{} {note}", paint.of(Style::Warning, "note:")));
    }
    let wiring = Wiring {
        store,
        store_path: root,
        remote: Arc::new(registry::client(environment)?),
        engine: engine(),
        progress: progress::sink(settings.progress, paint, source.clone()),
        cancel,
    };
    let built = wbuild_build::build(&request, &wiring);
    // The view of a terminal ends before anything else is written.
    drop(wiring);
    let built = built.map_err(|error| problems::failure(&error, &source))?;
    write_files(&settings, &built)?;
    summary(&settings, &built, paint)
}

fn engine() -> Arc<dyn wbuild_monitor::Engine> {
    Arc::new(wbuild_native::NativeEngine::default())
}

/// Opens the store; the engine is given trees by path, so the path is absolute from here on.
fn store(root: &Path) -> Result<Store, Failure> {
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
        outputs: inputs::outputs(settings)?,
        hostname: hostname(settings)?,
        resolv_conf: inputs::resolv_conf(),
        journal_check: inputs::journal_check(environment)?,
    })
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
        let mut descriptor = built.manifest.clone();
        descriptor.platform = Some(built.platform.clone());
        let mut metadata = serde_json::Map::new();
        let mut put = |key: &str, value: serde_json::Value| metadata.insert(key.to_owned(), value);
        put("containerimage.config.digest", built.config.to_string().into());
        let descriptor = serde_json::to_value(&descriptor)
            .map_err(|error| Failure::new(Exit::Internal, format!("cannot write the metadata: {error}")))?;
        put("containerimage.descriptor", descriptor);
        put("containerimage.digest", built.manifest.digest.to_string().into());
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
        let warning =
            "the image stays in the store: give --push to push it, or -o type=oci,dest=FILE to write it";
        say(settings, &format!("{} {warning}", paint.of(Style::Warning, "warning:")));
    }
    for pushed in &built.pushed {
        say(settings, &format!("pushed {}@{}", pushed.reference, pushed.digest));
    }
    let names = match settings.tags.as_slice() {
        [] => "image".to_owned(),
        tags => tags.iter().map(wbuild_oci::Reference::familiar).collect::<Vec<_>>().join(", "),
    };
    say(settings, &format!("{} {names} {}", paint.of(Style::Good, "built"), built.manifest.digest));
    if settings.print_id == PrintId::Yes {
        writeln!(std::io::stdout().lock(), "{}", built.config).map_err(stdout_failure)?;
    }
    Ok(())
}
