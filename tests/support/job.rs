//! `examples/kubernetes/job.yaml`, read as data: what the pod runner obeys and what Pod Security is checked against.

use crate::workspace;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::fs;
use yaml_rust2::{Yaml, YamlLoader};

/// The `spec` of the pod that the example's Job makes.
pub fn pod_spec() -> Result<Value> {
    let path = workspace::root().join("examples/kubernetes/job.yaml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let documents = YamlLoader::load_from_str(&text).with_context(|| path.display().to_string())?;
    let documents = documents.iter().map(json).collect::<Result<Vec<_>>>()?;
    let job = documents.iter().find(|document| document["kind"] == "Job").context("job.yaml has no Job")?;
    Ok(job["spec"]["template"]["spec"].clone())
}

/// YAML as the JSON that the API server would get.
fn json(yaml: &Yaml) -> Result<Value> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(value) => Value::Bool(*value),
        Yaml::Integer(value) => Value::from(*value),
        Yaml::Real(value) => Value::from(value.parse::<f64>().context("a number")?),
        Yaml::String(value) => Value::String(value.clone()),
        Yaml::Array(values) => Value::Array(values.iter().map(json).collect::<Result<_>>()?),
        Yaml::Hash(pairs) => {
            let mut map = Map::new();
            for (key, value) in pairs {
                map.insert(key.as_str().context("a key that is not text")?.to_owned(), json(value)?);
            }
            Value::Object(map)
        }
        Yaml::Alias(_) | Yaml::BadValue => bail!("aliases and bad values are not supported in job.yaml"),
    })
}

/// What the `restricted` Pod Security Standard forbids in this pod; empty when it admits it.
///
/// Source: the table of the Kubernetes documentation, "Pod Security Standards", profile Restricted with Baseline.
pub fn violations(spec: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[field] == true {
            found.push(format!("spec.{field}"));
        }
    }
    let allowed = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let kinds = volume.as_object().into_iter().flat_map(|map| map.keys()).filter(|key| *key != "name");
        found.extend(
            kinds
                .filter(|kind| !allowed.contains(&kind.as_str()))
                .map(|kind| format!("volume of the kind {kind}")),
        );
    }
    let pod = &spec["securityContext"];
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    for container in containers.iter().flat_map(|kind| spec[kind].as_array().into_iter().flatten()) {
        let name = container["name"].as_str().unwrap_or("?");
        let own = &container["securityContext"];
        let either = |field: &str| if own[field].is_null() { &pod[field] } else { &own[field] };
        let mut forbid = |condition: bool, what: &str| {
            if condition {
                found.push(format!("container {name}: {what}"));
            }
        };
        forbid(own["privileged"] == true, "privileged");
        forbid(own["allowPrivilegeEscalation"] != false, "allowPrivilegeEscalation is not false");
        forbid(either("runAsNonRoot") != true, "runAsNonRoot is not true");
        forbid(either("runAsUser") == 0, "runAsUser is 0");
        forbid(own["capabilities"]["drop"] != serde_json::json!(["ALL"]), "capabilities are not dropped");
        let added = own["capabilities"]["add"].as_array().into_iter().flatten();
        forbid(added.into_iter().any(|name| name != "NET_BIND_SERVICE"), "capabilities are added");
        let seccomp = &either("seccompProfile")["type"];
        forbid(seccomp != "RuntimeDefault" && seccomp != "Localhost", "seccompProfile is not RuntimeDefault");
        forbid(!own["procMount"].is_null() && own["procMount"] != "Default", "procMount");
        let ports = container["ports"].as_array().into_iter().flatten();
        forbid(
            ports.into_iter().any(|port| !port["hostPort"].is_null() && port["hostPort"] != 0),
            "hostPort",
        );
    }
    found
}
