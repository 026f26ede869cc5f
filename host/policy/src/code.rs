//! The stable codes of denials and limits, and what each means.

use serde::{Deserialize, Serialize};

/// A code as messages, evidence and `wbuild policy explain` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub struct Code(&'static str);

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $text:literal;)*) => {
        impl Code {
            $(#[doc = $title] pub const $name: Self = Self($code);)*

            /// Every code with its title and what to know about it.
            pub const ALL: &[(Self, &'static str, &'static str)] = &[$((Self::$name, $title, $text)),*];
        }
    };
}

codes! {
    IMAGE = "P0101", "image denied by policy",
        "FROM or --from names an image that sources.images of some policy file does not allow, or denies. The reference is compared whole, with \
         registry and tag or digest.";
    IMAGE_DIGEST = "P0102", "image without a digest",
        "sources.images.require has \"digest\": every reference names its content (image@sha256:..), so that nobody can change what it means.";
    HTTP = "P0111", "URL denied by policy",
        "ADD fetches a URL that sources.http does not allow, or without what sources.http.require asks for.";
    GIT = "P0121", "git repository denied by policy",
        "ADD fetches a git repository that sources.git does not allow, or without what sources.git.require asks for.";
    INSTRUCTION = "P0201", "instruction denied by policy",
        "dockerfile.deny lists the instruction.";
    RUN_FLAG = "P0202", "RUN flag denied by policy",
        "dockerfile.deny_run_flags lists the flag.";
    FINAL_USER = "P0203", "image runs as root",
        "dockerfile.final_user is \"non-root\": the image's last USER is neither root nor 0.";
    LABEL = "P0204", "image lacks a label",
        "dockerfile.require_labels lists a label that the image does not have.";
    EXEC_NATIVE = "P0301", "native programs denied by policy",
        "exec.native is \"deny\": only wasm modules run in this step. This is a fence: no native instruction of a guest is executed.";
    EXEC = "P0302", "program denied by policy",
        "exec.allow does not list the program, or exec.deny does. This guides honest builds; hostile native code can map a file and jump into it. \
         Only exec.native = \"deny\" is a fence.";
    READ = "P0303", "read denied by policy",
        "fs.read.deny lists the path. It may not be opened for reading, listed, renamed or given another name.";
    WRITE = "P0304", "write denied by policy",
        "fs.write.allow does not list the path, or fs.write.deny does: neither its content nor its attributes nor its name may change.";
    NETWORK = "P0312", "network denied by policy",
        "net.default is \"deny\": the step has no AF_INET and no AF_INET6 socket; socket(2) answers EACCES.";
    LIMIT = "P0401", "limit reached",
        "A limit of [[step]] limits was reached; every process of the step was killed. Exit code 5.";
    PUSH = "P0501", "push denied by policy",
        "output.push does not list the reference the image is to be pushed to, or output.deny_tags lists its tag.";
    LAYERS = "P0502", "image has too many layers",
        "output.max_layers bounds the layers of the image, those of its base counted.";
    BYTES = "P0503", "image is too large",
        "output.max_bytes bounds the compressed layers of the image, those of its base counted.";
    HOST = "P0601", "host lacks what the policy requires",
        "host.require names something this kernel does not offer.";
}

impl Code {
    /// `P0312`
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The code of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().map(|(code, _, _)| *code).find(|code| code.0.eq_ignore_ascii_case(name))
    }

    /// What happened, in a few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        Self::ALL.iter().find(|(code, _, _)| *code == self).map_or("", |(_, title, _)| title)
    }
}

impl From<Code> for &'static str {
    fn from(code: Code) -> Self {
        code.0
    }
}

impl TryFrom<String> for Code {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::named(&name).ok_or_else(|| format!("{name:?} is not a policy code"))
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}
