//! `WWW-Authenticate` challenges (RFC 9110 section 11, RFC 6750).
//!
//! Only the two schemes registries use are kept. Malformed input gives fewer challenges, never a panic.

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A name and a password with each request.
    Basic,
    /// A token from `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String>, error: Option<String> },
}

/// The challenges in one header, in order.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim_start();
    while let Some((scheme, after)) = token(rest) {
        let mut parameters = Vec::new();
        rest = after.trim_start();
        while let Some((name, value, after)) = parameter(rest) {
            parameters.push((name.to_ascii_lowercase(), value));
            rest = after.trim_start_matches([' ', '\t', ',']);
        }
        let get =
            |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            let (service, scope, error) = (get("service"), get("scope"), get("error"));
            challenges.push(Challenge::Bearer { realm, service, scope, error });
        }
        // Whatever was not understood ends where the next challenge may begin.
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if token(rest).is_none() {
            rest = rest.split_once(',').map_or("", |(_, next)| next.trim_start());
        }
    }
    challenges
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    if end == 0 { None } else { Some(text.split_at(end)) }
}

/// `name=value` or `name="quoted value"`.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, after) = token(text)?;
    let value = after.trim_start().strip_prefix('=')?.trim_start();
    let Some(quoted) = value.strip_prefix('"') else {
        let end = value.find([',', ' ', '\t']).unwrap_or(value.len());
        return Some((name, value[..end].to_owned(), &value[end..]));
    };
    let mut unquoted = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name, unquoted, &quoted[at + 1..])),
            '\\' => unquoted.extend(characters.next().map(|(_, escaped)| escaped)),
            other => unquoted.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope), error: None }
    }

    #[test]
    fn what_registries_send() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:a/b:pull,push")
            )]
        );
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        assert_eq!(parse(r#"BEARER Realm = "x\"y""#), [bearer("x\"y", None, None)]);
    }

    #[test]
    fn several_in_one_header_and_unknown_ones_between() {
        assert_eq!(
            parse(r#"Negotiate abc==, Digest realm="d", nonce="1,2", Bearer realm="r", Basic realm="b""#),
            [bearer("r", None, None), Challenge::Basic]
        );
    }

    #[test]
    fn malformed_headers_give_nothing() {
        for header in ["", ",,,", "Bearer", "Bearer realm=\"open", "=", "\"\"", "Bearer service=x", "\u{e9}"]
        {
            assert_eq!(parse(header), [], "{header:?}");
        }
    }
}
