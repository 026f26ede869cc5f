//! `--audit FILE`: what steps did, a JSON document a line (docs/audit.md).
//!
//! The file is there from the beginning of the build, and each line is in it when its step ends: a build that fails or is killed leaves what
//! it did so far. A line that cannot be written fails the build at its end.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use wbuild_build::{Audit, AuditLine, Auditing, EvidenceDetail};

use crate::exit::Exit;
use crate::failure::Failure;

/// What the flags about evidence say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuditSettings {
    /// `--audit`
    pub(crate) file: Option<PathBuf>,
    /// `--audit-files`
    pub(crate) detail: EvidenceDetail,
}

impl AuditSettings {
    /// Reads the flags.
    ///
    /// # Errors
    /// Exit 2: a detail that does not exist, or one without a file.
    pub(crate) fn new(file: Option<&Path>, detail: Option<&str>) -> Result<Self, Failure> {
        let detail = match (file, detail) {
            (None, None) => EvidenceDetail::Off,
            (None, Some(_)) => {
                return Err(Failure::usage("--audit-files goes with --audit FILE"));
            }
            (Some(_), None | Some("count")) => EvidenceDetail::Counts,
            (Some(_), Some("paths")) => EvidenceDetail::Paths,
            (Some(_), Some("digests")) => EvidenceDetail::Digests,
            (Some(_), Some(other)) => {
                return Err(Failure::usage(format!("--audit-files {other}: it is count, paths or digests")));
            }
        };
        if file.is_some_and(|file| file.as_os_str().is_empty()) {
            return Err(Failure::usage("--audit names no file"));
        }
        Ok(Self { file: file.map(Path::to_owned), detail })
    }
}

/// The audit of one build.
#[derive(Clone)]
pub(crate) struct Auditor {
    detail: EvidenceDetail,
    file: Option<Arc<AuditFile>>,
}

impl Auditor {
    /// Creates the file, if there is to be one. At `least` this much is recorded: provenance holds it, too.
    ///
    /// # Errors
    /// Exit 8 with the path.
    #[expect(clippy::disallowed_methods, reason = "the user names this file")]
    pub(crate) fn new(settings: &AuditSettings, least: EvidenceDetail) -> Result<Self, Failure> {
        let open = |path: &PathBuf| {
            let file = std::fs::File::create(path).map_err(|error| unwritable(path, &error))?;
            Ok(Arc::new(AuditFile { path: path.clone(), state: Mutex::new((file, None)) }))
        };
        let file = settings.file.as_ref().map(open).transpose()?;
        Ok(Self { detail: settings.detail.max(least), file })
    }

    /// What the build is given.
    pub(crate) fn auditing(&self) -> Auditing {
        let audit = self.file.clone().map(|file| file as Arc<dyn Audit>);
        Auditing { detail: self.detail, audit }
    }

    /// Whether every line is in the file.
    ///
    /// # Errors
    /// Exit 8 with the first failure.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        let failed = file.state.lock().unwrap_or_else(PoisonError::into_inner).1.take();
        failed.map_or(Ok(()), |error| Err(unwritable(&file.path, &error)))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Host, format!("cannot write the audit {}: {error}", path.display()))
}

struct AuditFile {
    path: PathBuf,
    state: Mutex<(std::fs::File, Option<std::io::Error>)>,
}

impl Audit for AuditFile {
    fn line(&self, line: &AuditLine) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, failed) = &mut *state;
        let written = serde_json::to_vec(line).map_err(std::io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            file.write_all(&text)
        });
        if let (Err(error), None) = (written, &failed) {
            *failed = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_go_with_a_file() {
        let read = |file: Option<&str>, detail| AuditSettings::new(file.map(Path::new), detail);
        assert_eq!(read(None, None).unwrap().detail, EvidenceDetail::Off);
        assert_eq!(read(Some("a"), None).unwrap().detail, EvidenceDetail::Counts);
        assert_eq!(read(Some("a"), Some("digests")).unwrap().detail, EvidenceDetail::Digests);
        for (file, detail) in [(None, Some("count")), (Some("a"), Some("all")), (Some(""), None)] {
            assert_eq!(read(file, detail).unwrap_err().exit, Exit::Usage, "{file:?} {detail:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_a_failure() {
        let settings = AuditSettings { file: Some("/dev/full".into()), detail: EvidenceDetail::Counts };
        let auditor = Auditor::new(&settings, EvidenceDetail::Off).unwrap();
        let line = AuditLine::End { result: "built", manifest: None, error: None };
        auditor.auditing().audit.unwrap().line(&line);
        assert_eq!(auditor.finish().unwrap_err().exit, Exit::Host);
    }
}
