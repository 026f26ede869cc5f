//! `--cache-from` and `--cache-to`: where the cache is shared.
//!
//! The grammar is buildx's: `type=registry,ref=NAME,mode=max`, and a name alone for a registry to read. A local cache that is not there
//! yet is a note, not an error: the first build of a runner finds none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_build::{CacheDest, CacheExport, CacheMode, CacheSource, ExportErrors};
use wbuild_oci::Reference;
use wbuild_store::LayoutSource;

use super::fields;
use super::settings::reference;
use crate::failure::Failure;

/// A place, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Registry(Reference),
    Local(PathBuf),
}

/// One `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct To {
    pub(crate) place: Place,
    pub(crate) mode: CacheMode,
    pub(crate) errors: ExportErrors,
}

const FROM: &str = "--cache-from";
const TO: &str = "--cache-to";

/// Reads every `--cache-from`.
///
/// # Errors
/// Exit 2: a record that is none, a type or key that is unknown or not built.
pub(crate) fn from(texts: &[String]) -> Result<Vec<Place>, Failure> {
    let one = |text: &String| {
        if !text.contains('=') {
            return text
                .parse()
                .map(Place::Registry)
                .map_err(|error| Failure::usage(format!("{FROM} {text}: {error}")));
        }
        let mut keys = keys(text, FROM)?;
        let place = place(&mut keys, text, FROM, "src")?;
        nothing_left(&keys, text, FROM)?;
        Ok(place)
    };
    texts.iter().filter(|text| !text.is_empty()).map(one).collect()
}

/// Reads every `--cache-to`.
///
/// # Errors
/// As [`from`].
pub(crate) fn to(texts: &[String]) -> Result<Vec<To>, Failure> {
    let one = |text: &String| {
        let mut keys = match text.contains('=') {
            true => keys(text, TO)?,
            false => {
                BTreeMap::from([("type".to_owned(), "registry".to_owned()), ("ref".to_owned(), text.clone())])
            }
        };
        let mode = match keys.remove("mode").as_deref() {
            None | Some("min") => CacheMode::Min,
            Some("max") => CacheMode::Max,
            Some(other) => {
                return Err(Failure::usage(format!("{TO} {text}: mode={other} is not min or max")));
            }
        };
        let errors = match keys.remove("ignore-error").as_deref() {
            None | Some("false") => ExportErrors::Fail,
            Some("true") => ExportErrors::Ignore,
            Some(other) => {
                return Err(Failure::usage(format!(
                    "{TO} {text}: ignore-error={other} is not true or false"
                )));
            }
        };
        // What these ask for is what is done.
        for (key, value) in [("oci-mediatypes", "true"), ("image-manifest", "true"), ("compression", "gzip")]
        {
            if keys.get(key).is_some_and(|given| given == value) {
                keys.remove(key);
            }
        }
        let place = place(&mut keys, text, TO, "dest")?;
        nothing_left(&keys, text, TO)?;
        if let Place::Registry(name) = &place {
            reference(&name.to_string(), TO)?;
        }
        Ok(To { place, mode, errors })
    };
    texts.iter().filter(|text| !text.is_empty()).map(one).collect()
}

fn keys(text: &str, flag: &str) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = fields::pairs(text).map_err(|error| Failure::usage(format!("{flag} {text}: {error}")))?;
    Ok(pairs.into_iter().collect())
}

fn place(
    keys: &mut BTreeMap<String, String>,
    text: &str,
    flag: &str,
    directory: &str,
) -> Result<Place, Failure> {
    let mut need = |key: &str| {
        keys.remove(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Failure::usage(format!("{flag} {text}: {key}= is missing")))
    };
    match need("type")?.as_str() {
        "registry" => {
            let name = need("ref")?;
            name.parse()
                .map(Place::Registry)
                .map_err(|error| Failure::usage(format!("{flag} {text}: {error}")))
        }
        "local" => Ok(Place::Local(need(directory)?.into())),
        other => Err(Failure::usage(format!("{flag} {text}: type={other} is not built yet"))
            .hint("type=registry and type=local are")),
    }
}

