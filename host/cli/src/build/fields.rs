//! The comma grammar of buildx options: one CSV record of `key=value` fields, `type=oci,"dest=a,b.tar"`.
//!
//! As Go's encoding/csv reads one record: a field that starts with a quote ends with one, doubled quotes inside it
//! stand for one; a quote inside an unquoted field is an error. Keys are case-insensitive.

/// Why an option's value is not a record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FieldsError {
    /// A quote in the middle of an unquoted field.
    #[error("a quote inside the unquoted field {0:?}")]
    BareQuote(String),
    /// A quoted field that does not end, or goes on after its closing quote.
    #[error("the quoted field {0:?} does not end where it should")]
    Unterminated(String),
    /// The same key twice.
    #[error("{0} is given twice")]
    Repeated(String),
    /// A field without `=`.
    #[error("{0:?} is not of the form key=value")]
    NoValue(String),
}

/// Splits a record into its fields.
///
/// # Errors
/// Quotes that do not match.
pub(crate) fn split(text: &str) -> Result<Vec<String>, FieldsError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let field = &rest[..end];
                if field.contains('"') {
                    return Err(FieldsError::BareQuote(field.to_owned()));
                }
                (field.to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

fn quoted_field(quoted: &str) -> Result<(String, &str), FieldsError> {
    let broken = || FieldsError::Unterminated(quoted.to_owned());
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"').ok_or_else(broken)?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None if rest.is_empty() || rest.starts_with(',') => return Ok((field, rest)),
            None => return Err(broken()),
        }
    }
}

/// Splits a record of `key=value` fields; keys come back in lower case, in order.
///
/// # Errors
/// As [`split`]; also a field without `=` and a repeated key.
pub(crate) fn pairs(text: &str) -> Result<Vec<(String, String)>, FieldsError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for field in split(text)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(FieldsError::NoValue(field));
        };
        let key = key.trim().to_ascii_lowercase();
        if pairs.iter().any(|(k, _)| *k == key) {
            return Err(FieldsError::Repeated(key));
        }
        pairs.push((key, value.to_owned()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_hold_commas_and_quotes() {
        assert_eq!(split(r#"type=oci,"dest=a,b.tar",x="#).unwrap(), ["type=oci", "dest=a,b.tar", "x="]);
        assert_eq!(split(r#""a""b",c"#).unwrap(), ["a\"b", "c"]);
        assert_eq!(split("").unwrap(), [""]);
        assert_eq!(split("a,").unwrap(), ["a", ""]);
    }

    #[test]
    fn quotes_that_do_not_match_are_refused() {
        assert!(matches!(split(r#"a"b,c"#), Err(FieldsError::BareQuote(_))));
        assert!(matches!(split(r#""a"#), Err(FieldsError::Unterminated(_))));
        assert!(matches!(split(r#""a"b"#), Err(FieldsError::Unterminated(_))));
    }

    #[test]
    fn keys_are_case_insensitive_and_unique() {
        assert_eq!(
            pairs("Type=oci,dest=X=Y").unwrap(),
            [("type".into(), "oci".into()), ("dest".into(), "X=Y".into())]
        );
        assert_eq!(pairs("type=oci,TYPE=tar"), Err(FieldsError::Repeated("type".into())));
        assert_eq!(pairs("type=oci,dest"), Err(FieldsError::NoValue("dest".into())));
    }
}
