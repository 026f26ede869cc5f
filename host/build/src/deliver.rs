//! Images that no build makes: from a registry into the store, and from the store to where they should go.
//!
//! What is told and what is written is as at the begin and the end of a build.

use std::collections::BTreeMap;
use std::sync::Arc;

use wbuild_monitor::Cancel;
use wbuild_oci::{Descriptor, Platform, Reference};
use wbuild_plan::{ImageOrigin, ImageRequest, Span, Wanted};
use wbuild_store::{Image, Pushed, Remote, Store};

use crate::error::BuildError;
use crate::export::export;
use crate::images::ImageSet;
use crate::progress::{Progress, Reporter};
use crate::request::Output;

/// What images are moved with.
pub struct Delivery {
    /// Where they are.
    pub store: Store,
    /// Registries.
    pub remote: Arc<dyn Remote>,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// Ends it.
    pub cancel: Cancel,
}

impl Delivery {
    /// Brings the image that `reference` names for `platform` into the store, layers included.
    ///
    /// # Errors
    /// [`BuildError::Pull`].
    pub fn pull(&self, reference: &Reference, platform: &Platform) -> Result<Image, BuildError> {
        let request = ImageRequest {
            name: reference.to_string(),
            origin: ImageOrigin::Registry,
            platform: platform.clone(),
        };
        self.with_images(|images, _| {
            // There is no Dockerfile, and so no place in it.
            let wanted = Wanted { image: request.clone(), span: Span::on_line(0, 0, 0) };
            images.resolve(vec![wanted])?;
            images.fetch(&request)?;
            let resolved = images.get(&request).ok_or(BuildError::Unplanned { what: "an image" })?;
            Ok(resolved.image.clone())
        })
    }

    /// Writes an image or index of the store to every output, registries last.
    ///
    /// # Errors
    /// As the end of a build.
    pub fn deliver(
        &self,
        manifest: &Descriptor,
        tags: &[Reference],
        outputs: &[Output],
    ) -> Result<Vec<Pushed>, BuildError> {
        self.with_images(|images, reporter| {
            export(&self.store, images, reporter, (manifest, manifest), tags, outputs)
        })
    }

    fn with_images<T>(
        &self,
        work: impl FnOnce(&mut ImageSet<'_>, &Reporter) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let reporter = Reporter::new(Arc::clone(&self.progress));
        let contexts = BTreeMap::new();
        let mut images = ImageSet::new(
            &self.store,
            Arc::clone(&self.remote),
            &contexts,
            &reporter,
            &self.cancel,
            &Arc::default(),
        );
        work(&mut images, &reporter)
    }
}
