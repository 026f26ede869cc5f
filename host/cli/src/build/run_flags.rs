//! The flags that are about RUN: secrets, agents, hosts, the network and limits.
//!
//! Secrets are read once, when the build begins, and are in memory from there on; nothing here prints one.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use wbuild_build::{Agent, Limit, LimitedResource, RunNetwork, SecretBytes};
use wbuild_registry::GitLogins;

use super::agents::{self, AgentPaths};
use super::fields;
use crate::environment::Environment;
use crate::failure::Failure;

/// What steps are given and held to.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct RunArgs {
    /// A secret for `RUN --mount=type=secret`: `id=ID,src=FILE`, `id=ID,env=NAME`; with the id alone, the environment variable or the file of
    /// that name; repeatable
    #[arg(long = "secret", value_name = "id=ID,..")]
    secrets: Vec<String>,

    /// An SSH agent or keys for `RUN --mount=type=ssh`: `default` or an id, with `=SOCKET` or `=KEYFILE,..`; without, the agent of
    /// SSH_AUTH_SOCK; repeatable
    #[arg(long = "ssh", value_name = "default|ID[=PATH,..]")]
    agents: Vec<String>,

    /// A line of the steps' /etc/hosts, `HOST:ADDRESS` or `HOST=ADDRESS`; repeatable
    #[arg(long = "add-host", value_name = "HOST:ADDRESS")]
    hosts: Vec<String>,

    /// The network of steps that name none: `default`, which is wbuild's own, or `none`
    #[arg(long, value_name = "MODE")]
    network: Option<String>,

    /// A limit of each process of a step, `NAME=SOFT[:HARD]`; -1 is no limit; repeatable
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    limits: Vec<String>,

    /// The most that /dev/shm of a step may hold (64m, 1g); a step that writes more is ended
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
}

/// [`RunArgs`] as objects.
#[derive(Debug, Default)]
pub(crate) struct RunSettings {
    /// By id.
    pub(crate) secrets: BTreeMap<String, SecretFrom>,
    /// The paths of `--ssh`, by id.
    agents: AgentPaths,
    /// Names with their addresses, in order.
    pub(crate) hosts: Vec<(String, String)>,
    pub(crate) network: RunNetwork,
    pub(crate) limits: Vec<Limit>,
    /// In bytes.
    pub(crate) shm_size: Option<u64>,
}

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SecretFrom {
    File(PathBuf),
    /// The value of an environment variable.
    Value(String),
}

impl std::fmt::Debug for SecretFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(..)"),
        }
    }
}

/// The longest secret, as in BuildKit.
const LONGEST: u64 = 500 << 10;

impl RunSettings {
    /// Reads the arguments.
    ///
    /// # Errors
    /// Exit 2 with what is wrong.
    pub(crate) fn new(args: &RunArgs, environment: &Environment) -> Result<Self, Failure> {
        let mut secrets = BTreeMap::new();
        for text in &args.secrets {
            let (id, from) = secret(text, environment)?;
            if secrets.insert(id.clone(), from).is_some() {
                return Err(Failure::usage(format!("--secret id={id} is given twice")));
            }
        }
        let size = |text: &String| {
            wbuild_build::ram_in_bytes(text)
                .filter(|size| *size > 0)
                .ok_or_else(|| Failure::usage(format!("--shm-size {text} is no size")).hint("64m or 1g"))
        };
        Ok(Self {
            secrets,
            agents: agents::read(&args.agents, environment)?,
            hosts: args.hosts.iter().map(|text| host(text)).collect::<Result<_, _>>()?,
            network: network(args.network.as_deref())?,
            limits: args.limits.iter().map(|text| limit(text)).collect::<Result<_, _>>()?,
            shm_size: args.shm_size.as_ref().map(size).transpose()?,
        })
    }

    /// Opens the agents of `--ssh`.
    ///
    /// # Errors
    /// Exit 2: nobody answers, or a file is no key that can be used.
    pub(crate) fn open_agents(&self) -> Result<BTreeMap<String, Arc<Agent>>, Failure> {
        agents::open(&self.agents)
    }

    /// Reads the secrets.
    ///
    /// # Errors
    /// Exit 2: a file that cannot be read, or is too long.
    pub(crate) fn read_secrets(&self) -> Result<BTreeMap<String, SecretBytes>, Failure> {
        self.read(|_| true)
    }

    /// Reads the secrets that are logins for git servers.
    ///
    /// # Errors
    /// As [`RunSettings::read_secrets`].
    pub(crate) fn git_logins(&self) -> Result<GitLogins, Failure> {
        let mut logins = GitLogins::default();
        let secrets = self.read(GitLogins::is_login)?;
        logins.add_secrets(secrets.iter().map(|(id, content)| (id.as_str(), content.0.as_slice())));
        Ok(logins)
    }

