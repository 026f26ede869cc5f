//! `--mount=type=..,key=value,..` to a [`RunMount`]: BuildKit's keys, defaults and rules.
//!
//! A key that the type does not know is an error, never ignored.

use wbuild_dockerfile::{DockerfileError, Field, Flag, Span, Word, clean, fields, nearest};

use crate::graph::syntax;
use crate::mount::{
    BindMount, CacheMount, CacheStart, FileAttributes, MountAccess, MountFrom, Presence, RunMount,
    RunMountKind, SecretMount, Sharing, SshMount, TmpfsMount,
};
use crate::stage::Builder;
use crate::step::CopyFrom;

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];
const KEYS: [&str; 18] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
];
const NOTHING: &str = "scratch";

/// The `from` of a mount flag as it is written; `None` where it names no stage, image or context.
pub(crate) fn from_of(flag: &Flag) -> Option<Word> {
    let fields = fields(&flag.value).ok()?;
    let from = fields.into_iter().rev().find(|field| field.key == "from")?.value?;
    (!from.is_empty() && from != NOTHING).then_some(Word { text: from, span: flag.span })
}

// What the fields of one flag say.
#[derive(Default)]
struct Said {
    kind: Option<String>,
    from: String,
    source: String,
    target: String,
    access: Option<MountAccess>,
    presence: Option<Presence>,
    size: Option<u64>,
    id: String,
    sharing: Option<Sharing>,
    attributes: FileAttributes,
    env: Option<String>,
}

/// Reads one `--mount`; `agents` counts the ssh mounts before it.
pub(super) fn mount(
    builder: &mut Builder<'_>,
    flag: &Flag,
    agents: &mut usize,
) -> Result<RunMount, DockerfileError> {
    let span = flag.span;
    let listed =
        fields(&flag.value).map_err(|error| syntax(span, error, Some("--mount=type=TYPE,target=PATH,..")))?;
    let mut said = Said::default();
    for field in listed {
        read(builder, &mut said, field, span)?;
    }
    let kind = said.kind.clone().unwrap_or_else(|| "bind".to_owned());
    fits(&said, &kind, span)?;
    let kind = match kind.as_str() {
        "cache" => RunMountKind::Cache(cache(builder, said, span)?),
        "tmpfs" => RunMountKind::Tmpfs(TmpfsMount {
            target: target(builder, &said.target, span)?,
            size: said.size.filter(|size| *size > 0),
            access: said.access.unwrap_or(MountAccess::ReadWrite),
        }),
        "secret" => RunMountKind::Secret(secret(builder, said, span)?),
        "ssh" => {
            let number = *agents;
            *agents += 1;
            RunMountKind::Ssh(ssh(builder, said, number, span)?)
        }
        _ => RunMountKind::Bind(BindMount {
            target: target(builder, &said.target, span)?,
            from: from(builder, &said.from, MountFrom::Files(CopyFrom::Context), span)?,
            source: clean(&format!("/{}", said.source)),
            access: said.access.unwrap_or(MountAccess::ReadOnly),
        }),
    };
    Ok(RunMount { span, kind })
}

fn read(builder: &mut Builder<'_>, said: &mut Said, field: Field, span: Span) -> Result<(), DockerfileError> {
    let key = field.key.as_str();
    let Some(value) = field.value else {
        return alone(said, key, span);
    };
    // A stage must be known before anything is expanded; the graph has refused variables there.
    let value = if key == "from" { value } else { builder.expand(&value, span)? };
    match key {
        "type" => said.kind = Some(one_of(&value, &TYPES, "mount type", span)?.to_owned()),
        "from" => said.from = value,
        "source" | "src" => said.source = value,
        "target" | "dst" | "destination" => said.target = value,
        "readonly" | "ro" => said.access = Some(access(boolean(key, &value, span)?)),
        "readwrite" | "rw" => said.access = Some(access(boolean(key, &value, span)?.opposite())),
        "required" => {
            said.presence = Some(match boolean(key, &value, span)? {
                Answer::Yes => Presence::Required,
                Answer::No => Presence::Optional,
            });
        }
        "size" => {
            let expected = "a size such as 64m or 1g";
            said.size =
                Some(ram_in_bytes(&value).ok_or_else(|| {
                    syntax(span, format!("invalid value for size: {value}"), Some(expected))
                })?);
        }
        "id" => said.id = value,
        "sharing" => {
            said.sharing = Some(match one_of(&value, &SHARINGS, "sharing value", span)? {
                "private" => Sharing::Private,
                "locked" => Sharing::Locked,
                _ => Sharing::Shared,
            });
        }
        "mode" => {
            let mode = u32::from_str_radix(&value, 8).ok().filter(|mode| *mode <= 0o7777);
            said.attributes.mode = Some(mode.ok_or_else(|| {
                syntax(span, format!("invalid value {value} for mode"), Some("an octal mode up to 7777"))
            })?);
        }
        "uid" => said.attributes.uid = Some(id_number(key, &value, span)?),
        "gid" => said.attributes.gid = Some(id_number(key, &value, span)?),
        "env" => said.env = Some(value),
        _ => return Err(unknown(key, span)),
    }
    Ok(())
}

