//! One repository of a server: what its references name, and a pack with one commit.
//!
//! A pack holds one commit without its history where the server can do that. A commit that no reference names is asked for by its
//! id; of a server that gives only what its references name, everything is fetched and searched.

use cap_std::fs::Dir;
use wbuild_oci::git::is_commit_id;
use wbuild_oci::{GitSource, Pinning};
use wbuild_store::GitFound;

use crate::error::GitError;
use crate::http::{Answer, Http};
use crate::limits::Limits;
use crate::pack::Objects;
use crate::wire::{Advertisement, Packets, Reference, Request, references};

const SERVICE: &str = "/info/refs?service=git-upload-pack";
const AGENT: &str = concat!("agent=wbuild/", env!("CARGO_PKG_VERSION"));

/// A server that was asked what it can do.
pub(crate) struct Server<'h> {
    http: &'h dyn Http,
    pub(crate) remote: String,
    /// Where it really is: redirects of the first request are followed.
    base: String,
    said: Advertisement,
    pub(crate) kind: gix_hash::Kind,
    limits: Limits,
}

/// What is asked for.
struct Want<'a> {
    ids: &'a [String],
    history: History,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum History {
    Whole,
    LeftOut,
}

/// Finds the commit that a source names. A commit's id in full needs no server.
///
/// # Errors
/// The server cannot be asked, has no such reference, or gives another commit than the source's checksum.
pub fn find(http: &dyn Http, source: &GitSource, limits: &Limits) -> Result<GitFound, GitError> {
    let alone = |commit: &str| GitFound { commit: commit.to_owned(), tag: None, reference: None };
    let found = if source.is_commit() {
        alone(&source.reference)
    } else if source.pinning == Pinning::ByCommit {
        let full = |name: &str| match name.starts_with("refs/") {
            true => name.to_owned(),
            false => format!("refs/heads/{name}"),
        };
        let reference = (!source.reference.is_empty()).then(|| full(&source.reference));
        GitFound { reference, ..alone(&source.checksum) }
    } else {
        Server::connect(http, &source.remote, limits)?.find(&source.reference)?
    };
    let fits = |id: &str| id.starts_with(&source.checksum);
    if fits(&found.commit) || found.tag.as_deref().is_some_and(fits) {
        return Ok(found);
    }
    Err(GitError::Checksum {
        remote: source.remote.clone(),
        expected: source.checksum.clone(),
        found: found.commit,
    })
}

impl<'h> Server<'h> {
    pub(crate) fn connect(http: &'h dyn Http, remote: &str, limits: &Limits) -> Result<Self, GitError> {
        let failed = |source| GitError::Http { remote: remote.to_owned(), source };
        let url = format!("{}{SERVICE}", remote.trim_end_matches('/'));
        let Answer { url, content_type, body } = http.get(&url).map_err(failed)?;
        let not_git = |why: &str| GitError::NotGit { remote: remote.to_owned(), why: why.to_owned() };
        let base = url.strip_suffix(SERVICE).ok_or_else(|| not_git(": it leads to something else"))?;
        if content_type.split(';').next().map(str::trim)
            != Some("application/x-git-upload-pack-advertisement")
        {
            return Err(not_git(""));
        }
        let said = Advertisement::read(&mut Packets::new(remote, body, limits.references))?;
        let kind = match said.capability("object-format") {
            None | Some("sha1") => gix_hash::Kind::Sha1,
            Some("sha256") => gix_hash::Kind::Sha256,
            Some(_) => return Err(not_git(" as it is known here: its objects have names of another kind")),
        };
        Ok(Self { http, remote: remote.to_owned(), base: base.to_owned(), said, kind, limits: *limits })
    }