    fn read(&self, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, SecretBytes>, Failure> {
        let mut all = BTreeMap::new();
        for (id, from) in self.secrets.iter().filter(|(id, _)| wanted(id)) {
            let content = match from {
                SecretFrom::Value(value) => value.clone().into_bytes(),
                SecretFrom::File(path) => {
                    let mut content = Vec::new();
                    let read = cap_std::fs::File::open_ambient(path, cap_std::ambient_authority())
                        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut content));
                    read.map_err(|error| {
                        Failure::usage(format!("--secret id={id}: cannot read {}: {error}", path.display()))
                    })?;
                    content
                }
            };
            if content.len() as u64 > LONGEST {
                return Err(Failure::usage(format!("--secret id={id}: longer than {LONGEST} bytes")));
            }
            all.insert(id.clone(), SecretBytes(content));
        }
        Ok(all)
    }
}

fn secret(text: &str, environment: &Environment) -> Result<(String, SecretFrom), Failure> {
    let wrong = |what: &str| {
        Failure::usage(format!("--secret {text}: {what}"))
            .hint("--secret id=ID,src=FILE or --secret id=ID,env=NAME")
    };
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for (key, value) in fields::pairs(text).map_err(|error| wrong(&error.to_string()))? {
        let slot = match key.as_str() {
            "id" => &mut id,
            "src" | "source" => &mut source,
            "env" => &mut variable,
            "type" => &mut kind,
            _ => return Err(wrong(&format!("unknown key {key}"))),
        };
        if slot.replace(value).is_some() {
            return Err(wrong(&format!("{key} is given twice")));
        }
    }
    match kind.as_deref() {
        None | Some("file") => {}
        // buildx takes src as the variable's name here.
        Some("env") => variable = variable.or(source.take()),
        Some(other) => return Err(wrong(&format!("unknown type {other}"))),
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| wrong("it has no id"))?;
    let value = |name: &str| environment.text(name).map(|value| SecretFrom::Value(value.to_owned()));
    let from = match (source, variable) {
        (Some(_), Some(_)) => return Err(wrong("src and env exclude each other")),
        (Some(path), None) => SecretFrom::File(path.into()),
        (None, Some(name)) => {
            value(&name).ok_or_else(|| wrong(&format!("there is no environment variable {name}")))?
        }
        (None, None) => value(&id).unwrap_or_else(|| SecretFrom::File(id.clone().into())),
    };
    Ok((id, from))
}

fn host(text: &str) -> Result<(String, String), Failure> {
    let wrong = |what: &str| Failure::usage(format!("--add-host {text}: {what}")).hint("HOST:ADDRESS");
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) = split.ok_or_else(|| wrong("it has no address"))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(wrong("the name is none"));
    }
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if address == "host-gateway" {
        return Err(wrong("there is no host behind a gateway: steps have the network of wbuild itself"));
    }
    let address: IpAddr = address.parse().map_err(|_| wrong("the address is none"))?;
    Ok((name.to_owned(), address.to_string()))
}

fn network(mode: Option<&str>) -> Result<RunNetwork, Failure> {
    match mode {
        None | Some("default") => Ok(RunNetwork::Default),
        Some("none") => Ok(RunNetwork::None),
        Some("host") => Err(Failure::usage("--network host: steps have the network that wbuild itself has")
            .hint("leave the flag away")),
        Some(other) => {
            Err(Failure::usage(format!("--network {other} is unknown")).hint("modes are default and none"))
        }
    }
}

