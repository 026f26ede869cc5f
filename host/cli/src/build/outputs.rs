//! `-o type=..,dest=..`, `--push` and `--load`: where the image goes, and how its layers are compressed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use wbuild_build::{Archive, Compression, MediaTypes, Packing};

use super::fields;
use crate::failure::Failure;

/// One place the image goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// An archive.
    Archive(Archive, Destination),
    /// An OCI layout directory.
    Layout(PathBuf),
    /// The root filesystem in a directory.
    Directory(PathBuf),
    /// A registry, under these names besides those of `-t`.
    Registry(Vec<String>, MediaTypes),
}

/// Where an archive is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// This file, replaced when it is complete.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Docker's or Podman's own images on this machine.
    Engine,
}

/// What the flags about outputs say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outputs {
    /// Where the image goes.
    pub(crate) list: Vec<Output>,
    /// How new layers are compressed.
    pub(crate) packing: Packing,
    /// Annotations that outputs ask for.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The flags as typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given<'a> {
    /// Every `-o`.
    pub(crate) outputs: &'a [String],
    /// `--push`.
    pub(crate) push: bool,
    /// `--load`.
    pub(crate) load: bool,
    /// `--compression`.
    pub(crate) compression: Option<&'a str>,
    /// `--compression-level`.
    pub(crate) level: Option<i32>,
}

/// Reads the flags; `--push` adds a registry and `--load` the engine, unless they are there.
///
/// # Errors
/// Exit 2: a record that is none, a type or key that is unknown or not built yet, no destination, outputs that contradict each other.
pub(crate) fn parse(given: &Given<'_>) -> Result<Outputs, Failure> {
    let mut list = Vec::new();
    let mut packing = Wish::flags(given)?;
    let mut annotations = BTreeMap::new();
    for text in given.outputs {
        let record = Record::read(text)?;
        packing = packing.and(record.packing, text)?;
        annotations.extend(record.annotations);
        list.extend(record.output);
    }
    let has = |list: &[Output], wanted: fn(&Output) -> bool| list.iter().any(wanted);
    if given.push && !has(&list, |output| matches!(output, Output::Registry(..))) {
        list.push(Output::Registry(Vec::new(), MediaTypes::Oci));
    }
    let to_engine: fn(&Output) -> bool = |output| matches!(output, Output::Archive(_, Destination::Engine));
    if given.load && !has(&list, to_engine) {
        list.push(Output::Archive(Archive::Docker, Destination::Engine));
    }
    if list.iter().filter(|output| matches!(output, Output::Archive(_, Destination::Stdout))).count() > 1 {
        return Err(Failure::usage("only one output can go to standard output"));
    }
    let wrong = |error: wbuild_build::LevelError| Failure::usage(format!("the compression level: {error}"));
    let packing =
        Packing::new(packing.compression.unwrap_or(Compression::Gzip), packing.level).map_err(wrong)?;
    Ok(Outputs { list, packing, annotations })
}

/// How somebody wants layers to be compressed.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    compression: Option<Compression>,
    level: Option<i32>,
}

impl Wish {
    fn flags(given: &Given<'_>) -> Result<Self, Failure> {
        let mut wish = Self { compression: None, level: given.level };
        if let Some(text) = given.compression {
            let (name, level) =
                text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
            wish.compression = Some(
                compression(name).map_err(|why| Failure::usage(format!("--compression {text}: {why}")))?,
            );
            if let Some(level) = level {
                let number =
                    level.parse().ok().filter(|number| given.level.is_none_or(|other| other == *number));
                wish.level = Some(number.ok_or_else(|| {
                    Failure::usage(format!(
                        "--compression {text}: {level:?} is no level, or not that of --compression-level"
                    ))
                })?);
            }
        }
        Ok(wish)
    }

