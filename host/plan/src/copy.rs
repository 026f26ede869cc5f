//! COPY and ADD: sources, destination, ownership and mode, all expanded and absolute.

use wbuild_dockerfile::{
    Copy as Source, CopyOperand, CopyVerb, DockerfileError, Expander, Expansion, Flag, IgnoreFile,
    Instruction, Span, Word, clean, glob,
};

use wbuild_oci::{Digest, GitDir, GitSource};

use crate::chmod;
use crate::graph::syntax;
use crate::lint::COPY_IGNORED_FILE;
use crate::mount::Presence;
use crate::stage::{Builder, Done};
use crate::step::{
    Action, Archive, Copy, CopyDest, CopyFrom, CopyKind, CopySource, DestShape, History, Include, LayerKind,
    Link, UrlSource,
};
use crate::value::{RemoteSource, remote};

/// Plans a COPY or an ADD.
pub(crate) fn copy(
    builder: &mut Builder<'_>,
    instruction: &Instruction,
    source: &Source,
) -> Result<Done, DockerfileError> {
    let chown = optional(builder, source.chown.as_ref())?;
    let mode = optional(builder, source.chmod.as_ref())?;
    let mut flags = flags(builder, source)?;
    let verb = verb(source);
    let mut created_by = verb.to_owned();
    if flags.parents == Parents::Kept {
        created_by.push_str(" --parents");
    }
    if let Some(owner) = &chown {
        created_by.push_str(&format!(" --chown={owner}"));
    }
    if let Some(mode) = &mode {
        created_by.push_str(&format!(" --chmod={mode}"));
    }
    // Files first, then heredocs, as BuildKit copies them.
    let mut paths = Vec::new();
    let mut inline = Vec::new();
    let mut inline_names = String::new();
    for operand in &source.sources {
        match operand {
            CopyOperand::Path(word) => {
                let written = builder.expand(&word.text, word.span)?;
                created_by.push_str(&format!(" {written}"));
                if source.from.is_none() {
                    ignored(builder, source.verb, &written);
                }
                paths.push(path(written, word, source.verb, &mut flags)?);
            }
            CopyOperand::Heredoc(heredoc) => {
                inline_names.push_str(&format!(" <<{}", heredoc.name));
                let content = match heredoc.expansion {
                    Expansion::Literal => heredoc.text(),
                    Expansion::Expand => {
                        builder.expand_with(Expander::heredoc(), &heredoc.text(), instruction.span)?.text
                    }
                };
                inline.push(file(heredoc.name.clone(), content, instruction)?);
            }
        }
    }
    unused(&flags)?;
    let dest = builder.expand(&source.dest.text, source.dest.span)?;
    created_by.push_str(&inline_names);
    created_by.push_str(&format!(" {dest} # buildkit"));
    let chmod = match (&mode, &source.chmod) {
        (Some(text), Some(word)) => Some(chmod::parse(text).ok_or_else(|| {
            let message = format!("invalid --chmod={text}");
            syntax(
                word.span,
                message,
                Some("an octal mode up to 07777, or a symbolic one such as u+rwX,go-w"),
            )
        })?),
        _ => None,
    };
    let from = match source.from.as_ref().filter(|w| !w.text.is_empty()) {
        Some(word) => builder.copy_from(word)?,
        None => CopyFrom::Context,
    };
    let sources = paths.into_iter().chain(inline).collect();
    // As BuildKit: a mode of its own makes it a copy into the tree.
    let link = if chmod.is_some() { Link::Tree } else { flags.link };
    if let (Link::Layer, Some(owner), Some(word)) = (link, &chown, &source.chown) {
        numeric(owner, word)?;
    }
    let (kind, exclude) = (flags.kind, flags.exclude);
    let dest = self::dest(builder, &dest);
    let action = Action::Copy(Copy { kind, from, sources, dest, chown, chmod, exclude, link });
    Ok(Done {
        title: builder.titles.step(builder.setting.escape, &instruction.text, &builder.scope),
        action,
        history: Some(History { created_by, layer: LayerKind::Layer }),
    })
}

fn verb(source: &Source) -> &'static str {
    match source.verb {
        CopyVerb::Copy => "COPY",
        CopyVerb::Add => "ADD",
    }
}

// Where nothing is brought back by a `!`, it can be told that a source is hidden.
fn ignored(builder: &Builder<'_>, verb: CopyVerb, written: &str) {
    let ignore = builder.setting.ignore;
    if ignore.is_empty() || ignore.has_exceptions() {
        return;
    }
    let path = clean(written);
    let is_root = path == "." || path == "/";
    if (is_root && !ignore.has_everything()) || !ignore.excludes(path.as_bytes()) {
        return;
    }
    let verb = match verb {
        CopyVerb::Copy => "Copy",
        CopyVerb::Add => "Add",
    };
    let detail = format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
    builder.setting.lint.report(COPY_IGNORED_FILE, builder.place, detail);
}

