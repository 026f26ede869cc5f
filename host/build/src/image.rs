//! The image a stage has become so far: its layers, history and configuration, and the documents made of them.
//!
//! Nothing is read from a clock: `created` is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use wbuild_layer::{Blob, Packing};
use wbuild_monitor::ImageChange;
use wbuild_oci::{
    Compression, Descriptor, Digest, Execution, History, ImageConfig, Manifest, Platform, Time, media,
};
use wbuild_plan::{HISTORY_COMMENT, LayerKind};
use wbuild_store::{Image, Store, StoreError};

use crate::error::BuildError;

/// A stage's image while it grows.
#[derive(Clone, Debug)]
pub(crate) struct Growing {
    config: ImageConfig,
    layers: Vec<Descriptor>,
    /// What tools changed, in order, each with what the instructions of its stage come to.
    changes: Vec<(ImageChange, Arc<Execution>)>,
}

impl Growing {
    /// `FROM scratch`.
    pub(crate) fn scratch(platform: &Platform) -> Self {
        Self { config: ImageConfig::scratch(platform), layers: Vec::new(), changes: Vec::new() }
    }

    /// From a base image. Its layers become OCI layers by name (the bytes are the same), and history that is missing
    /// is filled up, as BuildKit does both.
    pub(crate) fn from_base(image: &Image) -> Self {
        let mut config = image.config.clone();
        let layers: Vec<Descriptor> = image.manifest.layers.iter().map(as_oci).collect();
        let told = config.history.iter().filter(|entry| !entry.empty_layer).count();
        if told > layers.len() {
            // It speaks of layers that are not there: none of it can be matched to a layer.
            config.history.clear();
        }
        let told = told.min(layers.len()) * usize::from(told <= layers.len());
        for _ in told..layers.len() {
            let created = config.created;
            config.history.push(History {
                created,
                comment: "buildkit.exporter.image.v0".to_owned(),
                ..History::default()
            });
        }
        Self { config, layers, changes: Vec::new() }
    }

    /// The layers with the digests of their content, lowest first.
    pub(crate) fn layers_with_diff_ids(&self) -> Vec<(Descriptor, Digest)> {
        self.layers.iter().cloned().zip(self.config.rootfs.diff_ids.iter().copied()).collect()
    }

    /// How many layers there are.
    pub(crate) fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// The ChainID (image-spec config.md) of the layers so far; without a layer, a digest that no chain has.
    pub(crate) fn chain_id(&self) -> Digest {
        chain_id(self.config.rootfs.diff_ids.iter().copied())
    }

    /// Adds a history entry, with its layer if it has one.
    pub(crate) fn push(
        &mut self,
        history: Option<&wbuild_plan::History>,
        layer: Option<&Blob>,
        created: Time,
    ) {
        if let Some(history) = history {
            self.config.history.push(History {
                created: Some(created),
                created_by: history.created_by.clone(),
                comment: HISTORY_COMMENT.to_owned(),
                empty_layer: history.layer == LayerKind::Empty,
                ..History::default()
            });
        }
        if let Some(layer) = layer {
            self.config.rootfs.diff_ids.push(layer.diff_id);
            self.layers.push(layer.descriptor());
        }
    }

    /// The same; without files, with an empty layer: image-spec's manifest has at least one, and there are tools that refuse one
    /// without.
    pub(crate) fn with_a_layer(
        mut self,
        store: &Store,
        packing: Packing,
        created: Time,
    ) -> Result<Self, BuildError> {
        if self.layers.is_empty() {
            let blob = crate::commit::empty(store, packing).map_err(|error| BuildError::Tree {
                name: "the empty layer of an image without files".to_owned(),
                source: Box::new(error.into()),
            })?;
            let created_by = "# an image has at least one layer".to_owned();
            let history = wbuild_plan::History { created_by, layer: LayerKind::Layer };
            self.push(Some(&history), Some(&blob), created);
        }
        Ok(self)
    }

    /// Takes what a tool changed in a stage whose instructions come to `stage`.
    pub(crate) fn change(&mut self, changes: Vec<ImageChange>, stage: &Execution) {
        if !changes.is_empty() {
            let stage = Arc::new(stage.clone());
            self.changes.extend(changes.into_iter().map(|change| (change, Arc::clone(&stage))));
        }
    }

