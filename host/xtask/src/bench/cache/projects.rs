//! The three projects: an npm application, a C program with make, a Python application with pip; `COPY . .` comes first in each.
//!
//! Lock files are made by the package managers themselves when the tools are prepared.

use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use wbuild_tests::base::{self, Base};

use crate::bench::steps;

/// What is changed between two builds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// Nothing.
    None,
    Readme,
    Source,
    Lock,
}

/// In this order, each on top of the last.
pub(super) const CHANGES: [(&str, Edit); 5] = [
    ("first build", Edit::None),
    ("nothing", Edit::None),
    ("README", Edit::Readme),
    ("one source file", Edit::Source),
    ("lock file", Edit::Lock),
];

/// One project.
pub(super) struct Case {
    pub(super) name: &'static str,
    dockerfile: String,
    files: Vec<(String, String)>,
    source: &'static str,
    /// What changes a dependency, file by file.
    lock: Vec<(&'static str, String)>,
}

impl Case {
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let files = self.files.iter().map(|(name, content)| (name.as_str(), content.as_str()));
        let more = [
            ("Dockerfile", self.dockerfile.as_str()),
            ("README", "read me\n"),
            (".dockerignore", "Dockerfile\n"),
        ];
        for (name, content) in files.chain(more) {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().context("a file has a directory")?)?;
            fs::write(path, content)?;
        }
        Ok(())
    }

    pub(super) fn change(&self, dir: &Path, edit: Edit) -> Result<()> {
        let append = |name: &str, line: &str| -> Result<()> {
            let path = dir.join(name);
            let text = fs::read_to_string(&path)?;
            Ok(fs::write(path, text + line)?)
        };
        match edit {
            Edit::None => Ok(()),
            Edit::Readme => append("README", "more\n"),
            // A comment to none of the three languages' harm: each takes an empty line.
            Edit::Source => append(self.source, "\n"),
            Edit::Lock => {
                self.lock.iter().try_for_each(|(name, content)| Ok(fs::write(dir.join(name), content)?))
            }
        }
    }
}

/// Variables by which this machine's package managers are told of their certificates.
const CERTIFICATES: [&str; 5] =
    ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// The certificates that are set, by variable.
fn certificates() -> Vec<(&'static str, PathBuf)> {
    let set = CERTIFICATES.iter().filter_map(|name| Some((*name, PathBuf::from(std::env::var_os(name)?))));
    set.filter(|(_, path)| path.is_absolute() && path.is_file()).collect()
}

/// Debian with the tools of all three, and both lock files of the npm project in `/locks`; kept in the cache.
pub(super) fn prepared() -> Result<Base> {
    steps::kept("bench-cache", &base::debian()?, |chroot| {
        let copy = |from: &Path, to: &Path| -> Result<()> {
            fs::create_dir_all(to.parent().context("a file has a directory")?)?;
            fs::copy(from, to).map(|_| ()).with_context(|| from.display().to_string())
        };
        let inside = |path: &Path| chroot.path().join(path.strip_prefix("/").unwrap_or(path));
        for path in ["/etc/npmrc", "/etc/pip.conf", "/root/.npmrc"]
            .map(Path::new)
            .iter()
            .filter(|path| path.is_file())
        {
            copy(path, &inside(path))?;
        }
        let mut exports = String::new();
        for (name, path) in certificates() {
            copy(&path, &inside(&path))?;
            write!(exports, "export {name}={}; ", path.display())?;
        }
        let tools = "apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make nodejs npm python3 \
                     python3-pip ca-certificates";
        chroot.run(tools)?.success()?;
        for (variant, package) in [("one", npm("2.1.2")), ("two", npm("2.1.3"))] {
            let dir = chroot.path().join("locks").join(variant);
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("package.json"), package)?;
            let script = format!(
                "{exports}cd /locks/{variant} && npm install --package-lock-only --no-audit --no-fund"
            );
            chroot.run(&script)?.success()?;
        }
        Ok(())
    })
}

fn npm(version: &str) -> String {
    format!(
        "{{\n  \"name\": \"app\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {{ \"ms\": \"{version}\", \"lodash\": \"4.17.21\", \"express\": \"4.19.2\" }}\n}}\n"
    )
}

/// All three.
pub(super) fn all(base: &Base) -> Result<Vec<Case>> {
    let mut head = "ARG BASE\nFROM ${BASE}\n".to_owned();
    for (name, path) in certificates() {
        writeln!(head, "ENV {name}={}", path.display())?;
    }
    let locks = base.rootfs.as_deref().context("the prepared base has a tree")?.join("locks");
    let lock = |variant: &str, name: &str| -> Result<String> {
        Ok(fs::read_to_string(locks.join(variant).join(name))?)
    };
    let file = |name: &str, content: &str| (name.to_owned(), content.to_owned());
    let node = Case {
        name: "npm application, COPY . . first",
        dockerfile: format!(
            "{head}WORKDIR /app\nCOPY . .\nRUN npm ci --no-audit --no-fund\nRUN node src/index.js > /out\n"
        ),
        files: vec![
            ("package.json".to_owned(), lock("one", "package.json")?),
            ("package-lock.json".to_owned(), lock("one", "package-lock.json")?),
            file(
                "src/index.js",
                "console.log(require('ms')('2 days'), require('lodash').chunk([1, 2, 3], 2));\n",
            ),
        ],
        source: "src/index.js",
        lock: vec![
            ("package.json", lock("two", "package.json")?),
            ("package-lock.json", lock("two", "package-lock.json")?),
        ],
    };
    let mut files = vec![];
    let mut objects = String::new();
    for number in 0..60 {
        let body = format!(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f{number}(int n) {{ return n * {number}; }}\n"
        );
        files.push((format!("src/f{number}.c"), body));
        write!(objects, " src/f{number}.o")?;
    }
    files.push(file("src/main.c", "int f7(int);\nint main(void) { return f7(0); }\n"));
    files.push(file("config.mk", "CFLAGS = -O1\n"));
    files.push((
        "Makefile".to_owned(),
        format!("include config.mk\nprogram: src/main.o{objects}\n\t$(CC) -o $@ $^\n"),
    ));
    let c = Case {
        name: "C program with make",
        dockerfile: format!(
            "{head}WORKDIR /src\nCOPY . .\nRUN make -j2\nRUN ./program && echo works > /out\n"
        ),
        files,
        source: "src/f7.c",
        lock: vec![("config.mk", "CFLAGS = -O2\n".to_owned())],
    };
    let python = Case {
        name: "Python application with pip",
        dockerfile: format!(
            "{head}WORKDIR /app\nCOPY . .\nRUN pip install --break-system-packages -r requirements.txt\nRUN python3 src/main.py > /out\n"
        ),
        files: vec![
            file("requirements.txt", "click==8.1.6\nsix==1.16.0\n"),
            file("src/main.py", "import click, six\nprint(click.__version__, six.__version__)\n"),
        ],
        source: "src/main.py",
        lock: vec![("requirements.txt", "click==8.1.7\nsix==1.16.0\n".to_owned())],
    };
    Ok(vec![node, c, python])
}
