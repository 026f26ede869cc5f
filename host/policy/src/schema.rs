//! The JSON schema of a policy file, for editors.

use crate::file::File;

/// The schema, derived from the types that read the file.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}