// A field without a value.
fn alone(said: &mut Said, key: &str, span: Span) -> Result<(), DockerfileError> {
    match key {
        "readonly" | "ro" => said.access = Some(MountAccess::ReadOnly),
        "readwrite" | "rw" => said.access = Some(MountAccess::ReadWrite),
        "required" => said.presence = Some(Presence::Required),
        _ if KEYS.contains(&key) || key == "env" => {
            let message = format!("invalid field '{key}' must be a key=value pair");
            return Err(syntax(span, message, Some(&format!("{key}=VALUE"))));
        }
        _ => return Err(unknown(key, span)),
    }
    Ok(())
}

fn unknown(key: &str, span: Span) -> DockerfileError {
    DockerfileError::Unknown {
        span,
        what: "key of --mount".to_owned(),
        found: key.to_owned(),
        nearest: nearest(key, KEYS.iter().copied().chain(["env"])),
    }
}

// What a type does not know is refused.
fn fits(said: &Said, kind: &str, span: Span) -> Result<(), DockerfileError> {
    let a = said.attributes;
    let owned = matches!(kind, "cache" | "secret" | "ssh");
    let presented = matches!(kind, "secret" | "ssh");
    let rules = [
        ("uid", a.uid.is_some() && !owned, "cache, secret and ssh"),
        ("gid", a.gid.is_some() && !owned, "cache, secret and ssh"),
        ("mode", a.mode.is_some() && !owned, "cache, secret and ssh"),
        ("required", said.presence.is_some() && !presented, "secret and ssh"),
        ("size", said.size.is_some() && kind != "tmpfs", "tmpfs"),
        ("sharing", said.sharing.is_some() && kind != "cache", "cache"),
        ("env", said.env.is_some() && kind != "secret", "secret"),
        ("from", !said.from.is_empty() && !matches!(kind, "bind" | "cache"), "bind and cache"),
        ("source", !said.source.is_empty() && matches!(kind, "tmpfs" | "ssh"), "bind, cache and secret"),
        ("id", !said.id.is_empty() && matches!(kind, "bind" | "tmpfs"), "cache, secret and ssh"),
    ];
    match rules.iter().find(|(_, broken, _)| *broken) {
        Some((key, _, types)) => Err(syntax(
            span,
            format!("unexpected key '{key}' for mount type '{kind}'"),
            Some(&format!("{key} with a mount of type {types}")),
        )),
        None => Ok(()),
    }
}

fn cache(builder: &Builder<'_>, said: Said, span: Span) -> Result<CacheMount, DockerfileError> {
    let target = target(builder, &said.target, span)?;
    let start = from(builder, &said.from, MountFrom::Scratch, span)?;
    let source = clean(&format!("/{}", said.source));
    if start == MountFrom::Scratch && source != "/" {
        let expected = "from=STAGE|IMAGE|CONTEXT, in which source is looked up";
        return Err(syntax(span, "a cache mount with source but without from", Some(expected)));
    }
    Ok(CacheMount {
        // Not the absolute path: BuildKit names it after what is written.
        id: if said.id.is_empty() { clean(&said.target) } else { said.id },
        target,
        sharing: said.sharing.unwrap_or(Sharing::Shared),
        access: said.access.unwrap_or(MountAccess::ReadWrite),
        start: CacheStart { from: start, source, attributes: said.attributes },
    })
}

