//! The whole of a build: resolve, plan, solve, write the image, export it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wbuild_dockerfile::Dockerfile;
use wbuild_oci::{Descriptor, Platform};
use wbuild_plan::{ContextKind, Request, Wanted};

use crate::attest::{self, Facts, Material, Predicate};
use crate::cache::{Imported, NoCache, StepCache};
use crate::epoch::Times;
use crate::error::BuildError;
use crate::evidence::{self, AuditLine, Ledger};
use crate::export::export;
use crate::images::ImageSet;
use crate::permission::Permission;
use crate::progress::Reporter;
use crate::request::{BuildRequest, Built, NamedContext, Wiring};
use crate::shared_cache::SharedCaches;
use crate::solve::Solver;

/// Builds an image.
///
/// # Errors
/// See [`BuildError`]. Trees and scratch directories are gone in any case; blobs of steps that were done stay.
pub fn build(request: &BuildRequest, wiring: &Wiring) -> Result<Built, BuildError> {
    let reporter = Reporter::new(Arc::clone(&wiring.progress));
    let ledger = Ledger::new(&request.auditing);
    ledger.say(&first_line(request));
    let built = again(request, wiring, &reporter, &ledger);
    ledger.say(&match &built {
        Ok(built) => AuditLine::End { result: "built", manifest: Some(built.whole().digest), error: None },
        Err(error) => {
            let error = ledger.without_arguments(&error.to_string(), &request.build_args);
            AuditLine::End { result: "failed", manifest: None, error: Some(error) }
        }
    });
    built
}

/// The first line of an audit.
fn first_line(request: &BuildRequest) -> AuditLine {
    AuditLine::Build {
        schema: AuditLine::SCHEMA,
        builder: format!("wbuild {}", env!("CARGO_PKG_VERSION")),
        started: evidence::time(seconds_now()),
        dockerfile: request.dockerfile_name.clone(),
        dockerfile_digest: wbuild_oci::Digest::of(&request.dockerfile),
        target: request.target.clone(),
        policy: evidence::used_policy(&request.policy),
    }
}

/// Seconds since 1970.
fn seconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

/// A try with the shared caches, and one without them where they did not keep their word.
fn again(
    request: &BuildRequest,
    wiring: &Wiring,
    reporter: &Reporter,
    ledger: &Ledger,
) -> Result<Built, BuildError> {
    if let Some(built) = attempt(request, wiring, reporter, ledger, SharedReading::All)? {
        return Ok(built);
    }
    reporter.warn(
        None,
        "a cache did not give a layer that it lists: the build begins again without --cache-from",
    );
    attempt(request, wiring, reporter, ledger, SharedReading::Nothing)?
        .ok_or(BuildError::Unplanned { what: "a layer of a cache" })
}

/// Whether shared caches are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SharedReading {
    All,
    Nothing,
}

/// One try to build; `None` where a shared cache did not give what it promised.
fn attempt(
    request: &BuildRequest,
    wiring: &Wiring,
    reporter: &Reporter,
    ledger: &Ledger,
    reading: SharedReading,
) -> Result<Option<Built>, BuildError> {
    // The first failure ends the other stages, and only them.
    let wiring = &Wiring { cancel: wiring.cancel.child(), ..wiring.clone() };
    let running =
        reporter.start(&format!("[internal] load build definition from {}", request.dockerfile_name));
    let file = wbuild_dockerfile::parse(&request.dockerfile)?;
    running.done();
    let permission = Permission { rules: &request.policy, reporter };
    permission.before(&file, request)?;
    let asked = plan_request(request);
    let mut images = ImageSet::new(
        &wiring.store,
        Arc::clone(&wiring.remote),
        &request.contexts,
        reporter,
        &wiring.cancel,
        &request.policy,
    );
    loop {
        let wanted = wbuild_plan::sources(&file, &asked, &images.configs())?;
        if wanted.is_empty() {
            break;
        }
        permission.images(&wanted)?;
        images.resolve(wanted.clone())?;
        for Wanted { image, span } in &wanted {
            let config = images.get(image).map(|resolved| &resolved.image.config);
            config.map_or(Ok(()), |config| permission.triggers(*span, config))?;
        }
    }
    let plan = wbuild_plan::plan(&file, &asked, &images.configs())?;
    permission.planned(&plan)?;
    for warning in &plan.warnings {
        reporter.warn(warning.span, &warning.message);
    }
    for finding in &plan.findings {
        reporter.warn(Some(finding.span), &format!("{}: {}", finding.rule.name, finding.detail));
    }
    warn_of_unknown_stages(request, &file, reporter);
    let now = seconds_now();
    let shared = SharedCaches { request, store: &wiring.store, images: &images, reporter };
    let imported = if reading == SharedReading::All { shared.import() } else { Imported::default() };
    let cache = StepCache::new(&wiring.store, request.no_cache.clone(), imported);
    let solver = Solver::new(request, wiring, reporter, &plan, (&cache, &shared), (ledger, now));
    let solved = solver.solve();
    // What was learnt of files is true whatever became of the build, whose failure is the one to report.
    let saved = cache.save(&request.dockerfile_name, now);
    if cache.has_lost() && solved.is_err() && reading == SharedReading::All {
        return Ok(None);
    }
    let (target, growing) = solved?;
    saved?;
    permission.made(&growing)?;
    let running = reporter.start("exporting to image");
    let times = Times::new(target.epoch, now);
    let image = growing.clone().with_a_layer(&wiring.store, request.packing, times.created())?;
    let (manifest, config) = image.write(
        &wiring.store,
        &target.config,
        target.author.as_deref(),
        times.created(),
        &request.annotations,
    )?;
    running.note(&format!("manifest {}", manifest.digest));
    running.note(&format!("config {}", config.digest));
    running.done();
    let BuildRequest { tags, outputs, .. } = request;
    let platform = growing.platform();
    let (attested, provenance) =
        attested(request, wiring, reporter, ledger, &images, (&manifest, &platform), now)?;
    let whole = attested.as_ref().unwrap_or(&manifest);
    let pushed = export(&wiring.store, &images, reporter, (&manifest, whole), tags, outputs)?;
    shared.export(&cache, &growing)?;
    let mut materials = request.materials.clone();
    materials.extend(images.materials());
    materials.sort();
    materials.dedup();
    Ok(Some(Built { materials, manifest, attested, provenance, config: config.digest, platform, pushed }))
}