    /// Layers are written once: every output gets the same ones.
    fn and(self, other: Self, text: &str) -> Result<Self, Failure> {
        fn same<T: PartialEq + Copy>(one: Option<T>, other: Option<T>) -> Option<Option<T>> {
            match (one, other) {
                (Some(one), Some(other)) if one != other => None,
                (one, other) => Some(one.or(other)),
            }
        }
        match (same(self.compression, other.compression), same(self.level, other.level)) {
            (Some(compression), Some(level)) => Ok(Self { compression, level }),
            _ => Err(Failure::usage(format!(
                "-o {text}: another compression than --compression or another output asks for"
            ))
            .hint("layers are written once and are the same in every output")),
        }
    }
}

fn compression(name: &str) -> Result<Compression, String> {
    match name {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "none" | "uncompressed" => Ok(Compression::None),
        "estargz" => Err("estargz is not built yet (gzip, zstd and none are)".to_owned()),
        _ => Err(format!("{name:?} is unknown (gzip, zstd and none are known)")),
    }
}

/// One `-o`.
struct Record {
    output: Option<Output>,
    packing: Wish,
    annotations: BTreeMap<String, String>,
}

/// The fields of a record that nobody has read yet.
struct Fields<'a> {
    text: &'a str,
    pairs: Vec<(String, String)>,
}

impl Fields<'_> {
    fn wrong(&self, what: impl std::fmt::Display) -> Failure {
        Failure::usage(format!("-o {}: {what}", self.text))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.pairs.iter().position(|(k, _)| k == key).map(|index| self.pairs.remove(index).1)
    }

    fn switch(&mut self, key: &str) -> Result<Option<bool>, Failure> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let read = switch(&value);
        read.map(Some).ok_or_else(|| self.wrong(format!("{key}={value} is neither true nor false")))
    }

    fn dest(&mut self) -> Result<String, Failure> {
        self.take("dest").filter(|dest| !dest.is_empty()).ok_or_else(|| self.wrong("dest= is missing"))
    }

    fn archive_dest(&mut self) -> Result<Destination, Failure> {
        let dest = self.dest()?;
        Ok(if dest == "-" { Destination::Stdout } else { Destination::File(dest.into()) })
    }

    fn media_types(&mut self) -> Result<MediaTypes, Failure> {
        Ok(match self.switch("oci-mediatypes")? {
            Some(false) => MediaTypes::Docker,
            Some(true) | None => MediaTypes::Oci,
        })
    }
}

impl Record {
    fn read(text: &str) -> Result<Self, Failure> {
        let none =
            |output| Self { output: Some(output), packing: Wish::default(), annotations: BTreeMap::new() };
        // As buildx: a bare word is a directory for the files of the image, `-` their tar on standard output.
        if text == "-" {
            return Ok(none(Output::Archive(Archive::Rootfs, Destination::Stdout)));
        }
        if !text.contains('=') {
            if text.is_empty() {
                return Err(Failure::usage("-o names nothing"));
            }
            return Ok(none(Output::Directory(text.into())));
        }
        let pairs = fields::pairs(text).map_err(|error| Failure::usage(format!("-o {text}: {error}")))?;
        let mut fields = Fields { text, pairs };
        let kind = fields.take("type").ok_or_else(|| fields.wrong("type= is missing"))?;
        let output = output(&kind, &mut fields)?;
        let is_image = !matches!(kind.as_str(), "tar" | "local");
        let (mut packing, mut annotations) = (Wish::default(), BTreeMap::new());
        if is_image {
            packing = wish(&mut fields)?;
            annotations = annotations_of(&mut fields);
        }
        match fields.pairs.first() {
            None => Ok(Self { output, packing, annotations }),
            Some((key, _)) => {
                Err(fields.wrong(format!("{key}= is not known to type={kind}, or not built yet")))
            }
        }
    }
}

