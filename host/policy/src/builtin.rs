//! The policies that wbuild holds, from policies/.

/// Their names and texts.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("trusted", include_str!("../../../policies/trusted.toml")),
    ("ci", include_str!("../../../policies/ci.toml")),
    ("untrusted", include_str!("../../../policies/untrusted.toml")),
    ("hermetic", include_str!("../../../policies/hermetic.toml")),
    ("wasm-only", include_str!("../../../policies/wasm-only.toml")),
];

/// The text of one of them.
#[must_use]
pub fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