fn limit(text: &str) -> Result<Limit, Failure> {
    use LimitedResource as R;
    let wrong = |what: &str| {
        Failure::usage(format!("--ulimit {text}: {what}")).hint("NAME=SOFT[:HARD], such as nofile=1024:4096")
    };
    let (name, values) = text.split_once('=').ok_or_else(|| wrong("it has no value"))?;
    let resource = match name {
        "as" => R::As,
        "core" => R::Core,
        "cpu" => R::Cpu,
        "data" => R::Data,
        "fsize" => R::Fsize,
        "memlock" => R::Memlock,
        "msgqueue" => R::Msgqueue,
        "nice" => R::Nice,
        "nofile" => R::Nofile,
        "nproc" => R::Nproc,
        "rss" => R::Rss,
        "rtprio" => R::Rtprio,
        "rttime" => R::Rttime,
        "sigpending" => R::Sigpending,
        "stack" => R::Stack,
        _ => return Err(wrong("no limit of this name can be set")),
    };
    let value = |text: &str| match text {
        "-1" => Ok(None),
        text => text.parse().map(Some).map_err(|_| wrong("a value is no number")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(soft)?, value(hard)?);
    if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
        return Err(wrong("the soft limit is above the hard one"));
    }
    Ok(Limit { resource, soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: RunArgs, environment: &[(&str, &str)]) -> Result<RunSettings, Failure> {
        RunSettings::new(&args, &environment.iter().copied().collect())
    }

    fn one(list: &str) -> Vec<String> {
        vec![list.to_owned()]
    }

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let environment = [("NAME", "value"), ("both", "of env")];
        let from = |text: &str| {
            let args = RunArgs { secrets: one(text), ..RunArgs::default() };
            read(args, &environment).map(|settings| settings.secrets.into_iter().next().unwrap())
        };
        let file = |id: &str, path: &str| (id.to_owned(), SecretFrom::File(path.into()));
        let value = |id: &str, value: &str| (id.to_owned(), SecretFrom::Value(value.into()));
        assert_eq!(from("id=a,src=/x").unwrap(), file("a", "/x"));
        assert_eq!(from("type=file,id=a,source=\"/x\"").unwrap_err().exit, crate::exit::Exit::Usage);
        assert_eq!(from("id=a,\"src=/x,y\"").unwrap(), file("a", "/x,y"));
        assert_eq!(from("id=a,env=NAME").unwrap(), value("a", "value"));
        assert_eq!(from("id=a,type=env,src=NAME").unwrap(), value("a", "value"));
        assert_eq!(from("id=both").unwrap(), value("both", "of env"));
        assert_eq!(from("id=a").unwrap(), file("a", "a"));
        for wrong in
            ["src=/x", "id=", "id=a,env=ABSENT", "id=a,src=x,env=NAME", "id=a,what=x", "a", "id=a,type=x"]
        {
            assert!(from(wrong).is_err(), "{wrong}");
        }
        let twice = RunArgs { secrets: vec!["id=a,src=x".into(), "id=a,src=y".into()], ..RunArgs::default() };
        assert!(read(twice, &[]).unwrap_err().message.contains("twice"));
    }

    #[test]
    fn a_secrets_value_is_not_in_debug_output() {
        let args = RunArgs { secrets: one("id=a,env=NAME"), ..RunArgs::default() };
        let settings = read(args, &[("NAME", "hush-hush")]).unwrap();
        assert!(!format!("{settings:?} {:?}", settings.read_secrets().unwrap()).contains("hush"));
        assert_eq!(settings.read_secrets().unwrap()["a"].0, b"hush-hush");
    }

    #[test]
    fn hosts_have_addresses_of_both_families() {
        let hosts = |text: &str| read(RunArgs { hosts: one(text), ..RunArgs::default() }, &[]);
        let pair = |a: &str, b: &str| vec![(a.to_owned(), b.to_owned())];
        assert_eq!(hosts("a:10.0.0.1").unwrap().hosts, pair("a", "10.0.0.1"));
        assert_eq!(hosts("a.b=::1").unwrap().hosts, pair("a.b", "::1"));
        assert_eq!(hosts("a:[fe80::1]").unwrap().hosts, pair("a", "fe80::1"));
        for wrong in ["a", "a:", ":1.2.3.4", "a b:1.2.3.4", "a:1.2.3.4\n5.6.7.8 x", "a:host-gateway"] {
            assert!(hosts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let limits = |text: &str| read(RunArgs { limits: one(text), ..RunArgs::default() }, &[]);
        let expected = |resource, soft, hard| vec![Limit { resource, soft, hard }];
        let nofile = LimitedResource::Nofile;
        assert_eq!(limits("nofile=1:2").unwrap().limits, expected(nofile, Some(1), Some(2)));
        assert_eq!(limits("nofile=7").unwrap().limits, expected(nofile, Some(7), Some(7)));
        assert_eq!(limits("core=0:-1").unwrap().limits, expected(LimitedResource::Core, Some(0), None));
        for wrong in ["nofile", "nofile=", "nofile=2:1", "nofile=-1:1", "files=1", "nofile=-2", "locks=1"] {
            assert!(limits(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_network_is_there_or_not() {
        let network = |mode: &str| read(RunArgs { network: Some(mode.into()), ..RunArgs::default() }, &[]);
        assert_eq!(network("none").unwrap().network, RunNetwork::None);
        assert_eq!(network("default").unwrap().network, RunNetwork::Default);
        assert!(network("host").unwrap_err().message.contains("wbuild itself"));
        assert!(network("bridge").is_err());
        let sized = |size: &str| read(RunArgs { shm_size: Some(size.into()), ..RunArgs::default() }, &[]);
        assert_eq!(sized("128m").unwrap().shm_size, Some(128 << 20));
        assert!(sized("0").is_err() && sized("big").is_err());
    }
}
