//! COPY and ADD: sources, destination, ownership and mode, all expanded and absolute.

use wbuild_dockerfile::{
    Copy as Source, CopyOperand, CopyVerb, DockerfileError, Expander, Expansion, Flag, Instruction, Word,
    clean, glob,
};

use crate::chmod;
use crate::graph::syntax;
use crate::stage::{Builder, Done};
use crate::step::{Action, Copy, CopyDest, CopyFrom, CopyKind, CopySource, DestShape, History, LayerKind};
use crate::value::{RemoteSource, remote};

/// Plans a COPY or an ADD.
pub(crate) fn copy(
    builder: &mut Builder<'_>,
    instruction: &Instruction,
    source: &Source,
) -> Result<Done, DockerfileError> {
    let chown = optional(builder, source.chown.as_ref())?;
    let mode = optional(builder, source.chmod.as_ref())?;
    let kind = kind(source)?;
    let verb = verb(source);
    let mut created_by = verb.to_owned();
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
                paths.push(path(written, word, source.verb)?);
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
    let action = Action::Copy(Copy { kind, from, sources, dest: self::dest(builder, &dest), chown, chmod });
    Ok(Done {
        name: builder.titles.step(builder.setting.escape, &instruction.text, &builder.scope),
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

// An empty value is no value.
fn optional(builder: &mut Builder<'_>, word: Option<&Word>) -> Result<Option<String>, DockerfileError> {
    let Some(word) = word else { return Ok(None) };
    let text = builder.expand(&word.text, word.span)?;
    Ok((!text.is_empty()).then_some(text))
}

// Refuses the flags that are not built; `--unpack` decides between the two kinds of ADD.
fn kind(source: &Source) -> Result<CopyKind, DockerfileError> {
    let mut kind = match source.verb {
        CopyVerb::Copy => CopyKind::Copy,
        CopyVerb::Add => CopyKind::Add,
    };
    for flag in &source.flags {
        match (flag.name.as_str(), flag.value.as_str()) {
            ("unpack", "true") => {}
            ("unpack", _) => kind = CopyKind::Copy,
            _ => return Err(unsupported(source, flag)),
        }
    }
    Ok(kind)
}

fn unsupported(source: &Source, flag: &Flag) -> DockerfileError {
    let verb = verb(source);
    let remote = |word: &Word| remote(&word.text).is_some();
    let is_remote = source.sources.iter().any(|s| matches!(s, CopyOperand::Path(word) if remote(word)));
    match flag.name.as_str() {
        "checksum" | "keep-git-dir" if !is_remote => {
            syntax(flag.span, format!("--{} requires an HTTP(S) or Git source", flag.name), None)
        }
        _ => DockerfileError::Unsupported {
            span: flag.span,
            feature: format!("{verb} --{}", flag.name),
            supported: match source.verb {
                CopyVerb::Copy => "--from, --chown and --chmod",
                CopyVerb::Add => "--chown, --chmod and --unpack, of local files",
            }
            .to_owned(),
        },
    }
}

fn path(written: String, word: &Word, verb: CopyVerb) -> Result<CopySource, DockerfileError> {
    if let Some(remote) = remote(&written) {
        let what = match remote {
            RemoteSource::Url => "a URL",
            RemoteSource::Git => "a git repository",
        };
        return Err(match verb {
            CopyVerb::Copy => {
                syntax(word.span, format!("a source of COPY cannot be {what}"), Some("a path in the context"))
            }
            CopyVerb::Add => DockerfileError::Unsupported {
                span: word.span,
                feature: format!("ADD of {what}"),
                supported: "ADD of files and archives of the build context; RUN with curl or git".to_owned(),
            },
        });
    }
    let pattern = clean(&format!("/{written}"));
    if glob::has_wildcards(&pattern) {
        let form = Some("a Go filepath.Match pattern");
        glob::check(&pattern).map_err(|e| syntax(word.span, e.to_string(), form))?;
    }
    Ok(CopySource::Path { pattern, written })
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