// An empty value is no value.
fn optional(builder: &mut Builder<'_>, word: Option<&Word>) -> Result<Option<String>, DockerfileError> {
    let Some(word) = word else { return Ok(None) };
    let text = builder.expand(&word.text, word.span)?;
    Ok((!text.is_empty()).then_some(text))
}

// What the flags of one COPY or ADD ask for.
struct Asked {
    kind: CopyKind,
    archive: Archive,
    /// As it is written, until a source takes it.
    checksum: Option<(String, Span)>,
    git_dir: Option<(GitDir, Span, Used)>,
    parents: Parents,
    link: Link,
    exclude: Vec<String>,
}

/// Whether a source had use of a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Used {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Parents {
    Kept,
    Dropped,
}

fn flags(builder: &mut Builder<'_>, source: &Source) -> Result<Asked, DockerfileError> {
    let kind = match source.verb {
        CopyVerb::Copy => CopyKind::Copy,
        CopyVerb::Add => CopyKind::Add,
    };
    let mut asked = Asked {
        kind,
        archive: Archive::Keep,
        checksum: None,
        git_dir: None,
        parents: Parents::Dropped,
        link: Link::Tree,
        exclude: Vec::new(),
    };
    for flag in &source.flags {
        match (flag.name.as_str(), flag.value.as_str()) {
            ("unpack", "true") => asked.archive = Archive::Unpack,
            ("unpack", _) => asked.kind = CopyKind::Copy,
            ("parents", _) => asked.parents = Parents::Kept,
            ("link", _) => asked.link = Link::Layer,
            ("checksum", text) if source.verb == CopyVerb::Add => {
                let text = builder.expand(text, flag.span)?;
                if source.sources.len() > 1 {
                    return Err(syntax(
                        flag.span,
                        "--checksum cannot be of several sources",
                        Some("one source"),
                    ));
                }
                asked.checksum = Some((text, flag.span));
            }
            ("keep-git-dir", text) if source.verb == CopyVerb::Add => {
                let git_dir = if text == "true" { GitDir::Kept } else { GitDir::LeftOut };
                asked.git_dir = Some((git_dir, flag.span, Used::No));
            }
            ("exclude", text) => {
                let pattern = builder.expand(text, flag.span)?;
                IgnoreFile::of_patterns([pattern.as_str()]).map_err(|error| {
                    let form = Some("a pattern as in .dockerignore");
                    syntax(flag.span, format!("--exclude={pattern}: {error}"), form)
                })?;
                asked.exclude.push(pattern);
            }
            _ => return Err(unsupported(source, flag)),
        }
    }
    Ok(asked)
}

// A layer that does not know what is below it cannot look up names there.
fn numeric(owner: &str, word: &Word) -> Result<(), DockerfileError> {
    let is_number = |part: &str| part.parse::<u32>().is_ok();
    let (user, group) = owner.split_once(':').unwrap_or((owner, "0"));
    if is_number(user) && (group.is_empty() || is_number(group)) {
        return Ok(());
    }
    let message = format!("--chown={owner} has a name, and --link copies without the image's /etc/passwd");
    Err(syntax(word.span, message, Some("numbers, --chown=UID[:GID], or no --link")))
}

/// Flags that say something of a source that is none of a kind that has it.
fn unused(flags: &Asked) -> Result<(), DockerfileError> {
    if let Some((_, span)) = &flags.checksum {
        return Err(syntax(*span, "--checksum requires an HTTP(S) or Git source", None));
    }
    match &flags.git_dir {
        Some((GitDir::Kept, span, Used::No)) => {
            Err(syntax(*span, "--keep-git-dir requires a Git source", None))
        }
        _ => Ok(()),
    }
}

fn unsupported(source: &Source, flag: &Flag) -> DockerfileError {
    DockerfileError::Unsupported {
        span: flag.span,
        feature: format!("{} --{}", verb(source), flag.name),
        supported: match source.verb {
            CopyVerb::Copy => "--from, --chown, --chmod, --link, --parents and --exclude",
            CopyVerb::Add => {
                "--chown, --chmod, --link, --exclude, --unpack, --checksum of a URL or a git repository, and --keep-git-dir"
            }
        }
        .to_owned(),
    }
}

fn path(
    written: String,
    word: &Word,
    verb: CopyVerb,
    flags: &mut Asked,
) -> Result<CopySource, DockerfileError> {
    if let Some(remote) = remote(&written) {
        let what = match remote {
            RemoteSource::Url => "a URL",
            RemoteSource::Git => "a git repository",
        };
        return Err(match verb {
            CopyVerb::Copy => {
                syntax(word.span, format!("a source of COPY cannot be {what}"), Some("a path in the context"))
            }
            CopyVerb::Add if remote == RemoteSource::Url => return url(written, word, flags),
            CopyVerb::Add => return git(&written, word, flags),
        });
    }
    let parts = (flags.parents == Parents::Kept).then(|| written.split_once("/./").unwrap_or(("", &written)));
    let pattern = clean(&format!("/{}", parts.map_or(written.as_str(), |(base, _)| base)));
    let well_formed = |pattern: &str| {
        let form = Some("a Go filepath.Match pattern");
        glob::check(pattern).map_err(|e| syntax(word.span, e.to_string(), form))
    };
    if glob::has_wildcards(&pattern) {
        well_formed(&pattern)?;
    }
    let include = match parts {
        None => None,
        Some((_, rest)) => {
            let rest = clean(&format!("/{rest}"));
            let rest = rest.trim_start_matches('/').to_owned();
            well_formed(&rest)?;
            let wild = glob::has_wildcards(&pattern) || glob::has_wildcards(&rest);
            let presence = if wild { Presence::Optional } else { Presence::Required };
            Some(Include { pattern: rest, presence })
        }
    };
    Ok(CopySource::Path { pattern, written, include })
}

