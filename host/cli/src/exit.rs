//! Exit codes: what a script learns from wbuild without reading its messages.
//!
//! The numbers are an interface: they are documented in `wbuild --help` and never change their meaning.

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is done.
    Ok,
    /// A step failed; the step's own code is in the message.
    Step,
    /// The command line is wrong, or asks for what is not built yet.
    Usage,
    /// The Dockerfile is wrong, or asks for what is not built yet.
    Dockerfile,
    /// The policy denied something the build cannot do without.
    Policy,
    /// A limit was hit.
    Limit,
    /// A registry refused: authentication, authorisation, not found.
    Registry,
    /// The network or a registry failed in a way that may pass; worth retrying.
    Network,
    /// The host lacks something wbuild needs.
    Host,
    /// A defect of wbuild.
    Internal,
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Step => 1,
            Self::Usage => 2,
            Self::Dockerfile => 3,
            Self::Policy => 4,
            Self::Limit => 5,
            Self::Registry => 6,
            Self::Network => 7,
            Self::Host => 8,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
