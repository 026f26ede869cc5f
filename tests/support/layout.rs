//! OCI image layouts: written for base images, read and verified for what wbuild made.
//!
//! Sources: image-spec, image-layout.md, manifest.md and config.md.

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The time in every configuration that is written here, so that builds on it are the same on every day.
const CREATED: &str = "2024-01-01T00:00:00Z";

/// `sha256:` and the 64 hexadecimal digits of what `reader` gives, and how many bytes it gave.
pub fn digest(mut reader: impl Read) -> Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let size = io::copy(&mut reader, &mut HashWriter(&mut hasher)).context("cannot hash")?;
    Ok((format!("sha256:{}", hex(&hasher.finalize())), size))
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes an image of one layer, the uncompressed archive `tar`, as the layout `dir` with the tag `tag`.
pub fn write(dir: &Path, tag: &str, tar: &Path, runtime: &Value) -> Result<()> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("cannot create {}", blobs.display()))?;
    let (diff_id, _) = digest(open(tar)?)?;
    let packed = dir.join("layer.tmp");
    let mut encoder = GzEncoder::new(File::create(&packed)?, flate2::Compression::fast());
    io::copy(&mut open(tar)?, &mut encoder).context("cannot compress the layer")?;
    encoder.finish().context("cannot compress the layer")?;
    let (layer, layer_size) = digest(open(&packed)?)?;
    fs::rename(&packed, blobs.join(layer.trim_start_matches("sha256:")))?;
    let config = json!({
        "created": CREATED, "architecture": "amd64", "os": "linux", "config": runtime,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": CREATED, "created_by": "base image of the tests" }],
    });
    let (config, config_size) = blob(&blobs, &config)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": config, "size": config_size },
        "layers": [{ "mediaType": LAYER, "digest": layer, "size": layer_size }],
    });
    let (manifest, manifest_size) = blob(&blobs, &manifest)?;
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{ "mediaType": MANIFEST, "digest": manifest, "size": manifest_size,
                        "annotations": { "org.opencontainers.image.ref.name": tag } }],
    });
    fs::write(dir.join("index.json"), index.to_string())?;
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

fn blob(blobs: &Path, value: &Value) -> Result<(String, usize)> {
    let bytes = value.to_string();
    let (digest, _) = digest(bytes.as_bytes())?;
    fs::write(blobs.join(digest.trim_start_matches("sha256:")), &bytes)?;
    Ok((digest, bytes.len()))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// An image in a layout, every digest and size of which has been checked.
#[derive(Debug)]
pub struct Image {
    /// The layout's directory.
    pub dir: PathBuf,
    /// The digest of the manifest.
    pub digest: String,
    /// The manifest.
    pub manifest: Value,
    /// The configuration.
    pub config: Value,
}

/// One layer of a verified image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the compressed blob.
    pub digest: String,
    /// The digest of the archive in it.
    pub diff_id: String,
    /// The size of the compressed blob in bytes.
    pub size: u64,
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// The target of a link of either kind.
    pub link: Option<PathBuf>,
    /// The content of a file.
    pub content: Vec<u8>,
}

