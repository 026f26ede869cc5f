//! A file of cases: text with a head, then `=== accepted: ..`, `=== refused: ..` or `=== printed: ..`, each with `--- ` sections.
//!
//! `--- args` holds a word of the command line per line; `config`, `tree`, `error` and `printed` hold what came of the build; every
//! other section is a file of the context: `--- NAME [0755] [crlf] [bom] [tar]`, or a link `--- NAME -> TARGET`. A tar is written as
//! one entry per line, `MODE UID:GID PATH [TEXT | -> TARGET]`. What is parsed and shown again is the same text.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A file of cases.
pub(super) struct Document {
    pub(super) head: String,
    pub(super) cases: Vec<Case>,
}

/// What a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An image.
    Accepted,
    /// An error.
    Refused,
    /// Text, and no image is looked at.
    Printed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) title: String,
    pub(super) sections: Vec<Section>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) body: String,
}

const RESULTS: [&str; 4] = ["config", "tree", "error", "printed"];

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut document = Self { head: String::new(), cases: Vec::new() };
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("=== ") {
                let (kind, title) = title.split_once(": ").with_context(|| format!("no title: {line}"))?;
                let kind = match kind {
                    "accepted" => Kind::Accepted,
                    "refused" => Kind::Refused,
                    "printed" => Kind::Printed,
                    _ => bail!("neither accepted, refused nor printed: {line}"),
                };
                document.cases.push(Case { kind, title: title.to_owned(), sections: Vec::new() });
                continue;
            }
            let Some(case) = document.cases.last_mut() else {
                document.head.push_str(line);
                document.head.push('\n');
                continue;
            };
            match line.strip_prefix("--- ") {
                Some(title) => case.sections.push(Section::new(title, "")),
                None => {
                    let section =
                        case.sections.last_mut().with_context(|| format!("in no section: {line}"))?;
                    section.body.push_str(line);
                    section.body.push('\n');
                }
            }
        }
        Ok(document)
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        for case in &self.cases {
            let kind = match case.kind {
                Kind::Accepted => "accepted",
                Kind::Refused => "refused",
                Kind::Printed => "printed",
            };
            writeln!(f, "=== {kind}: {}", case.title)?;
            for section in &case.sections {
                write!(f, "--- {}\n{}", section.title, section.body)?;
            }
        }
        Ok(())
    }
}

impl Case {
    /// The sections that are no results.
    pub(super) fn inputs(&self) -> Vec<Section> {
        self.sections.iter().filter(|section| !RESULTS.contains(&section.title.as_str())).cloned().collect()
    }

    pub(super) fn files(&self) -> Vec<Section> {
        self.inputs().into_iter().filter(|section| section.title != "args").collect()
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        let args = self.sections.iter().filter(|section| section.title == "args");
        args.flat_map(|section| section.body.lines().map(str::to_owned)).collect()
    }
}

impl Section {
    /// Text always ends with a line end.
    pub(super) fn new(title: &str, body: &str) -> Self {
        let mut body = body.to_owned();
        if !body.is_empty() && !body.ends_with('\n') {
            body.push('\n');
        }
        Self { title: title.to_owned(), body }
    }

    /// Makes this file of the context.
    pub(super) fn write(&self, context: &Path) -> Result<()> {
        let (name, target) = match self.title.split_once(" -> ") {
            Some((name, target)) => (name, Some(target)),
            None => (self.title.as_str(), None),
        };
        let mut words = name.split(' ');
        let path = context.join(words.next().unwrap_or_default());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        if let Some(target) = target {
            return Ok(std::os::unix::fs::symlink(target, &path)?);
        }
        let mut content = self.body.clone().into_bytes();
        let mut mode = 0o644;
        for word in words {
            match word {
                "crlf" => content = String::from_utf8(content)?.replace('\n', "\r\n").into_bytes(),
                "bom" => content = [b"\xEF\xBB\xBF", content.as_slice()].concat(),
                "tar" => content = archive(&self.body)?,
                octal => {
                    mode = u32::from_str_radix(octal, 8).with_context(|| format!("unknown word {octal}"))?
                }
            }
        }
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, &content)?;
            content = gzip.finish()?;
        }
        fs::write(&path, content)?;
        Ok(super::set_mode(&path, mode)?)
    }
}

fn archive(listing: &str) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for line in listing.lines() {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().with_context(|| format!("not an entry: {line}"));
        let (mode, owner, path) = (word()?, word()?, word()?);
        let rest = words.next().unwrap_or_default();
        let (uid, gid) = owner.split_once(':').context("an owner is UID:GID")?;
        let mut header = tar::Header::new_ustar();
        header.set_mode(u32::from_str_radix(mode, 8)?);
        header.set_uid(uid.parse()?);
        header.set_gid(gid.parse()?);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        if let Some(target) = rest.strip_prefix("-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, path, target)?;
        } else if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, path, &[][..])?;
        } else {
            header.set_size(u64::try_from(rest.len())?);
            tar.append_data(&mut header, path, rest.as_bytes())?;
        }
    }
    Ok(tar.into_inner()?)
}