    fn format(&self) -> &'static str {
        match self.kind {
            gix_hash::Kind::Sha256 => "object-format=sha256",
            _ => "object-format=sha1",
        }
    }

    fn post(&self, body: Vec<u8>) -> Result<Packets<'_, Box<dyn std::io::Read + Send>>, GitError> {
        let failed = |source| GitError::Http { remote: self.remote.clone(), source };
        let answer = self.http.post(&format!("{}/git-upload-pack", self.base), body).map_err(failed)?;
        Ok(Packets::new(&self.remote, answer.body, self.limits.references))
    }

    /// References whose names begin with one of `prefixes`; all of them where there is none.
    fn references(&self, prefixes: &[String]) -> Result<Vec<Reference>, GitError> {
        if let Advertisement::Zero { references, .. } = &self.said {
            let wanted = |name: &str| prefixes.is_empty() || prefixes.iter().any(|p| name.starts_with(p));
            return Ok(references.iter().filter(|reference| wanted(&reference.name)).cloned().collect());
        }
        let mut request = Request::default();
        request.line("command=ls-refs").line(AGENT);
        if self.said.capability("object-format").is_some() {
            request.line(self.format());
        }
        request.delimiter().line("peel").line("symrefs");
        for prefix in prefixes {
            request.line(&format!("ref-prefix {prefix}"));
        }
        references(&mut self.post(request.flush().take())?)
    }

    /// What `reference` names, in BuildKit's order: a full ref, a branch, a tag; empty is the default branch.
    fn find(&self, reference: &str) -> Result<GitFound, GitError> {
        let no = |what: String| GitError::NotFound { remote: self.remote.clone(), what };
        if reference.is_empty() || reference == "HEAD" {
            let all = self.references(&["HEAD".to_owned()])?;
            let head = all.into_iter().find(|one| one.name == "HEAD");
            let head = head.ok_or_else(|| no("default branch with a commit".to_owned()))?;
            return Ok(GitFound { commit: head.id, tag: None, reference: head.target });
        }
        let full = |prefix: &str| format!("{prefix}{}", reference.strip_prefix(prefix).unwrap_or(reference));
        let names = [full("refs/"), full("refs/heads/"), full("refs/tags/")];
        let all = self.references(&names)?;
        let found = names.iter().find_map(|name| all.iter().find(|one| one.name == *name));
        match found {
            Some(Reference { name, id, peeled: Some(commit), .. }) => {
                Ok(GitFound { commit: commit.clone(), tag: Some(id.clone()), reference: Some(name.clone()) })
            }
            Some(Reference { name, id, .. }) => {
                Ok(GitFound { commit: id.clone(), tag: None, reference: Some(name.clone()) })
            }
            None => self.abbreviated(reference),
        }
    }

    /// The commit whose id begins with `text`, if a reference names one: others are known only by their history.
    fn abbreviated(&self, text: &str) -> Result<GitFound, GitError> {
        let no = |what: String| GitError::NotFound { remote: self.remote.clone(), what };
        let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex || !(4..64).contains(&text.len()) {
            return Err(no(format!("branch or tag {text:?}")));
        }
        let all = self.references(&[])?;
        let ids = all.iter().map(|one| one.peeled.as_ref().unwrap_or(&one.id));
        let fitting: std::collections::BTreeSet<&String> = ids.filter(|id| id.starts_with(text)).collect();
        match Vec::from_iter(fitting).as_slice() {
            [commit] => Ok(GitFound { commit: (*commit).clone(), tag: None, reference: None }),
            [] => Err(no(format!(
                "branch, tag or newest commit {text:?} (of an older commit, the whole id is needed)"
            ))),
            _ => Err(no(format!("single commit that {text:?} abbreviates"))),
        }
    }

    /// The objects of a commit, or of the tag that names it.
    pub(crate) fn objects(&self, id: &str, named: Named, room: &Dir) -> Result<Objects, GitError> {
        if !is_commit_id(id) || id.len() != self.kind.len_in_hex() {
            let what = format!("commit {id:?}: its ids have {} digits", self.kind.len_in_hex());
            return Err(GitError::NotFound { remote: self.remote.clone(), what });
        }
        let one = [id.to_owned()];
        let sub = |name: &str| room.create_dir(name).and_then(|()| room.open_dir(name));
        let first = sub("commit").map_err(crate::error::host("make a directory for a pack"))?;
        match self.receive(&Want { ids: &one, history: History::LeftOut }, &first) {
            // Servers need not give what no reference names.
            Err(GitError::Refused { .. }) if named == Named::ById => {}
            other => return other,
        }
        let tips = self.references(&["refs/heads/".to_owned(), "refs/tags/".to_owned()])?;
        let ids: std::collections::BTreeSet<String> = tips.into_iter().map(|one| one.id).collect();
        let ids = Vec::from_iter(ids);
        let missing = || GitError::NotFound { remote: self.remote.clone(), what: format!("commit {id}") };
        if ids.is_empty() {
            return Err(missing());
        }
        let room = sub("everything").map_err(crate::error::host("make a directory for a pack"))?;
        let objects = self.receive(&Want { ids: &ids, history: History::Whole }, &room)?;
        if objects.has(id) { Ok(objects) } else { Err(missing()) }
    }

    fn receive(&self, want: &Want<'_>, room: &Dir) -> Result<Objects, GitError> {
        let shallow = want.history == History::LeftOut;
        match &self.said {
            Advertisement::Two(_) => {
                let can = self.said.capability("fetch").unwrap_or_default();
                let shallow = shallow && can.split(' ').any(|word| word == "shallow");
                let mut request = Request::default();
                request.line("command=fetch").line(AGENT);
                if self.said.capability("object-format").is_some() {
                    request.line(self.format());
                }
                request.delimiter().line("ofs-delta").line("no-progress");
                for id in want.ids {
                    request.line(&format!("want {id}"));
                }
                if shallow {
                    request.line("deepen 1");
                }
                let mut packets = self.post(request.line("done").flush().take())?;
                loop {
                    match packets.text()?.as_deref() {
                        Some("packfile") => break,
                        // Other sections end with a delimiter.
                        Some(_) => while packets.text()?.is_some() {},
                        None => return Err(self.no_pack()),
                    }
                }
                self.unpack(packets, room)
            }
            Advertisement::Zero { .. } => {
                let has = |name: &str| self.said.capability(name).is_some();
                if !has("side-band-64k") {
                    return Err(GitError::NotGit {
                        remote: self.remote.clone(),
                        why: " as it has been since 2006: side-band-64k is missing".to_owned(),
                    });
                }
                let shallow = shallow && has("shallow");
                let mut capabilities = "side-band-64k ofs-delta".to_owned();
                for name in ["no-progress", "shallow"] {
                    if has(name) {
                        capabilities.push_str(&format!(" {name}"));
                    }
                }
                if has("object-format") {
                    capabilities.push_str(&format!(" {}", self.format()));
                }
                let mut request = Request::default();
                for (i, id) in want.ids.iter().enumerate() {
                    let more = if i == 0 { format!(" {capabilities} {AGENT}") } else { String::new() };
                    request.line(&format!("want {id}{more}"));
                }
                if shallow {
                    request.line("deepen 1");
                }
                let mut packets = self.post(request.flush().line("done").take())?;
                if shallow {
                    while packets.text()?.is_some() {}
                }
                match packets.text()?.as_deref() {
                    Some("NAK") => self.unpack(packets, room),
                    _ => Err(self.no_pack()),
                }
            }
        }
    }

    fn no_pack(&self) -> GitError {
        GitError::Protocol { remote: self.remote.clone(), why: "there is no pack in it".to_owned() }
    }

    fn unpack(
        &self,
        packets: Packets<'_, Box<dyn std::io::Read + Send>>,
        room: &Dir,
    ) -> Result<Objects, GitError> {
        let mut bands = packets.bands();
        let received = Objects::receive(&self.remote, &mut bands, room, self.kind, &self.limits);
        match bands.failure() {
            Some(failure) => Err(failure),
            None => received,
        }
    }
}

/// How a server knows what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    ByReference,
    ById,
}
