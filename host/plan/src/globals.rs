//! What FROM lines can name: predefined arguments and the ARGs before the first FROM; and the epoch they can set.

use wbuild_dockerfile::{Dockerfile, DockerfileError, Expander, Kind, Span};

use crate::graph::{Globals, declared, syntax};
use crate::lint::CHECK;
use crate::request::Request;
use crate::step::Warning;

/// A build argument that is the build's epoch.
pub(crate) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The proxy arguments, in the spelling a step sees them in beside the uppercase one.
pub(crate) const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// Whether `name` is a proxy argument, in any case: such a one is given to every step and is no part of what the step is.
#[must_use]
pub fn is_proxy_argument(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// Arguments with a meaning of their own, which no ARG has to declare.
const BUILDER: [&str; 3] = [EPOCH, HOSTNAME, CHECK];

pub(crate) const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";

/// Evaluates the head of the Dockerfile.
pub(crate) fn globals(file: &Dockerfile, request: &Request) -> Result<Globals, DockerfileError> {
    let mut globals = Globals::new();
    for (name, value) in predefined(file, request) {
        let value = request.build_args.get(name).cloned().unwrap_or(value);
        globals.insert(name.to_owned(), value);
    }
    for instruction in &file.globals {
        let Kind::Arg(declarations) = &instruction.kind else { continue };
        for declaration in declarations {
            let value = match (request.build_args.get(&declaration.name), &declaration.value) {
                (Some(given), _) => given.clone(),
                (None, None) => continue,
                (None, Some(default)) => {
                    let expanded = Expander::words(file.directives.escape).expand(default, &globals);
                    expanded.map_err(|e| syntax(declaration.span, e.to_string(), None))?.text
                }
            };
            globals.insert(declaration.name.clone(), value);
        }
    }
    Ok(globals)
}

fn predefined(file: &Dockerfile, request: &Request) -> [(&'static str, String); 11] {
    let (build, target) = (&request.build_platform, &request.platform);
    let last = file.stages.last().and_then(|s| s.from.name.as_ref()).map(|n| n.text.clone());
    let stage = request.target.clone().or(last).unwrap_or_else(|| "default".to_owned());
    [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", build.os_version.clone()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", build.variant.clone()),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", target.os_version.clone()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", target.variant.clone()),
        ("TARGETSTAGE", stage),
    ]
}

/// The epoch that a build argument or a global ARG sets.
pub(crate) fn epoch(request: &Request, globals: &Globals) -> Result<Option<i64>, DockerfileError> {
    let given = request.build_args.get(EPOCH).or_else(|| globals.get(EPOCH));
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| DockerfileError::Argument {
        message: format!("invalid {EPOCH}: {text}"),
        expected: Some("seconds since 1970".to_owned()),
    })
}

/// What is odd about the request and the head of the file, without being wrong.
pub(crate) fn warnings(file: &Dockerfile, request: &Request) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(syntax) = &file.directives.syntax {
        let image = syntax.value.split_whitespace().next().unwrap_or_default();
        let name = image.trim_start_matches("docker.io/");
        if !name.starts_with("docker/dockerfile") {
            let message = format!("the frontend {image} is not pulled: wbuild reads this file itself");
            warnings.push(Warning { span: Some(syntax.span), message });
        }
    }
    let known = declared(file);
    let predefined: Vec<&str> = predefined(file, request).iter().map(|(name, _)| *name).collect();
    let unused: Vec<&str> = request
        .build_args
        .keys()
        .map(String::as_str)
        .filter(|name| !known.contains(name) && !BUILDER.contains(name) && !predefined.contains(name))
        .filter(|name| !PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name)))
        .collect();
    if !unused.is_empty() {
        let message = format!("one or more build arguments were not consumed: {}", unused.join(" "));
        warnings.push(Warning { span: None::<Span>, message });
    }
    warnings
}
