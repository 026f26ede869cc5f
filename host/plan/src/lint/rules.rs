//! The lint rules: names, descriptions and pages are BuildKit's, so that `# check=skip=..` means the same for both.

/// A lint rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// As `# check=skip=NAME` has it.
    pub name: &'static str,
    /// What it asks for.
    pub description: &'static str,
    // The last part of its page's address.
    page: &'static str,
    /// Whether it is checked at all without `# check=experimental=NAME`.
    pub status: Status,
}

/// Whether a rule is checked by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Unless it is skipped.
    Stable,
    /// Only where it is asked for.
    Experimental,
}

impl Rule {
    /// The page that explains it.
    #[must_use]
    pub fn url(self) -> String {
        format!("https://docs.docker.com/go/dockerfile/rule/{}/", self.page)
    }
}

const fn rule(name: &'static str, page: &'static str, description: &'static str) -> Rule {
    Rule { name, description, page, status: Status::Stable }
}

macro_rules! rules {
    ($($constant:ident = $rule:expr;)*) => {
        $(pub(crate) const $constant: Rule = $rule;)*
        /// Every rule, in the order of BuildKit's documentation.
        pub const RULES: &[Rule] = &[$($constant),*];
    };
}

rules! {
    STAGE_NAME_CASING = rule("StageNameCasing", "stage-name-casing", "Stage names should be lowercase");
    FROM_AS_CASING = rule(
        "FromAsCasing",
        "from-as-casing",
        "The 'as' keyword should match the case of the 'from' keyword",
    );
    NO_EMPTY_CONTINUATION = rule(
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    );
    CONSISTENT_INSTRUCTION_CASING = rule(
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    );
    DUPLICATE_STAGE_NAME = rule(
        "DuplicateStageName",
        "duplicate-stage-name",
        "Stage names should be unique",
    );
    RESERVED_STAGE_NAME = rule(
        "ReservedStageName",
        "reserved-stage-name",
        "Reserved words should not be used as stage names",
    );
    JSON_ARGS_RECOMMENDED = rule(
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    );
    MAINTAINER_DEPRECATED = rule(
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    );
    UNDEFINED_ARG_IN_FROM = rule(
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "FROM command must use declared ARGs",
    );
    WORKDIR_RELATIVE_PATH = rule(
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base \
         image changes",
    );
    UNDEFINED_VAR = rule("UndefinedVar", "undefined-var", "Variables should be defined before their use");
    MULTIPLE_INSTRUCTIONS_DISALLOWED = rule(
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    );
    LEGACY_KEY_VALUE_FORMAT = rule(
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    );
    INVALID_BASE_IMAGE_PLATFORM = rule(
        "InvalidBaseImagePlatform",
        "invalid-base-image-platform",
        "Base image platform does not match expected target platform",
    );
    REDUNDANT_TARGET_PLATFORM = rule(
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    );
    SECRETS_USED_IN_ARG_OR_ENV = rule(
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    );
    INVALID_DEFAULT_ARG_IN_FROM = rule(
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    );
    FROM_PLATFORM_FLAG_CONST_DISALLOWED = rule(
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    );
    COPY_IGNORED_FILE = rule(
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    );
    INVALID_DEFINITION_DESCRIPTION = Rule {
        status: Status::Experimental,
        ..rule(
            "InvalidDefinitionDescription",
            "invalid-definition-description",
            "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`",
        )
    };
    EXPOSE_PROTO_CASING = rule(
        "ExposeProtoCasing",
        "expose-proto-casing",
        "Protocol in EXPOSE instruction should be lowercase",
    );
    EXPOSE_INVALID_FORMAT = rule(
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction",
    );
}