impl Image {
    /// Reads the layout's only image, which may have several tags, and verifies its manifest, configuration and every layer: digest, size, DiffID.
    pub fn verify(dir: &Path) -> Result<Self> {
        let index = json_file(&dir.join("index.json"))?;
        let manifests = index["manifests"].as_array().context("index.json has no manifests")?;
        ensure!(!manifests.is_empty(), "{}: no image", dir.display());
        let one = manifests.iter().all(|manifest| manifest["digest"] == manifests[0]["digest"]);
        ensure!(one, "{}: several images, expected one", dir.display());
        let manifest = checked_json(dir, &manifests[0])?;
        let config = checked_json(dir, &manifest["config"])?;
        let digest = text(&manifests[0]["digest"])?.to_owned();
        let image = Self { dir: dir.to_path_buf(), digest, manifest, config };
        let layers = image.layers()?;
        for layer in &layers {
            let path = blob_path(dir, &layer.digest)?;
            ensure!(
                self::digest(open(&path)?)? == (layer.digest.clone(), layer.size),
                "layer {} differs from its descriptor",
                layer.digest
            );
            let (diff_id, _) = self::digest(uncompressed(&path)?)?;
            ensure!(
                diff_id == layer.diff_id,
                "layer {}: its DiffID is {diff_id}, the configuration says {}",
                layer.digest,
                layer.diff_id
            );
        }
        let history = image.config["history"]
            .as_array()
            .map_or(0, |all| all.iter().filter(|h| h["empty_layer"] != json!(true)).count());
        ensure!(history == layers.len(), "{history} history entries with a layer, {} layers", layers.len());
        Ok(image)
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        let layers = self.manifest["layers"].as_array().context("the manifest has no layers")?;
        let diff_ids =
            self.config["rootfs"]["diff_ids"].as_array().context("the configuration has no diff_ids")?;
        ensure!(layers.len() == diff_ids.len(), "{} layers, {} diff_ids", layers.len(), diff_ids.len());
        let each = layers.iter().zip(diff_ids);
        each.map(|(layer, diff_id)| {
            Ok(Layer {
                digest: text(&layer["digest"])?.to_owned(),
                diff_id: text(diff_id)?.to_owned(),
                size: layer["size"].as_u64().context("a layer without a size")?,
            })
        })
        .collect()
    }

    /// The entry of this name (without a leading slash) in the highest layer that has one; whiteouts are not followed.
    pub fn entry(&self, name: &str) -> Result<Option<Found>> {
        for layer in self.layers()?.iter().rev() {
            let mut archive = tar::Archive::new(self.archive(layer)?);
            for entry in archive.entries()? {
                let mut entry = entry?;
                let path = entry.path()?;
                if path.strip_prefix("./").unwrap_or(&path) == Path::new(name) {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content)?;
                    let header = entry.header();
                    return Ok(Some(Found {
                        mode: header.mode()?,
                        uid: header.uid()?,
                        gid: header.gid()?,
                        mtime: header.mtime()?,
                        link: entry.link_name()?.map(std::borrow::Cow::into_owned),
                        content,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// The content of a file that must be there, as text.
    pub fn text(&self, name: &str) -> Result<String> {
        let found = self.entry(name)?.with_context(|| format!("no layer has {name}"))?;
        String::from_utf8(found.content).with_context(|| format!("{name} is not text"))
    }

    /// The uncompressed archive of a layer.
    pub fn archive(&self, layer: &Layer) -> Result<Box<dyn Read>> {
        uncompressed(&blob_path(&self.dir, &layer.digest)?)
    }
}

fn uncompressed(path: &Path) -> Result<Box<dyn Read>> {
    let mut magic = [0; 4];
    open(path)?
        .read_exact(&mut magic)
        .with_context(|| format!("{} is too short for a layer", path.display()))?;
    let file = io::BufReader::with_capacity(1 << 16, open(path)?);
    match magic {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd] => bail!("{}: zstd, and the tests expect gzip", path.display()),
        _ => Ok(Box::new(file)),
    }
}

fn checked_json(dir: &Path, descriptor: &Value) -> Result<Value> {
    let expected = text(&descriptor["digest"])?;
    let bytes =
        fs::read(blob_path(dir, expected)?).with_context(|| format!("cannot read the blob {expected}"))?;
    let (found, size) = digest(bytes.as_slice())?;
    ensure!(found == expected, "the blob {expected} has the digest {found}");
    ensure!(
        Some(size) == descriptor["size"].as_u64(),
        "the blob {expected} has {size} bytes, its descriptor says {}",
        descriptor["size"]
    );
    serde_json::from_slice(&bytes).with_context(|| format!("the blob {expected}"))
}

fn json_file(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

fn blob_path(dir: &Path, digest: &str) -> Result<PathBuf> {
    let hex = digest.strip_prefix("sha256:").with_context(|| format!("not a sha256 digest: {digest}"))?;
    Ok(dir.join("blobs/sha256").join(hex))
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("not text: {value}"))
}