/// The image's attestations, where they are asked for: the index that holds them, and the predicate of its provenance.
fn attested(
    request: &BuildRequest,
    wiring: &Wiring,
    reporter: &Reporter,
    ledger: &Ledger,
    images: &ImageSet<'_>,
    (manifest, platform): (&Descriptor, &Platform),
    began: i64,
) -> Result<(Option<Descriptor>, Option<serde_json::Value>), BuildError> {
    let Some(wanted) = &request.attest.provenance else { return Ok((None, None)) };
    let running = reporter.start("attesting the image");
    let body = attest::predicate(&Facts {
        wanted,
        dockerfile: (&request.dockerfile_name, &request.dockerfile),
        target: request.target.as_deref(),
        arguments: &request.build_args,
        labels: &request.labels,
        secrets: request.secrets.keys().cloned().collect(),
        platform,
        builder_platform: &request.build_platform,
        network: match request.network {
            wbuild_plan::RunNetwork::Default => "default",
            wbuild_plan::RunNetwork::None => "none",
        },
        policy: evidence::used_policy(&request.policy),
        materials: images.taken().into_iter().chain(request.materials.iter().map(Material::git)).collect(),
        steps: ledger.accounts(),
        started: evidence::time(began),
        finished: evidence::time(seconds_now()),
    });
    let predicates = [Predicate { kind: attest::PREDICATE_TYPE, body: body.clone() }];
    let signer = request.attest.signer.as_deref();
    let index = attest::attach(&wiring.store, (manifest, platform), &request.tags, &predicates, signer)?;
    running.note(&format!("index {}", index.digest));
    running.done();
    Ok((Some(index), Some(body)))
}

/// A name that `--no-cache-filter` has and the Dockerfile has not is a mistake to hear of.
fn warn_of_unknown_stages(request: &BuildRequest, file: &Dockerfile, reporter: &Reporter) {
    let NoCache::Stages(wanted) = &request.no_cache else { return };
    let named = |wanted: &str| {
        let mut stages = file.stages.iter().enumerate();
        stages.any(|(number, stage)| match &stage.from.name {
            Some(name) => name.text.eq_ignore_ascii_case(wanted),
            None => wanted == format!("stage-{number}"),
        })
    };
    for name in wanted.iter().filter(|name| !named(name)) {
        reporter.warn(None, &format!("--no-cache-filter {name}: the Dockerfile has no stage of this name"));
    }
}

pub(crate) fn plan_request(request: &BuildRequest) -> Request {
    let kind = |context: &NamedContext| match context {
        NamedContext::Directory(_) => ContextKind::Directory,
        NamedContext::Layout { .. } | NamedContext::Image(_) => ContextKind::Image,
    };
    Request {
        build_args: request.build_args.clone(),
        target: request.target.clone(),
        platform: request.platform.clone().unwrap_or_else(|| request.build_platform.clone()),
        build_platform: request.build_platform.clone(),
        contexts: request.contexts.iter().map(|(name, context)| (name.clone(), kind(context))).collect(),
        labels: request.labels.clone(),
        epoch: request.epoch,
        network: request.network,
        ignore: request.context.ignore.clone(),
        stages: wbuild_plan::Stages::Needed,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the host with std")]
mod tests;
