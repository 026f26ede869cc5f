//! `--exclude` and `--parents`: which files beneath a source are copied.
//!
//! As BuildKit: both are patterns of an ignore file, over the paths beneath what the source names; what is named itself is always
//! copied. A directory that is not chosen appears where something beneath it is.

use wbuild_dockerfile::{IgnoreFile, PatternError, glob};
use wbuild_layer::RootPath;
use wbuild_plan::Include;

/// What is chosen beneath one source.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    include: Option<IgnoreFile>,
    /// The directories that every chosen path is beneath, or is one of.
    way: Vec<u8>,
    exclude: IgnoreFile,
}

/// What a filter says of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is copied.
    Chosen,
    /// It is not, but something beneath it can be.
    Passed,
    /// Nor is anything beneath it.
    Closed,
}

impl Filter {
    /// The filter of one source of a COPY.
    pub(crate) fn new(include: Option<&Include>, exclude: &[String]) -> Result<Self, PatternError> {
        let exclude = IgnoreFile::of_patterns(exclude.iter().map(String::as_str))?;
        let Some(Include { pattern, .. }) = include.filter(|include| !include.pattern.is_empty()) else {
            return Ok(Self { include: None, way: Vec::new(), exclude });
        };
        let way: Vec<String> =
            pattern.split('/').take_while(|part| !glob::has_wildcards(part)).map(glob::unescape).collect();
        let include = Some(IgnoreFile::of_patterns([pattern.as_str()])?);
        Ok(Self { include, way: way.join("/").into_bytes(), exclude })
    }

    /// Whether every path is chosen.
    pub(crate) fn is_open(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// What becomes of `path`, whose first `top` bytes are what the source names.
    pub(crate) fn verdict_beneath(&self, path: &RootPath, top: usize) -> Verdict {
        let beneath = path.as_bytes().get(top..).unwrap_or_default();
        self.verdict(beneath.strip_prefix(b"/").unwrap_or(beneath))
    }

    /// What becomes of `path`, relative to what the source names; empty for that itself.
    pub(crate) fn verdict(&self, path: &[u8]) -> Verdict {
        if path.is_empty() || self.is_open() {
            return Verdict::Chosen;
        }
        if self.exclude.excludes(path) {
            return if self.exclude.has_exceptions() { Verdict::Passed } else { Verdict::Closed };
        }
        match &self.include {
            None => Verdict::Chosen,
            Some(include) if include.matches(path) => Verdict::Chosen,
            Some(_) if is_way(&self.way, path) || is_way(path, &self.way) => Verdict::Passed,
            Some(_) => Verdict::Closed,
        }
    }
}

// Whether `path` is `above` or beneath it.
fn is_way(path: &[u8], above: &[u8]) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.first().is_none_or(|b| *b == b'/'))
}

#[cfg(test)]
mod tests {
    use wbuild_plan::Presence;

    use super::*;

    fn filter(include: Option<&str>, exclude: &[&str]) -> impl Fn(&str) -> Verdict {
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        let include =
            include.map(|pattern| Include { pattern: pattern.to_owned(), presence: Presence::Optional });
        let filter = Filter::new(include.as_ref(), &exclude).unwrap();
        move |path| filter.verdict(path.as_bytes())
    }

    #[test]
    fn an_excluded_directory_is_entered_only_for_exceptions() {
        let closed = filter(None, &["dir", "*.log"]);
        assert_eq!(
            ["", "a", "dir", "dir/a", "b.log"].map(&closed),
            [Verdict::Chosen, Verdict::Chosen, Verdict::Closed, Verdict::Closed, Verdict::Closed]
        );
        let open = filter(None, &["dir", "!dir/a"]);
        assert_eq!(["dir", "dir/a", "dir/b"].map(&open), [Verdict::Passed, Verdict::Chosen, Verdict::Passed]);
    }

    #[test]
    fn only_the_way_to_a_chosen_path_is_entered() {
        let chosen = filter(Some("a/b/*/c"), &[]);
        assert_eq!(
            ["a", "a/b", "a/b/x", "a/b/x/c", "a/b/x/c/deep"].map(&chosen),
            [Verdict::Passed, Verdict::Passed, Verdict::Passed, Verdict::Chosen, Verdict::Chosen]
        );
        assert_eq!(["b", "ab", "a/c", "a/bc"].map(&chosen), [Verdict::Closed; 4]);
    }
}
