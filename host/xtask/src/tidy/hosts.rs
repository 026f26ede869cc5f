//! No committed file names a host on the network but the few that are listed, nor a path of one machine.
//!
//! What a machine downloads from is that machine's configuration. Lock files are written by other tools and not looked at.

use super::{File, Findings};

/// Hosts that may stand in an address: documentation, standards, and names that lead nowhere.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "localhost",
    "[::1]",
    "example.com",
    "example.org",
    "registry.example",
    "github.com",
    "www.github.com",
    "kubernetes.io",
    "man7.org",
    "www.apache.org",
    "www.kernel.org",
    "docs.docker.com",
    "in-toto.io",
    "slsa.dev",
    "json-schema.org",
    // The names that a reference without a host stands for.
    "auth.docker.io",
    "index.docker.io",
    "registry-1.docker.io",
];
/// Roots of the machines that this project has been written on.
const MACHINES: &[[&str; 2]] = &[["/work", "/main"], ["/work", "/shared"], ["/work", "/team"]];

pub(super) fn check(files: &[File], findings: &mut Findings) {
    let written = ["Cargo.lock", "package-lock.json"];
    for file in files.iter().filter(|file| !written.iter().any(|name| file.path.ends_with(name))) {
        for (index, line) in file.text.lines().enumerate() {
            let place = format!("{}:{}", file.path.display(), index + 1);
            for host in hosts(line).filter(|host| !is_allowed(host)) {
                findings.error(format!("{place}: names the host {host}"));
            }
            for machine in MACHINES.iter().map(|parts| parts.concat()) {
                if line.contains(&machine) {
                    findings.error(format!("{place}: names {machine}, a path of one machine"));
                }
            }
        }
    }
}

/// The host of each `scheme://host` in the line; an interpolated one (`{host}`, `$HOST`) is not a name.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("://").filter_map(|(at, separator)| {
        if !line[..at].ends_with("http") && !line[..at].ends_with("https") {
            return None;
        }
        let rest = &line[at + separator.len()..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".-:[]".contains(c))).unwrap_or(rest.len());
        let host = rest[..end].trim_end_matches(['.', ':']);
        let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or(host) };
        (host.contains('.') || host.contains('[')).then_some(host)
    })
}

fn is_allowed(host: &str) -> bool {
    HOSTS.contains(&host)
        || host.ends_with(".example")
        || host.ends_with(".example.com")
        || host.ends_with(".test")
        || host.ends_with(".invalid")
}

#[cfg(test)]
mod tests {
    use super::{hosts, is_allowed};

    #[test]
    fn hosts_are_found_in_addresses() {
        let line = concat!(
            "see https://github.com/x, http://127.0.0.1:5000/v2 or https://mirror.",
            "somewhere.net/pool, http://{host}/"
        );
        let found: Vec<&str> = hosts(line).collect();
        assert_eq!(found, ["github.com", "127.0.0.1", concat!("mirror.", "somewhere.net")]);
        assert!(!is_allowed(found[2]));
        assert!(is_allowed("registry.example"));
    }
}
