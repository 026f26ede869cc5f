//! `wbuild inspect`: what an image is, as JSON.

use std::io::Write as _;

use serde_json::{Value, json};
use wbuild_oci::{CONFIG_LIMIT, ImageConfig, Index, MANIFEST_LIMIT, Manifest, Platform, Reference, media};
use wbuild_store::Remote as _;

use super::{CommonArgs, Desk, Found};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::stdout_failure;
use crate::registry;

/// Show what an image is, as JSON
///
/// IMAGE is a name of the store or of a registry, `oci-layout://PATH[:TAG]` or `docker-image://NAME`. Nothing but documents is
/// fetched. Of an index the list of its images is shown, or with --platform one of them.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Of an index, the image for this platform, `os/arch[/variant]`
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// Print the manifest or index byte by byte
    #[arg(long, conflicts_with = "config")]
    raw: bool,

    /// Print the config byte by byte
    #[arg(long)]
    config: bool,

    /// What every command about images has.
    #[command(flatten)]
    common: CommonArgs,
}

/// Shows an image.
///
/// # Errors
/// The failure with its exit code.
pub(crate) fn run(args: &InspectArgs, environment: &Environment) -> Result<(), Failure> {
    let desk = Desk::open(&args.common, environment)?;
    let mut found = desk.find(&args.image)?;
    if let Some(platform) = &args.platform {
        found = pick(&desk, &found, platform)?;
    }
    let bytes = read(&desk, &found.descriptor.digest, MANIFEST_LIMIT)?;
    let out = if args.raw {
        bytes
    } else if found.descriptor.kind() == media::Kind::Index {
        if args.config {
            return Err(
                Failure::usage("an index has no config").hint("choose one of its images with --platform")
            );
        }
        pretty(&index(&args.image, &found, &bytes)?)?
    } else {
        let manifest =
            Manifest::parse(&bytes).map_err(|error| Failure::from_error(Exit::Registry, &error))?;
        let config = config_of(&desk, &found, &manifest)?;
        if args.config { config } else { pretty(&image(&args.image, &found, &manifest, &config)?)? }
    };
    desk.close();
    std::io::stdout().lock().write_all(&out).map_err(stdout_failure)
}

fn read(desk: &Desk, digest: &wbuild_oci::Digest, limit: u64) -> Result<Vec<u8>, Failure> {
    desk.store().read(digest, limit).map_err(|error| Failure::from_error(Exit::Host, &error))
}

fn pretty(value: &Value) -> Result<Vec<u8>, Failure> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| Failure::new(Exit::Internal, format!("cannot write JSON: {error}")))?;
    Ok(format!("{text}\n").into_bytes())
}

/// The image of an index for a platform.
fn pick(desk: &Desk, found: &Found, platform: &str) -> Result<Found, Failure> {
    of_platform(desk, found, &super::pull::platform(Some(platform))?)
}

/// The image for a platform, of an index or by itself.
pub(super) fn of_platform(desk: &Desk, found: &Found, platform: &Platform) -> Result<Found, Failure> {
    if let Some(remote) = &found.remote {
        let resolved = registry::runtime()?.block_on(desk.client.resolve(desk.store(), remote, platform));
        let image = resolved.map_err(|error| crate::build::remote_failure("cannot get the image", &error))?;
        return Ok(Found { descriptor: image.descriptor, remote: found.remote.clone() });
    }
    let mut descriptor = found.descriptor.clone();
    while descriptor.kind() == media::Kind::Index {
        let index = Index::parse(&read(desk, &descriptor.digest, MANIFEST_LIMIT)?)
            .map_err(|error| Failure::from_error(Exit::Registry, &error))?;
        let offered: Vec<String> = index.platforms().map(ToString::to_string).collect();
        descriptor = index.select(platform).cloned().ok_or_else(|| {
            let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            Failure::new(Exit::Registry, format!("the index has no image for {platform} (it has: {offered})"))
        })?;
    }
    Ok(Found { descriptor, remote: None })
}

/// The config's bytes; a registry is asked for them where the store lacks them.
fn config_of(desk: &Desk, found: &Found, manifest: &Manifest) -> Result<Vec<u8>, Failure> {
    if let Some(remote) = &found.remote {
        let remote: Reference = remote.clone().with_digest(found.descriptor.digest);
        let blobs = [manifest.config.clone()];
        let fetched = registry::runtime()?.block_on(desk.client.fetch(
            desk.store(),
            &remote,
            &blobs,
            &wbuild_store::Silent,
        ));
        fetched.map_err(|error| crate::build::remote_failure("cannot get the image's config", &error))?;
    }
    read(desk, &manifest.config.digest, CONFIG_LIMIT)
}

fn index(name: &str, found: &Found, bytes: &[u8]) -> Result<Value, Failure> {
    let index = Index::parse(bytes).map_err(|error| Failure::from_error(Exit::Registry, &error))?;
    let images: Vec<Value> = index
        .manifests
        .iter()
        .map(|entry| {
            json!({
                "platform": entry.platform.as_ref().map(ToString::to_string),
                "digest": entry.digest.to_string(),
                "mediaType": entry.media_type,
                "size": entry.size,
                "annotations": entry.annotations,
            })
        })
        .collect();
    Ok(json!({
        "name": name,
        "digest": found.descriptor.digest.to_string(),
        "mediaType": index.media_type(),
        "annotations": index.annotations,
        "images": images,
    }))
}

fn image(name: &str, found: &Found, manifest: &Manifest, config: &[u8]) -> Result<Value, Failure> {
    let parsed = ImageConfig::parse(config).map_err(|error| Failure::from_error(Exit::Registry, &error))?;
    let document: Value = serde_json::from_slice(config)
        .map_err(|error| Failure::new(Exit::Registry, format!("the config: {error}")))?;
    let layers: Vec<Value> = manifest
        .layers
        .iter()
        .zip(&parsed.rootfs.diff_ids)
        .map(|(layer, diff_id)| {
            json!({
                "digest": layer.digest.to_string(),
                "diffId": diff_id.to_string(),
                "mediaType": layer.media_type,
                "size": layer.size,
            })
        })
        .collect();
    Ok(json!({
        "name": name,
        "digest": found.descriptor.digest.to_string(),
        "mediaType": manifest.media_type(),
        "platform": parsed.platform().to_string(),
        "created": parsed.created.map(|time| time.to_string()),
        "annotations": manifest.annotations,
        "id": manifest.config.digest.to_string(),
        "size": manifest.layers.iter().map(|layer| layer.size).sum::<u64>(),
        "config": document["config"],
        "history": document["history"],
        "layers": layers,
    }))
}