fn output(kind: &str, fields: &mut Fields<'_>) -> Result<Option<Output>, Failure> {
    Ok(Some(match kind {
        "oci" => {
            if fields.media_types()? == MediaTypes::Docker {
                return Err(
                    fields.wrong("an OCI layout has OCI media types; type=docker is Docker's archive")
                );
            }
            match fields.switch("tar")? {
                Some(false) => match fields.dest()?.as_str() {
                    "-" => return Err(fields.wrong("a directory cannot go to standard output")),
                    dest => Output::Layout(dest.into()),
                },
                Some(true) | None => Output::Archive(Archive::Oci, fields.archive_dest()?),
            }
        }
        // Without a destination it is what --load is short for.
        "docker" if !fields.pairs.iter().any(|(key, _)| key == "dest") => {
            Output::Archive(Archive::Docker, Destination::Engine)
        }
        "docker" => Output::Archive(Archive::Docker, fields.archive_dest()?),
        "tar" => Output::Archive(Archive::Rootfs, fields.archive_dest()?),
        "local" => match fields.dest()?.as_str() {
            "-" => return Err(fields.wrong("a directory cannot go to standard output").hint("type=tar can")),
            dest => Output::Directory(dest.into()),
        },
        "registry" | "image" => {
            let push = fields.switch("push")?;
            let names = fields.take("name").unwrap_or_default();
            let names = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let media_types = fields.media_types()?;
            if kind == "image" && push != Some(true) {
                // It stays in the store, as every image does.
                return Ok(None);
            }
            if push == Some(false) {
                return Err(fields.wrong("type=registry pushes; type=image does not"));
            }
            Output::Registry(names, media_types)
        }
        _ => {
            return Err(fields
                .wrong(format!("type={kind} is unknown"))
                .hint("types are oci, docker, tar, local, registry and image"));
        }
    }))
}

fn wish(fields: &mut Fields<'_>) -> Result<Wish, Failure> {
    let mut wish = Wish::default();
    if let Some(name) = fields.take("compression") {
        wish.compression =
            Some(compression(&name).map_err(|why| fields.wrong(format!("compression={why}")))?);
    }
    if let Some(level) = fields.take("compression-level") {
        wish.level =
            Some(level.parse().map_err(|_| fields.wrong(format!("compression-level={level} is no number")))?);
    }
    if fields.switch("force-compression")? == Some(true) {
        return Err(fields.wrong("force-compression: layers of a base image are never rewritten"));
    }
    Ok(wish)
}

/// `annotation.KEY=VALUE` and `annotation-manifest.KEY=VALUE`.
fn annotations_of(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    fields.pairs.retain(|(key, value)| {
        let name = key.strip_prefix("annotation.").or_else(|| key.strip_prefix("annotation-manifest."));
        if let Some(name) = name {
            annotations.insert(name.to_owned(), value.clone());
        }
        name.is_none()
    });
    annotations
}