    /// Puts manifest and config into the store; returns the manifest and the config's descriptor.
    pub(crate) fn write(
        &self,
        store: &Store,
        execution: &Execution,
        author: Option<&str>,
        created: Time,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(Descriptor, Descriptor), StoreError> {
        let mut config = self.config.clone();
        config.config = changed(execution, &self.changes);
        config.created = Some(created);
        if let Some(author) = author {
            config.author = author.to_owned();
        }
        // As BuildKit with SOURCE_DATE_EPOCH: nothing in the image is younger than the image.
        for entry in &mut config.history {
            if entry.created.is_some_and(|time| {
                (time.unix(), time.nanoseconds()) > (created.unix(), created.nanoseconds())
            }) {
                entry.created = Some(created);
            }
        }
        let config = store.ingest_bytes(media::CONFIG, &config.to_bytes())?;
        let mut manifest = Manifest::new(config.clone(), self.layers.clone());
        manifest.annotations.clone_from(annotations);
        let manifest = store.ingest_bytes(media::MANIFEST, &manifest.to_bytes())?;
        Ok((manifest, config))
    }

    /// What the image is for.
    pub(crate) fn platform(&self) -> Platform {
        self.config.platform()
    }
}

/// What the instructions come to, with what tools changed. Where a later stage's instruction says something of the same field, it
/// stays as that says.
fn changed(execution: &Execution, changes: &[(ImageChange, Arc<Execution>)]) -> Execution {
    let mut made = execution.clone();
    for (change, stage) in changes {
        match change {
            ImageChange::Env(name, value) => {
                let of = |config: &Execution| {
                    config.env.iter().find(|entry| variable(entry) == name.as_str()).cloned()
                };
                if of(execution) == of(stage) {
                    let entry = format!("{name}={value}");
                    match made.env.iter_mut().find(|entry| variable(entry) == name.as_str()) {
                        Some(there) => *there = entry,
                        None => made.env.push(entry),
                    }
                }
            }
            ImageChange::Label(name, value) if execution.labels.get(name) == stage.labels.get(name) => {
                made.labels.insert(name.clone(), value.clone());
            }
            ImageChange::Entrypoint(words) if execution.entrypoint == stage.entrypoint => {
                made.entrypoint.clone_from(words);
            }
            ImageChange::Cmd(words) if execution.cmd == stage.cmd => made.cmd.clone_from(words),
            ImageChange::User(user) if execution.user == stage.user => made.user.clone_from(user),
            ImageChange::Workdir(path) if execution.working_dir == stage.working_dir => {
                made.working_dir.clone_from(path);
            }
            ImageChange::Expose(port, protocol) => {
                made.exposed_ports.insert(format!("{port}/{protocol}"));
            }
            _ => {}
        }
    }
    made
}

fn variable(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn as_oci(layer: &Descriptor) -> Descriptor {
    let media_type = match layer.kind() {
        media::Kind::Layer(compression) => Compression::media_type(compression).to_owned(),
        _ => layer.media_type.clone(),
    };
    let mut descriptor = Descriptor::new(media_type, layer.digest, layer.size);
    descriptor.urls.clone_from(&layer.urls);
    descriptor
}

/// The ChainID (image-spec config.md) of layers, lowest first; without a layer, a digest that no chain has.
pub(crate) fn chain_id(mut diff_ids: impl Iterator<Item = Digest>) -> Digest {
    let Some(lowest) = diff_ids.next() else { return Digest::of(b"scratch") };
    diff_ids.fold(lowest, |chain, diff_id| Digest::of(format!("{chain} {diff_id}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_wins_over_its_stage_and_a_later_stage_over_the_tool() {
        let env = |name: &str, value: &str| ImageChange::Env(name.into(), value.into());
        let stage =
            Execution { env: vec!["A=1".into(), "B=1".into()], user: "1".into(), ..Execution::default() };
        let mut image = Growing::scratch(&Platform::default());
        image
            .change(vec![env("A", "2"), env("B", "2"), env("C", "2"), ImageChange::User("2".into())], &stage);
        assert_eq!(changed(&stage, &image.changes).env, ["A=2", "B=2", "C=2"]);
        let later =
            Execution { env: vec!["A=1".into(), "B=3".into()], user: "3".into(), ..Execution::default() };
        let made = changed(&later, &image.changes);
        assert_eq!((made.env, made.user), (vec!["A=2".into(), "B=3".into(), "C=2".into()], "3".into()));
    }

    fn base(layers: usize, history: &[bool]) -> Image {
        let mut config = ImageConfig::scratch(&Platform::default());
        config.rootfs.diff_ids = vec![Digest::of(b"diff"); layers];
        config.history =
            history.iter().map(|empty| History { empty_layer: *empty, ..History::default() }).collect();
        let layer = Descriptor::new(media::DOCKER_LAYER_GZIP, Digest::of(b"layer"), 5);
        let manifest = Manifest::new(Descriptor::of(media::DOCKER_CONFIG, b"{}"), vec![layer; layers]);
        Image { descriptor: manifest.descriptor(), manifest, config }
    }

    fn entries(growing: &Growing) -> usize {
        growing.config.history.iter().filter(|entry| !entry.empty_layer).count()
    }

    #[test]
    fn every_layer_of_a_base_has_a_history_entry() {
        for (layers, history) in
            [(2, &[false, true, false][..]), (2, &[]), (3, &[false]), (1, &[false, false])]
        {
            let growing = Growing::from_base(&base(layers, history));
            assert_eq!(entries(&growing), layers, "{layers} layers, {history:?}");
        }
    }

    #[test]
    fn docker_layers_become_oci_layers() {
        let growing = Growing::from_base(&base(1, &[false]));
        assert_eq!(growing.layers[0].media_type, media::LAYER_GZIP);
    }

    #[test]
    fn history_is_not_younger_than_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let dir = cap_std::fs::Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).unwrap();
        let store = Store::open(&dir).unwrap();
        let mut growing = Growing::scratch(&Platform::default());
        let history = wbuild_plan::History { created_by: "ENV a=b".into(), layer: LayerKind::Empty };
        growing.push(Some(&history), None, Time::from_unix(99));
        let (_, config) = growing
            .write(&store, &Execution::default(), Some("me"), Time::from_unix(7), &BTreeMap::new())
            .unwrap();
        let config = ImageConfig::parse(&store.read(&config.digest, 1 << 20).unwrap()).unwrap();
        assert_eq!(config.history[0].created.unwrap().unix(), 7);
        assert_eq!(config.history[0].comment, HISTORY_COMMENT);
        assert_eq!(config.created.unwrap().unix(), 7);
        assert_eq!(config.author, "me");
    }
}
