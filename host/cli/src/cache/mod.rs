//! `wbuild cache`: what the store holds for later builds, and making it smaller.
//!
//! Any of these may run beside builds: nothing is removed that one of them uses.

mod text;

use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use clap::Subcommand;
use wbuild_build::{BuildError, CacheEntry, NamedImages, PruneLimits, Pruned, StoredMount, cache_entries};
use wbuild_store::{Store, StoreError};

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::location;
use crate::out::stdout_failure;

/// Show, check and prune the build cache
#[derive(Debug, clap::Args)]
pub(crate) struct CacheArgs {
    /// What to do with it.
    #[command(subcommand)]
    command: CacheCommand,

    /// Directory of the store [default: $WBUILD_ROOT, /scratch, $XDG_CACHE_HOME/wbuild, $HOME/.cache/wbuild]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List the steps that the cache knows, the one that ran last first
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show how much the store holds
    Du,
    /// Remove what is not used; without a limit, everything but what running builds use and what named images are made of.
    /// Cache mounts go by age, or without a limit
    Prune {
        /// Remove what was not used for longest, unpacked trees first, until layers, documents and trees are no larger than this (`10g`, `500m`)
        #[arg(long, value_name = "SIZE", value_parser = text::size)]
        max_size: Option<u64>,
        /// Remove what was not used for this long (`7d`, `12h`, `30m`)
        #[arg(long, value_name = "AGE", value_parser = text::age)]
        max_age: Option<i64>,
        /// Also what images with a name in the store are made of
        #[arg(long)]
        all: bool,
    },
    /// Read every blob and compare it with its digest
    Verify {
        /// Remove those that are damaged; their steps run again
        #[arg(long)]
        remove: bool,
    },
}

/// Does what was asked.
///
/// # Errors
/// Exit 8 where the store fails or, for `verify`, where something in it is damaged.
pub(crate) fn run(args: &CacheArgs, environment: &Environment) -> Result<(), Failure> {
    let root = location::find(args.root.as_deref(), environment)?;
    let failed = |error: StoreError| Failure::from_error(Exit::Host, &error);
    let dir = Dir::open_ambient_dir(&root, ambient_authority()).map_err(|error| {
        Failure::new(Exit::Host, format!("cannot open the store at {}: {error}", root.display()))
    })?;
    let store = Store::open(&dir).map_err(failed)?;
    match &args.command {
        CacheCommand::Ls { json } => {
            let entries = cache_entries(&store).map_err(failed)?;
            let text =
                if *json { entries.iter().map(as_json).collect() } else { text::table(&entries, now()) };
            print(&text)
        }
        CacheCommand::Du => {
            print(&usage(&store).map_err(failed)?)?;
            let mounts = wbuild_build::cache_mounts(&root).map_err(mounts_failed)?;
            print(&mounts.iter().map(shown_mount).collect::<String>())
        }
        CacheCommand::Prune { max_size, max_age, all } => {
            let limits = PruneLimits {
                size: *max_size,
                unused_since: max_age.map(|age| now() - age),
                named: if *all { NamedImages::Go } else { NamedImages::Stay },
            };
            let pruned = wbuild_build::prune(&store, &limits).map_err(failed)?;
            print(&told(&pruned))?;
            // A size is one of layers and documents: it says nothing of mounts.
            if limits.size.is_some() && limits.unused_since.is_none() {
                return Ok(());
            }
            let mounts = wbuild_build::prune_mounts(&root, limits.unused_since).map_err(mounts_failed)?;
            let mut line =
                format!("removed {} cache mounts, {}\n", mounts.mounts, text::readable(mounts.bytes));
            if mounts.in_use > 0 {
                line.push_str(&format!(
                    "{} cache mounts stay, because a running step uses them\n",
                    mounts.in_use
                ));
            }
            print(&line)
        }
        CacheCommand::Verify { remove } => verify(&store, *remove),
    }
}

fn mounts_failed(error: BuildError) -> Failure {
    Failure::from_error(Exit::Host, &error)
}

fn shown_mount(mount: &StoredMount) -> String {
    let StoredMount { id, size, used } = mount;
    format!("{:>10}  cache mount {id}, used {} ago\n", text::readable(*size), text::since(*used, now()))
}

fn as_json(entry: &CacheEntry) -> String {
    let CacheEntry { key, step, created, took, layer, size, used } = entry;
    let value = serde_json::json!({
        "key": key, "step": step, "created": created, "tookMilliseconds": took, "layer": layer, "size": size,
        "used": used,
    });
    format!("{value}\n")
}

fn usage(store: &Store) -> Result<String, StoreError> {
    let blobs = store.blobs()?;
    let entries = cache_entries(store)?;
    let total: u64 = blobs.iter().map(|held| held.size).sum();
    let mut layers = std::collections::BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.used.is_some()) {
        layers.extend(entry.layer.map(|layer| (layer, entry.size)));
    }
    let cached: u64 = layers.values().sum();
    let rest = total.saturating_sub(cached);
    let trees = store.kept_trees()?;
    let unpacked: u64 = trees.iter().map(|tree| tree.bytes).sum();
    Ok(format!(
        "{:>10}  {} layers of {} cached steps\n{:>10}  base images and documents\n{:>10}  in all, {} blobs\n\
         {:>10}  besides, {} unpacked trees; those that share files count each of them\n",
        text::readable(cached),
        layers.len(),
        entries.len(),
        text::readable(rest),
        text::readable(total),
        blobs.len(),
        text::readable(unpacked),
        trees.len()
    ))
}

fn told(pruned: &Pruned) -> String {
    let Pruned { blobs, bytes, in_use, trees, tree_bytes, entries } = pruned;
    let mut line =
        format!("removed {blobs} blobs, {}; the cache forgot {entries} steps\n", text::readable(*bytes));
    if *trees > 0 {
        line.push_str(&format!("removed {trees} unpacked trees, {}\n", text::readable(*tree_bytes)));
    }
    if *in_use > 0 {
        line.push_str(&format!("{in_use} blobs or trees stay, because a running build may use them\n"));
    }
    line
}

fn verify(store: &Store, remove: bool) -> Result<(), Failure> {
    let failed = |error: StoreError| Failure::from_error(Exit::Host, &error);
    let mut damaged = Vec::new();
    let read = wbuild_build::verify_blobs(store, |digest| damaged.push(*digest)).map_err(failed)?;
    for digest in &damaged {
        print(&format!("{digest} is damaged\n"))?;
        if remove {
            store.remove_damaged(digest).map_err(failed)?;
        }
    }
    match (damaged.len(), remove) {
        (0, _) => print(&format!("{read} blobs are what their digests say\n")),
        (count, true) => print(&format!("removed {count} of {read} blobs\n")),
        (count, false) => Err(Failure::new(Exit::Host, format!("{count} of {read} blobs are damaged"))
            .hint("`wbuild cache verify --remove` removes them; the steps that made them run again")),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(stdout_failure)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