/// Go's strconv.ParseBool, as far as people write it.
fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Output, Failure> {
        let texts = [text.to_owned()];
        parse(&Given { outputs: &texts, ..Given::default() }).map(|mut outputs| outputs.list.remove(0))
    }

    fn all(given: &Given<'_>, texts: &[&str]) -> Result<Outputs, Failure> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse(&Given { outputs: &texts, ..given.clone() })
    }

    #[test]
    fn the_grammar_of_buildx() {
        let file = |name: &str| Destination::File(name.into());
        for (text, output) in [
            ("type=oci,dest=a.tar", Output::Archive(Archive::Oci, file("a.tar"))),
            ("type=oci,dest=-", Output::Archive(Archive::Oci, Destination::Stdout)),
            ("type=oci,tar=false,dest=d", Output::Layout("d".into())),
            (r#"type=oci,"dest=a,b""#, Output::Archive(Archive::Oci, file("a,b"))),
            ("type=docker,dest=a.tar", Output::Archive(Archive::Docker, file("a.tar"))),
            ("type=docker", Output::Archive(Archive::Docker, Destination::Engine)),
            ("type=tar,dest=a.tar", Output::Archive(Archive::Rootfs, file("a.tar"))),
            ("-", Output::Archive(Archive::Rootfs, Destination::Stdout)),
            ("type=local,dest=d", Output::Directory("d".into())),
            ("out", Output::Directory("out".into())),
            (
                r#"type=registry,"name=h/a,h/b""#,
                Output::Registry(vec!["h/a".into(), "h/b".into()], MediaTypes::Oci),
            ),
            ("type=image,push=true,oci-mediatypes=false", Output::Registry(vec![], MediaTypes::Docker)),
        ] {
            assert_eq!(read(text).unwrap(), output, "{text}");
        }
        assert_eq!(all(&Given::default(), &["type=image,name=x"]).unwrap().list, []);
    }

    #[test]
    fn nothing_is_accepted_and_ignored() {
        for (text, said) in [
            ("type=oci", "dest= is missing"),
            ("type=oci,tar=maybe,dest=x", "neither true nor false"),
            ("type=oci,tar=false,dest=-", "cannot go to standard output"),
            ("type=oci,dest=x,oci-mediatypes=false", "OCI media types"),
            ("type=oci,dest=x,compression=lzma", "unknown"),
            ("type=oci,dest=x,compression=estargz", "not built yet"),
            ("type=oci,dest=x,compression-level=high", "no number"),
            ("type=oci,dest=x,compression-level=13", "no level 13"),
            ("type=oci,dest=x,force-compression=true", "never rewritten"),
            ("type=oci,dest=x,name=y", "name="),
            ("type=tar,dest=x,compression=zstd", "compression="),
            ("type=local,dest=-", "cannot go to standard output"),
            ("type=registry,dest=x", "dest="),
            ("type=registry,push=false", "type=image does not"),
            ("dest=x", "type= is missing"),
            ("type=zip,dest=x", "unknown"),
            ("", "names nothing"),
        ] {
            let failure = read(text).unwrap_err();
            assert!(failure.message.contains(said), "{text}: {}", failure.message);
        }
    }

    #[test]
    fn push_and_load_add_one_output_each() {
        let push = Given { push: true, ..Given::default() };
        let registry = || Output::Registry(vec![], MediaTypes::Oci);
        assert_eq!(all(&push, &[]).unwrap().list, [registry()]);
        assert_eq!(all(&push, &["type=registry"]).unwrap().list, [registry()]);
        let load = Given { load: true, ..Given::default() };
        assert_eq!(all(&load, &["type=docker"]).unwrap().list.len(), 1);
        assert_eq!(all(&load, &["type=docker,dest=x"]).unwrap().list.len(), 2);
        assert!(all(&Given::default(), &["type=oci,dest=-", "-"]).is_err());
    }

    #[test]
    fn there_is_one_compression() {
        let packing = |given: &Given<'_>, texts: &[&str]| all(given, texts).map(|o| o.packing.to_string());
        let flag = |text| Given { compression: Some(text), ..Given::default() };
        assert_eq!(packing(&Given::default(), &[]).unwrap(), "gzip:3");
        assert_eq!(packing(&flag("zstd"), &[]).unwrap(), "zstd:3");
        assert_eq!(packing(&flag("zstd:19"), &[]).unwrap(), "zstd:19");
        assert_eq!(packing(&flag("none"), &["type=oci,dest=x,compression=uncompressed"]).unwrap(), "none:0");
        assert_eq!(packing(&Given { level: Some(9), ..Given::default() }, &[]).unwrap(), "gzip:9");
        assert_eq!(
            packing(
                &Given::default(),
                &["type=oci,dest=x,compression=zstd", "type=registry,compression-level=7"]
            )
            .unwrap(),
            "zstd:7"
        );
        assert!(packing(&flag("zstd"), &["type=oci,dest=x,compression=gzip"]).is_err());
        assert!(packing(&Given { level: Some(4), ..flag("gzip:5") }, &[]).is_err());
        assert!(packing(&flag("gzip:x"), &[]).is_err());
        assert!(packing(&Given { level: Some(1), ..flag("none") }, &[]).is_err());
    }

    #[test]
    fn annotations_of_outputs() {
        let outputs =
            all(&Given::default(), &["type=oci,dest=x,annotation.a.b=c=d,annotation-manifest.e=f"]).unwrap();
        assert_eq!(
            outputs.annotations,
            [("a.b", "c=d"), ("e", "f")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
        );
    }
}