// Plain HTTP is for this machine alone: nobody on the way can put something else there.
fn url(url: String, word: &Word, flags: &mut Asked) -> Result<CopySource, DockerfileError> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        let message = "a URL with a user or password would be in the image's history";
        return Err(syntax(word.span, message, Some("a URL without, or RUN with a secret")));
    }
    let authority = authority.split(['?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if host.is_empty() {
        return Err(syntax(word.span, format!("the URL {url:?} has no host"), Some("https://HOST/PATH")));
    }
    if scheme == "http" && !loopback {
        let message = "plain HTTP is used only on loopback: what it gives could be anybody's";
        return Err(syntax(word.span, message, Some("https://")));
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let name = match path.trim_end_matches('/').rsplit('/').next().unwrap_or_default() {
        "" | "." | ".." => "__unnamed__".to_owned(),
        name => percent_decoded(name),
    };
    let checksum = match flags.checksum.take() {
        None => None,
        Some((text, span)) => {
            let digest: Result<Digest, wbuild_oci::DigestError> = text.parse();
            let form = Some("sha256:HEX");
            Some(digest.map_err(|error| syntax(span, format!("--checksum={text}: {error}"), form))?)
        }
    };
    Ok(CopySource::Url(UrlSource { url, name, checksum, archive: flags.archive }))
}

// Flags and query say the same things: where both speak, they have to agree.
fn git(written: &str, word: &Word, flags: &mut Asked) -> Result<CopySource, DockerfileError> {
    const FORM: &str = "https://HOST/PATH.git#REF:SUBDIR";
    let wrong = |message: String| syntax(word.span, message, Some(FORM));
    let parsed =
        GitSource::parse(written).ok_or_else(|| wrong(format!("{written:?} is no git repository")))?;
    let mut source = parsed.map_err(|error| wrong(error.to_string()))?;
    if source.login.is_some() {
        let message = "a URL with a user or password would be in the image's history".to_owned();
        return Err(syntax(word.span, message, Some("a URL without, and --secret id=GIT_AUTH_TOKEN")));
    }
    if let Some(why) = source.unreachable() {
        return Err(DockerfileError::Unsupported {
            span: word.span,
            feature: format!("ADD of {source} ({why})"),
            supported: format!("{FORM}, with --secret id=GIT_AUTH_TOKEN where it wants a login"),
        });
    }
    if let Some((text, span)) = flags.checksum.take() {
        let checksum = wbuild_oci::git::checksum(&text).ok_or_else(|| {
            syntax(span, format!("--checksum={text} is no commit id"), Some("the hexadecimal id of a commit"))
        })?;
        if !source.checksum.is_empty() && source.checksum != checksum {
            let message = format!("checksum mismatch {checksum:?} != {:?}", source.checksum);
            return Err(syntax(span, message, Some("one of them")));
        }
        source.checksum = checksum;
    }
    if let Some((git_dir, span, used)) = &mut flags.git_dir {
        if source.git_dir.is_some_and(|said| said != *git_dir) {
            return Err(syntax(*span, "inconsistent keep-git-dir configuration", Some("one of them")));
        }
        source.git_dir = Some(*git_dir);
        *used = Used::Yes;
    }
    Ok(CopySource::Git(Box::new(source)))
}

// `%20` and the like, where they make what can be a name.
fn percent_decoded(name: &str) -> String {
    let text = wbuild_oci::git::decoded(name);
    let is_name = !text.contains(['/', '\0']) && !matches!(text.as_str(), "" | "." | "..");
    if is_name { text } else { name.to_owned() }
}

fn file(name: String, content: String, instruction: &Instruction) -> Result<CopySource, DockerfileError> {
    if name.contains('/') || name == "." || name == ".." {
        let message = format!("the heredoc {name:?} cannot be a file");
        return Err(syntax(instruction.span, message, Some("a plain name")));
    }
    Ok(CopySource::Inline { name, content })
}

fn dest(builder: &Builder<'_>, text: &str) -> CopyDest {
    let directory = text.is_empty() || text == "." || text.ends_with('/') || text.ends_with("/.");
    let path = match text {
        "" => builder.absolute("."),
        text => builder.absolute(text),
    };
    let shape = if directory { DestShape::Directory } else { DestShape::AsIs };
    CopyDest { path: clean(&path), shape }
}
