//! The comma grammar inside `RUN --mount`: one CSV record of `key=value` and `key` fields.
//!
//! As Go's encoding/csv reads a record, which is what BuildKit reads it with. Keys come back in lower case; nothing is expanded and no
//! key is judged here.

/// One field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Left of the `=`, in lower case.
    pub key: String,
    /// Right of it; `None` where there is no `=`.
    pub value: Option<String>,
}

/// Splits a record into its fields.
///
/// # Errors
/// What is wrong with its quotes, as a sentence fragment.
pub fn fields(record: &str) -> Result<Vec<Field>, String> {
    let mut all = Vec::new();
    let mut rest = record;
    loop {
        let (text, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let text = &rest[..end];
                if text.contains('"') {
                    return Err(format!("a quote inside the unquoted field {text:?}"));
                }
                (text.to_owned(), &rest[end..])
            }
        };
        all.push(match text.split_once('=') {
            Some((key, value)) => Field { key: key.to_lowercase(), value: Some(value.to_owned()) },
            None => Field { key: text.to_lowercase(), value: None },
        });
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(all),
        }
    }
}

fn quoted_field(quoted: &str) -> Result<(String, &str), String> {
    let broken = || format!("the quoted field {quoted:?} does not end where it should");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(record: &str) -> Vec<(String, Option<String>)> {
        fields(record).unwrap().into_iter().map(|field| (field.key, field.value)).collect()
    }

    #[test]
    fn keys_are_lower_case_and_values_as_written() {
        let some = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        let expected = [some("type", "Cache"), ("ro".to_owned(), None), some("id", "a=B")];
        assert_eq!(read("Type=Cache,RO,id=a=B"), expected);
        assert_eq!(read("\"target=/a,b\",rw"), [some("target", "/a,b"), ("rw".to_owned(), None)]);
        assert_eq!(read("\"target=/a,\"\"b\""), [some("target", "/a,\"b")]);
    }

    #[test]
    fn quotes_that_do_not_match_are_refused() {
        assert!(fields("a\"b").is_err());
        assert!(fields("\"a").is_err());
        assert!(fields("\"a\"b").is_err());
    }
}