fn secret(builder: &Builder<'_>, said: Said, span: Span) -> Result<SecretMount, DockerfileError> {
    if !said.source.is_empty() && !said.id.is_empty() {
        return Err(syntax(span, "both source and id can't be set", Some("id=NAME of a --secret")));
    }
    if said.access == Some(MountAccess::ReadWrite) {
        return Err(syntax(span, "a secret cannot be written", Some("a secret mount without rw")));
    }
    let named = if said.source.is_empty() { said.id } else { said.source };
    let id = if named.is_empty() { last_of(&said.target).to_owned() } else { named };
    if id.is_empty() {
        return Err(syntax(span, "invalid secret mount: one of source, target required", Some("id=NAME")));
    }
    let file = match (said.target.is_empty(), &said.env) {
        (true, Some(_)) => None,
        (true, None) => Some(format!("/run/secrets/{}", last_of(&id))),
        (false, _) => Some(said.target),
    };
    Ok(SecretMount {
        id,
        target: file.map(|path| target(builder, &path, span)).transpose()?,
        env: said.env,
        presence: said.presence.unwrap_or(Presence::Optional),
        attributes: said.attributes,
    })
}

fn ssh(builder: &Builder<'_>, said: Said, number: usize, span: Span) -> Result<SshMount, DockerfileError> {
    let path = match said.target.as_str() {
        "" => format!("/run/buildkit/ssh_agent.{number}"),
        path => path.to_owned(),
    };
    Ok(SshMount {
        id: if said.id.is_empty() { "default".to_owned() } else { said.id },
        target: target(builder, &path, span)?,
        presence: said.presence.unwrap_or(Presence::Optional),
        attributes: said.attributes,
    })
}

fn from(
    builder: &Builder<'_>,
    text: &str,
    absent: MountFrom,
    span: Span,
) -> Result<MountFrom, DockerfileError> {
    match text {
        "" => Ok(absent),
        NOTHING => Ok(MountFrom::Scratch),
        text => builder.copy_from(&Word { text: text.to_owned(), span }).map(MountFrom::Files),
    }
}

fn target(builder: &Builder<'_>, written: &str, span: Span) -> Result<String, DockerfileError> {
    let path = clean(&builder.absolute(written));
    if path == "/" {
        let expected = "target=PATH of a file or directory below the root";
        return Err(syntax(span, format!("invalid mount target {written:?}"), Some(expected)));
    }
    Ok(path)
}

fn last_of(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn one_of<'t>(value: &str, known: &[&'t str], what: &str, span: Span) -> Result<&'t str, DockerfileError> {
    let lower = value.to_lowercase();
    known.iter().find(|name| **name == lower).copied().ok_or_else(|| DockerfileError::Unknown {
        span,
        what: what.to_owned(),
        found: value.to_owned(),
        // `tmp` is nearer to nothing by distance, and to one by its beginning.
        nearest: nearest(value, known.iter().copied()).or_else(|| {
            let begun = known.iter().find(|name| lower.len() >= 2 && name.starts_with(&lower));
            begun.map(|name| (*name).to_owned())
        }),
    })
}

#[derive(Clone, Copy)]
enum Answer {
    Yes,
    No,
}

impl Answer {
    fn opposite(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
        }
    }
}

fn access(read_only: Answer) -> MountAccess {
    match read_only {
        Answer::Yes => MountAccess::ReadOnly,
        Answer::No => MountAccess::ReadWrite,
    }
}

// Go's strconv.ParseBool.
fn boolean(key: &str, value: &str, span: Span) -> Result<Answer, DockerfileError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Answer::Yes),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Answer::No),
        _ => Err(syntax(
            span,
            format!("invalid value for {key}: {value}"),
            Some(&format!("{key}=true or false")),
        )),
    }
}

fn id_number(key: &str, value: &str, span: Span) -> Result<u32, DockerfileError> {
    let number = value.parse().ok().filter(|_| !value.starts_with('+'));
    number.ok_or_else(|| syntax(span, format!("invalid value {value} for {key}"), Some("a number")))
}

/// Reads a size as Docker's command line does: a number, perhaps with a fraction, and one of the letters b, k, m, g, t, p, which stand for
/// powers of 1024 (`64m`, `1.5GiB`).
#[must_use]
pub fn ram_in_bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let (whole, fraction) = number.split_once('.')?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 9)?;
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    let scaled = (u128::from(part) << shift) / 10_u128.pow(digits);
    whole.checked_mul(1 << shift)?.checked_add(u64::try_from(scaled).ok()?)
}

#[cfg(test)]
mod tests;
