//! Secrets of a step: kept out of what it prints, and looked for in what it wrote.
//!
//! Known by their bytes alone: a step that encodes a secret before it writes it down is not found out. Lines shorter than
//! [`SHORTEST`] are left alone, because they would be found everywhere.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use wbuild_layer::{Change, ChangeSet, EntryKind, RootPath};
use wbuild_monitor::{OutputSink, SecretBytes, Stream};

use crate::files::Files;
use crate::tree::Tree;

/// The fewest bytes that are looked for.
pub(crate) const SHORTEST: usize = 6;
/// What stands in the output in the place of a secret.
const MASK: &[u8] = b"***";
/// The longest part of a line that waits for its end.
const LONGEST_LINE: usize = 64 << 10;

/// One secret that a step was given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) id: String,
    pub(crate) content: SecretBytes,
}

impl Given {
    /// Its content without white space around it.
    fn core(&self) -> Option<&[u8]> {
        Some(self.content.0.trim_ascii()).filter(|core| core.len() >= SHORTEST)
    }

    /// Its lines that are long enough to be known again.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.content.0.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.filter(|line| line.len() >= SHORTEST)
    }
}

/// The first file of `changes` that holds a secret, and whose it is.
///
/// # Errors
/// A file of the tree cannot be read; its path.
pub(crate) fn find(
    changes: &ChangeSet,
    tree: &Tree,
    secrets: &[Given],
) -> Result<Option<(RootPath, String)>, (RootPath, std::io::Error)> {
    let wanted: Vec<(&Given, &[u8])> =
        secrets.iter().filter_map(|secret| Some((secret, secret.core()?))).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    for (path, change) in changes.iter() {
        let (Change::Upsert(entry) | Change::Opaque(entry)) = change else { continue };
        let of = |(secret, _): &(&Given, &[u8])| (path.clone(), secret.id.clone());
        let holds = |bytes: &[u8]| wanted.iter().find(|(_, core)| position(bytes, core).is_some());
        let text: &[u8] = match &entry.kind {
            EntryKind::Symlink { target } => target,
            _ => b"",
        };
        let xattrs = entry.attributes.xattrs.values().map(Vec::as_slice);
        let mut small = [path.as_bytes(), text].into_iter().chain(xattrs);
        if let Some(found) = small.find_map(holds) {
            return Ok(Some(of(found)));
        }
        if matches!(entry.kind, EntryKind::File { .. }) {
            let file = tree.open(path).map_err(|error| (path.clone(), error))?;
            if let Some(found) = in_stream(file, &wanted).map_err(|error| (path.clone(), error))? {
                return Ok(Some(of(&wanted[found])));
            }
        }
    }
    Ok(None)
}

/// Which of `wanted` the stream holds.
fn in_stream(mut stream: impl Read, wanted: &[(&Given, &[u8])]) -> std::io::Result<Option<usize>> {
    let overlap = wanted.iter().map(|(_, core)| core.len() - 1).max().unwrap_or(0);
    let mut buffer = vec![0; overlap + (1 << 18)];
    let mut kept = 0;
    loop {
        let read = match stream.read(&mut buffer[kept..]) {
            Ok(0) => return Ok(None),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = kept + read;
        if let Some(found) = wanted.iter().position(|(_, core)| position(&buffer[..end], core).is_some()) {
            return Ok(Some(found));
        }
        let from = end.saturating_sub(overlap);
        buffer.copy_within(from..end, 0);
        kept = end - from;
    }
}

/// Where `needle` stands in `hay`.
fn position(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let last = hay.len().checked_sub(needle.len())?;
    let mut at = 0;
    while at <= last {
        at += hay[at..=last].iter().position(|byte| *byte == first)?;
        if hay[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Passes a step's output on, line by line, without the secrets in it.
pub(crate) struct Masked<'a> {
    inner: &'a dyn OutputSink,
    secrets: &'a [Given],
    waiting: [Mutex<Vec<u8>>; 2],
}

impl<'a> Masked<'a> {
    pub(crate) fn new(inner: &'a dyn OutputSink, secrets: &'a [Given]) -> Self {
        Self { inner, secrets, waiting: Default::default() }
    }

    /// Passes on what is left of lines without an end.
    pub(crate) fn flush(&self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut *self.waiting(stream));
            self.pass(stream, &rest);
        }
    }

    fn waiting(&self, stream: Stream) -> std::sync::MutexGuard<'_, Vec<u8>> {
        let index = usize::from(stream == Stream::Stderr);
        self.waiting[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut text = bytes.to_vec();
        for line in self.secrets.iter().flat_map(Given::lines) {
            let mut masked = Vec::with_capacity(text.len());
            let mut rest = text.as_slice();
            while let Some(at) = position(rest, line) {
                masked.extend_from_slice(&rest[..at]);
                masked.extend_from_slice(MASK);
                rest = &rest[at + line.len()..];
            }
            masked.extend_from_slice(rest);
            text = masked;
        }
        self.inner.write(stream, &text);
    }
}

impl OutputSink for Masked<'_> {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        if self.secrets.is_empty() {
            return self.inner.write(stream, bytes);
        }
        let mut waiting = self.waiting(stream);
        waiting.extend_from_slice(bytes);
        let whole = match waiting.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if waiting.len() > LONGEST_LINE => waiting.len(),
            None => return,
        };
        let lines: Vec<u8> = waiting.drain(..whole).collect();
        self.pass(stream, &lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<u8>>);

    impl OutputSink for Heard {
        fn write(&self, _stream: Stream, bytes: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(bytes);
        }
    }

    fn secret(content: &str) -> Given {
        Given { id: "s".into(), content: SecretBytes(content.into()) }
    }

    #[test]
    fn output_is_masked_across_the_pieces_it_comes_in() {
        let heard = Heard::default();
        let secrets = [secret("first-line\nsecond-line\n"), secret("abc")];
        let masked = Masked::new(&heard, &secrets);
        for piece in ["see fir", "st-", "line and second-line\nabc\nfirst", "-line"] {
            masked.write(Stream::Stdout, piece.as_bytes());
        }
        masked.flush();
        assert_eq!(String::from_utf8_lossy(&heard.0.lock().unwrap()), "see *** and ***\nabc\n***");
    }

    #[test]
    fn a_secret_is_found_across_the_border_of_two_reads() {
        struct Trickle<'a>(&'a [u8], usize);
        impl Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let (now, later) = self.0.split_at(self.1.min(self.0.len()));
                buffer[..now.len()].copy_from_slice(now);
                self.0 = later;
                Ok(now.len())
            }
        }
        let given = secret("s3cret-value\n");
        let wanted = [(&given, given.core().unwrap())];
        let mut text = vec![b'x'; 1 << 20];
        text.extend_from_slice(b"s3s3cret-value");
        for piece in [1, 5, 4096, 100_000] {
            assert_eq!(in_stream(Trickle(&text, piece), &wanted).unwrap(), Some(0), "{piece}");
        }
        text.pop();
        assert_eq!(in_stream(text.as_slice(), &wanted).unwrap(), None);
    }

    #[test]
    fn what_is_too_short_is_not_looked_for() {
        assert_eq!(secret(" pw \n").core(), None);
        assert_eq!(secret("\n  longer \n").core(), Some(b"longer".as_slice()));
    }
}
