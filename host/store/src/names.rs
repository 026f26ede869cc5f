//! The names of images in the store: what `build -t` and `pull` leave for `push`, `inspect` and the like.
//!
//! A name points to a manifest or an index; of two writers the later one wins. Whether the blobs are still there is not known
//! here: a reader treats a missing blob as it treats a missing image.

use wbuild_oci::{Descriptor, Digest, Reference};

use crate::{Store, StoreError};

const KIND: &str = "images";

/// An image or index under one of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub reference: Reference,
    /// What it points to.
    pub descriptor: Descriptor,
}

impl Store {
    /// Makes `reference` (which has a tag) point to `descriptor`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn name_image(&self, reference: &Reference, descriptor: &Descriptor) -> Result<(), StoreError> {
        let document = serde_json::json!({ "name": reference.to_string(), "descriptor": descriptor });
        self.put_record(KIND, &key(reference), document.to_string().as_bytes())
    }

    /// What `reference` points to, or `None`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn named_image(&self, reference: &Reference) -> Result<Option<Descriptor>, StoreError> {
        let document = self.record(KIND, &key(reference))?;
        Ok(document.and_then(|document| parse(&document)).map(|named| named.descriptor))
    }

    /// Every name, sorted.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn named_images(&self) -> Result<Vec<Named>, StoreError> {
        let mut named: Vec<Named> =
            self.records(KIND)?.iter().filter_map(|document| parse(document)).collect();
        named.sort_by(|one, other| one.reference.cmp(&other.reference));
        Ok(named)
    }
}

fn key(reference: &Reference) -> Digest {
    Digest::of(reference.to_string().as_bytes())
}

/// A record that cannot be read names nothing, as if it were not there.
fn parse(document: &[u8]) -> Option<Named> {
    let value: serde_json::Value = serde_json::from_slice(document).ok()?;
    let reference = value.get("name")?.as_str()?.parse().ok()?;
    let descriptor = serde_json::from_value(value.get("descriptor")?.clone()).ok()?;
    Some(Named { reference, descriptor })
}

#[cfg(test)]
mod tests {
    use crate::test_rooms::Rooms;
    use wbuild_oci::Reference;

    #[test]
    fn names_point_and_move() {
        let rooms = Rooms::new();
        let name = |text: &str| -> Reference { text.parse().unwrap() };
        let (one, _) = rooms.image("linux/amd64", &[b"one"]);
        let (two, _) = rooms.image("linux/amd64", &[b"two"]);
        assert_eq!(rooms.store.named_image(&name("app")).unwrap(), None);
        assert_eq!(rooms.store.named_images().unwrap(), []);
        rooms.store.name_image(&name("zoo"), &one).unwrap();
        rooms.store.name_image(&name("app"), &one).unwrap();
        rooms.store.name_image(&name("app:latest"), &two).unwrap();
        let named = rooms.store.named_images().unwrap();
        let shown: Vec<_> =
            named.iter().map(|named| (named.reference.familiar(), named.descriptor.digest)).collect();
        assert_eq!(shown, [("app:latest".to_owned(), two.digest), ("zoo:latest".to_owned(), one.digest)]);
        assert_eq!(
            rooms.store.named_image(&name("docker.io/library/app")).unwrap().unwrap().digest,
            two.digest
        );
    }

    #[test]
    fn a_damaged_record_names_nothing() {
        let rooms = Rooms::new();
        let name: Reference = "app".parse().unwrap();
        rooms.store.put_record("images", &super::key(&name), b"{").unwrap();
        assert_eq!(rooms.store.named_image(&name).unwrap(), None);
        assert_eq!(rooms.store.named_images().unwrap(), []);
    }
}
