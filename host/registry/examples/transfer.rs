//! Times one push or pull, for a comparison with other clients.
//!
//! `transfer push STORE FILE REFERENCE` makes an image of one uncompressed layer and pushes it; `transfer pull STORE
//! REFERENCE` fetches one. Prints the seconds of the transfer alone and the peak of resident memory in KiB.

use cap_std::{ambient_authority, fs::Dir};
use std::error::Error;
use std::time::Instant;
use wbuild_oci::{Descriptor, ImageConfig, Manifest, Platform, media};
use wbuild_registry::{Client, Settings};
use wbuild_store::{Expected, Remote, Silent, Store};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example prints what it found")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let client = Client::new(Settings::default())?;
    let start = match words.as_slice() {
        ["push", store, file, reference] => {
            let store = Store::open(&Dir::open_ambient_dir(store, ambient_authority())?)?;
            let manifest = image(&store, file)?;
            let start = Instant::now();
            client.push(&store, &manifest, &[reference.parse()?], &Silent).await?;
            start
        }
        ["pull", store, reference] => {
            let store = Store::open(&Dir::open_ambient_dir(store, ambient_authority())?)?;
            let reference = reference.parse()?;
            let start = Instant::now();
            let image = client.resolve(&store, &reference, &Platform::host()).await?;
            client.fetch(&store, &reference, &image.manifest.layers, &Silent).await?;
            start
        }
        _ => return Err("usage: transfer push STORE FILE REFERENCE | transfer pull STORE REFERENCE".into()),
    };
    println!("{:.3} s, peak {} KiB", start.elapsed().as_secs_f64(), peak()?);
    Ok(())
}

fn image(store: &Store, file: &str) -> Result<Descriptor, Box<dyn Error>> {
    let (parent, name) = file.rsplit_once('/').unwrap_or((".", file));
    let mut content = Dir::open_ambient_dir(parent, ambient_authority())?.open(name)?;
    let (digest, size) = store.ingest_from(&mut content, Expected::anything())?;
    let mut config = ImageConfig::scratch(&Platform::host());
    config.rootfs.diff_ids.push(digest);
    let config = store.ingest_bytes(media::CONFIG, &config.to_bytes())?;
    let layer = Descriptor::new(media::LAYER_TAR, digest, size);
    Ok(store.ingest_bytes(media::MANIFEST, &Manifest::new(config, vec![layer]).to_bytes())?)
}

/// `VmHWM` of proc_pid_status(5).
fn peak() -> Result<String, Box<dyn Error>> {
    let status = Dir::open_ambient_dir("/proc/self", ambient_authority())?.read_to_string("status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or("unknown").trim().trim_end_matches(" kB").to_owned())
}