fn nothing_left(keys: &BTreeMap<String, String>, text: &str, flag: &str) -> Result<(), Failure> {
    match keys.iter().next() {
        None => Ok(()),
        Some((key, value)) => Err(Failure::usage(format!("{flag} {text}: {key}={value} is not built yet"))),
    }
}

/// Opens the caches to read; `note` hears of those that are not there.
pub(super) fn open(places: &[Place], mut note: impl FnMut(String)) -> Vec<CacheSource> {
    let mut sources = Vec::new();
    for place in places {
        match place {
            Place::Registry(reference) => sources.push(CacheSource::Registry(reference.clone())),
            Place::Local(path) => match layout(path) {
                Ok(layout) => sources.push(CacheSource::Local { layout, path: path.clone() }),
                Err(reason) => note(format!("{FROM} {}: {reason}", path.display())),
            },
        }
    }
    sources
}

fn layout(path: &Path) -> Result<LayoutSource, String> {
    let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| error.to_string())?;
    LayoutSource::directory(dir).map_err(|error| error.to_string())
}

/// Opens the caches to write, made where they are missing.
///
/// # Errors
/// A directory that cannot be made.
pub(super) fn create(all: &[To]) -> Result<Vec<CacheExport>, Failure> {
    let one = |To { place, mode, errors }: &To| {
        let to = match place {
            Place::Registry(reference) => CacheDest::Registry(reference.clone()),
            Place::Local(path) => {
                let made = std::fs::DirBuilder::new().recursive(true).create(path);
                let dir = made.and_then(|()| Dir::open_ambient_dir(path, ambient_authority())).map_err(
                    |error| Failure::usage(format!("{TO}: cannot open {}: {error}", path.display())),
                )?;
                CacheDest::Local { dir, path: path.clone() }
            }
        };
        Ok(CacheExport { to, mode: *mode, errors: *errors })
    };
    all.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn caches_are_spelled_as_buildx_spells_them() {
        let registry = |name: &str| Place::Registry(name.parse().unwrap());
        assert_eq!(
            from(&texts(&["a/cache", "type=registry,ref=b/cache:1", "type=local,src=dir", ""])).unwrap(),
            [registry("a/cache"), registry("b/cache:1"), Place::Local("dir".into())]
        );
        let to = |text: &str| to(&texts(&[text])).map(|mut all| all.remove(0));
        let min = To { place: registry("a"), mode: CacheMode::Min, errors: ExportErrors::Fail };
        assert_eq!(to("type=registry,ref=a").unwrap(), min);
        assert_eq!(to("type=registry,ref=a,image-manifest=true").unwrap(), min);
        assert_eq!(
            to("type=local,dest=d,mode=max,ignore-error=true").unwrap(),
            To { place: Place::Local("d".into()), mode: CacheMode::Max, errors: ExportErrors::Ignore }
        );
    }

    #[test]
    fn nothing_is_accepted_and_ignored() {
        for wrong in [
            "type=gha",
            "type=registry",
            "type=local,src=d",
            "ref=a",
            "type=registry,ref=a,mode=most",
            "type=registry,ref=a,ignore-error=maybe",
            "type=registry,ref=a,compression=zstd",
            "type=registry,ref=UPPER",
            "type=registry,ref=a,more=1",
        ] {
            assert!(to(&texts(&[wrong])).is_err(), "{wrong}");
        }
        for wrong in ["type=inline", "type=local,dest=d", "type=registry,ref=a,mode=max", "UPPER"] {
            assert!(from(&texts(&[wrong])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_local_cache_that_is_not_there_is_a_note() {
        let mut notes = Vec::new();
        assert!(open(&[Place::Local("/nonexistent/cache".into())], |note| notes.push(note)).is_empty());
        assert!(notes[0].contains("/nonexistent/cache"), "{notes:?}");
    }
}
