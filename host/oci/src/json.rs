//! Documents as text, in the form Go's encoding/json gives them.
//!
//! The same document always gives the same bytes. Manifests and indexes are indented by two spaces and configs are
//! compact, as BuildKit writes them; `<`, `>`, `&`, U+2028 and U+2029 are escaped, as Go escapes them.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// A document that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or a field of the wrong type.
    #[error("malformed {what}")]
    Json {
        /// Which document: `manifest`, `index`, `image config`.
        what: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Well-formed, and still not a document of this kind.
    #[error("malformed {what}: {why}")]
    Shape {
        /// Which document.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { what, source })
}

/// `value` without whitespace.
pub(crate) fn compact<T: Serialize>(value: &T) -> Vec<u8> {
    write(value, GoForm(CompactFormatter))
}

/// `value` indented by two spaces, without a final newline.
pub(crate) fn indented<T: Serialize>(value: &T) -> Vec<u8> {
    write(value, GoForm(PrettyFormatter::new()))
}

fn write<T: Serialize, F: Formatter>(value: &T, form: F) -> Vec<u8> {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, form))
        .expect("strings, numbers and string-keyed maps always have a JSON form");
    out
}

struct GoForm<F>(F);

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*)),* $(,)?) => {
        $(fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $arg: $type)*) -> io::Result<()> {
            self.0.$name(writer $(, $arg)*)
        })*
    };
}

impl<F: Formatter> Formatter for GoForm<F> {
    forward! {
        begin_array(), end_array(), begin_array_value(first: bool), end_array_value(),
        begin_object(), end_object(), begin_object_key(first: bool), end_object_key(),
        begin_object_value(), end_object_value(),
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let escaped = from.chars().next().unwrap_or_default();
            write!(writer, "\\u{:04x}", u32::from(escaped))?;
            rest = &from[escaped.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// For `#[serde(deserialize_with)]`: `null` is the empty value, as in Go.
pub(crate) fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// For `#[serde(with)]`: a set, written as Go's `map[string]struct{}`.
pub(crate) mod set {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Serialize, Deserialize)]
    struct Empty {}

    pub(crate) fn serialize<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|key| (key, Empty {})))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map = Option::<BTreeMap<String, Option<Empty>>>::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}
