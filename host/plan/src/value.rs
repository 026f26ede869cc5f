//! Values of instructions that have a grammar of their own: ports, signals, remote sources.

use wbuild_oci::GitSource;

/// Reads one word of EXPOSE, `[ip:][host:]port[-port][/protocol]`, into `port/protocol`s.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn ports(word: &str) -> Result<Vec<String>, String> {
    let mut parts: Vec<&str> = word.split(':').collect();
    let container = parts.pop().unwrap_or_default();
    let host = parts.pop().unwrap_or_default();
    let address = parts.join(":");
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    let protocol = match protocol.to_ascii_lowercase() {
        p if p.is_empty() => "tcp".to_owned(),
        p if ["tcp", "udp", "sctp"].contains(&p.as_str()) => p,
        p => return Err(format!("invalid protocol {p:?} of port {word:?}")),
    };
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(&address);
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address {address:?}"));
    }
    let invalid = || format!("invalid port {word:?}");
    let (first, last) = port_range(range).ok_or_else(invalid)?;
    if !host.is_empty() {
        let (host_first, host_last) = port_range(host).ok_or_else(invalid)?;
        if last - first != host_last - host_first && last != first {
            return Err(format!("the port ranges of {word:?} differ in length"));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |s: &str| s.strip_prefix('+').unwrap_or(s).parse::<u16>().ok();
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// Whether a STOPSIGNAL is a number or a name Linux has.
pub(crate) fn is_signal(text: &str) -> bool {
    const NAMES: &str = " ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS \
        TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ ";
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, sign: char, limit: u32| {
        let Some(rest) = name.strip_prefix(prefix) else { return false };
        let offset = rest.strip_prefix(sign).and_then(|n| n.parse::<u32>().ok());
        rest.is_empty() || offset.is_some_and(|n| (1..=limit).contains(&n))
    };
    let plain = !name.is_empty() && !name.contains(' ') && NAMES.contains(&format!(" {name} "));
    plain || real_time("RTMIN", '+', 15) || real_time("RTMAX", '-', 14)
}

/// What a source of COPY or ADD is that is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RemoteSource {
    /// `http://`, `https://`
    Url,
    /// `git://`, `ssh://`, `user@host:path`, or an URL that ends in `.git`
    Git,
}

/// Tells remote sources from paths, as BuildKit does.
pub(crate) fn remote(source: &str) -> Option<RemoteSource> {
    if GitSource::parse(source).is_some() {
        return Some(RemoteSource::Git);
    }
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    is_url.then_some(RemoteSource::Url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_ranges_protocols_and_ignored_host_parts() {
        let read = |word| ports(word).unwrap().join(" ");
        assert_eq!(read("80"), "80/tcp");
        assert_eq!(read("8000-8002/UDP"), "8000/udp 8001/udp 8002/udp");
        assert_eq!(read("127.0.0.1:90:80/sctp"), "80/sctp");
        assert_eq!(read("[::1]:80:80"), "80/tcp");
        for wrong in ["", "80/", "65536", "90-80", "a", "80/ip", "-1", "1:2:3:4", "80-90:1-2", "80-"] {
            if wrong == "80/" {
                assert_eq!(read(wrong), "80/tcp");
                continue;
            }
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn signals_are_numbers_or_names() {
        for right in ["9", "SIGKILL", "kill", "sigterm", "RTMIN", "SIGRTMIN+15", "RTMAX-14", "-1"] {
            assert!(is_signal(right), "{right}");
        }
        for wrong in
            ["", "0", "SIG", "KILL TERM", "RTMIN-1", "RTMIN+16", "RTMAX+1", "RTMINé", "RTMINx5", "foo"]
        {
            assert!(!is_signal(wrong), "{wrong}");
        }
    }

    #[test]
    fn remote_sources_are_told_from_paths() {
        assert_eq!(remote("https://example.com/a.tar"), Some(RemoteSource::Url));
        assert_eq!(remote("https://example.com/a.git#main:sub"), Some(RemoteSource::Git));
        assert_eq!(remote("git@example.com:a/b.git"), Some(RemoteSource::Git));
        assert_eq!(remote("git://example.com/a"), Some(RemoteSource::Git));
        for path in ["a", "./a@b:c", "a@b", "github.com/a/b", "c:/x", "a@b:"] {
            assert_eq!(remote(path), None, "{path}");
        }
    }
}
