//! `-o type=..,dest=..` and `--push`: where the image goes.

use std::path::PathBuf;

use super::fields;
use crate::failure::Failure;

/// One place the image goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// An OCI layout as a tar archive.
    Archive(Destination),
    /// An OCI layout directory.
    Layout(PathBuf),
    /// A registry, under these names besides those of `-t`.
    Registry(Vec<String>),
}

/// Where an archive is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// This file, replaced when it is complete.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// Reads every `-o`; `push` adds a registry unless one is there.
///
/// # Errors
/// Exit 2: a record that is none, a type or key that is unknown or not built yet, no destination.
pub(crate) fn parse(given: &[String], push: Push) -> Result<Vec<Output>, Failure> {
    let mut outputs = given.iter().map(|text| one(text)).collect::<Result<Vec<_>, _>>()?;
    let pushed = outputs.iter().any(|output| matches!(output, Output::Registry(_)));
    if push == Push::Yes && !pushed {
        outputs.push(Output::Registry(Vec::new()));
    }
    if outputs.iter().filter(|o| matches!(o, Output::Archive(Destination::Stdout))).count() > 1 {
        return Err(Failure::usage("only one output can go to standard output"));
    }
    Ok(outputs)
}

/// Whether `--push` was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// It was not.
    No,
    /// It was.
    Yes,
}

fn one(text: &str) -> Result<Output, Failure> {
    let wrong = |what: String| Failure::usage(format!("-o {text}: {what}"));
    if !text.contains('=') {
        return Err(wrong("writing the files of the image (type=local, type=tar) is not built yet".into())
            .hint("-o type=oci,dest=FILE writes the image"));
    }
    let mut pairs = fields::pairs(text).map_err(|error| wrong(error.to_string()))?;
    let mut take = |key: &str| pairs.iter().position(|(k, _)| k == key).map(|index| pairs.remove(index).1);
    let kind = take("type").ok_or_else(|| wrong("type= is missing".into()))?;
    let output = match kind.as_str() {
        "oci" => {
            let tar = match take("tar") {
                None => true,
                Some(value) => {
                    switch(&value).ok_or_else(|| wrong(format!("tar={value} is neither true nor false")))?
                }
            };
            let dest = take("dest")
                .filter(|dest| !dest.is_empty())
                .ok_or_else(|| wrong("dest= is missing".into()))?;
            match (tar, dest.as_str()) {
                (true, "-") => Output::Archive(Destination::Stdout),
                (true, _) => Output::Archive(Destination::File(dest.into())),
                (false, "-") => return Err(wrong("a directory cannot go to standard output".into())),
                (false, _) => Output::Layout(dest.into()),
            }
        }
        "registry" => {
            let names = take("name").unwrap_or_default();
            Output::Registry(names.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect())
        }
        "docker" | "tar" | "local" | "image" => {
            return Err(wrong(format!("type={kind} is not built yet"))
                .hint("type=oci,dest=FILE, type=oci,tar=false,dest=DIR and type=registry are"));
        }
        _ => return Err(wrong(format!("type={kind} is unknown")).hint("types are oci and registry")),
    };
    match pairs.first() {
        None => Ok(output),
        Some((key, _)) => Err(wrong(format!("{key}= is not known to type={kind}, or not built yet"))),
    }
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
        parse(&[text.to_owned()], Push::No).map(|mut outputs| outputs.remove(0))
    }

    #[test]
    fn the_grammar_of_buildx() {
        assert_eq!(read("type=oci,dest=a.tar").unwrap(), Output::Archive(Destination::File("a.tar".into())));
        assert_eq!(read("type=oci,dest=-").unwrap(), Output::Archive(Destination::Stdout));
        assert_eq!(read("type=oci,tar=false,dest=d").unwrap(), Output::Layout("d".into()));
        assert_eq!(read(r#"type=oci,"dest=a,b""#).unwrap(), Output::Archive(Destination::File("a,b".into())));
        assert_eq!(
            read(r#"type=registry,"name=h/a,h/b""#).unwrap(),
            Output::Registry(vec!["h/a".into(), "h/b".into()])
        );
    }

    #[test]
    fn nothing_is_accepted_and_ignored() {
        for (text, said) in [
            ("type=docker,dest=x", "not built yet"),
            ("out", "not built yet"),
            ("type=oci", "dest= is missing"),
            ("type=oci,tar=maybe,dest=x", "neither true nor false"),
            ("type=oci,tar=false,dest=-", "cannot go to standard output"),
            ("type=oci,dest=x,compression=zstd", "compression="),
            ("type=registry,dest=x", "dest="),
            ("dest=x", "type= is missing"),
            ("type=zip,dest=x", "unknown"),
        ] {
            let failure = read(text).unwrap_err();
            assert!(failure.message.contains(said), "{text}: {}", failure.message);
        }
    }

    #[test]
    fn push_adds_one_registry() {
        assert_eq!(parse(&[], Push::Yes).unwrap(), [Output::Registry(vec![])]);
        assert_eq!(parse(&["type=registry".into()], Push::Yes).unwrap().len(), 1);
        assert!(parse(&["type=oci,dest=-".into(), "type=oci,dest=-".into()], Push::No).is_err());
    }
}
