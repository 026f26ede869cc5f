//! The JSON of `--call=METHOD,format=json`, in the shapes that buildx prints: what `docker buildx build` users' scripts read.
//!
//! Places are lines, as BuildKit has them for whole instructions; the Dockerfile itself goes along in base64, under `sources`. A check
//! that a build would not begin has `buildError`. Empty lists and fields are left out where BuildKit leaves them out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use wbuild_build::Checked;
use wbuild_dockerfile::Span;
use wbuild_plan::{Outline, OutlineMount, Presence, Target, TargetDefault};

use super::inputs::Source;

/// As `frontend.lint` answers.
pub(super) fn check(checked: &Checked, source: &Source) -> String {
    let warnings: Vec<Value> = checked
        .findings
        .iter()
        .map(|finding| {
            json!({
                "ruleName": finding.rule.name,
                "description": finding.rule.description,
                "url": finding.rule.url(),
                "detail": finding.detail,
                "location": location(finding.span),
            })
        })
        .collect();
    let mut answer = Map::new();
    answer.insert("warnings".to_owned(), Value::Array(warnings));
    let sources = json!([{ "filename": source.name, "data": data(source), "language": "Dockerfile" }]);
    answer.insert("sources".to_owned(), sources);
    if let Some(error) = &checked.failure {
        let mut failure = Map::new();
        failure.insert("message".to_owned(), error.to_string().into());
        put(&mut failure, "location", error.span().map(location));
        answer.insert("buildError".to_owned(), failure.into());
    }
    text(answer)
}

/// As `frontend.outline` answers.
pub(super) fn outline(outline: &Outline, source: &Source) -> String {
    let mut answer = Map::new();
    put(&mut answer, "name", outline.name.as_deref());
    put(&mut answer, "description", outline.description.as_deref());
    let args = outline.args.iter().map(|arg| {
        let mut one = named("name", &arg.name, arg.span);
        put(&mut one, "description", arg.description.as_deref());
        put(&mut one, "value", arg.value.as_deref().filter(|value| !value.is_empty()));
        one
    });
    put_list(&mut answer, "args", args.collect());
    put_list(&mut answer, "secrets", outline.secrets.iter().map(mount).collect());
    put_list(&mut answer, "ssh", outline.ssh.iter().map(mount).collect());
    put_list(&mut answer, "cache", outline.caches.iter().map(|(id, span)| named("ID", id, *span)).collect());
    answer.insert("sources".to_owned(), json!([data(source)]));
    text(answer)
}

/// As `frontend.targets` answers.
pub(super) fn targets(targets: &[Target], source: &Source) -> String {
    let target = |target: &Target| {
        let mut one = Map::new();
        put(&mut one, "name", target.name.as_deref());
        put(&mut one, "default", (target.default == TargetDefault::Yes).then_some(true));
        put(&mut one, "description", target.description.as_deref());
        put(&mut one, "base", Some(target.base.as_str()));
        put(&mut one, "platform", target.platform.as_deref());
        put(&mut one, "location", Some(location(target.span)));
        one
    };
    let list: Vec<Map<String, Value>> = targets.iter().map(target).collect();
    text(json!({ "targets": list, "sources": [data(source)] }))
}

fn mount(mount: &OutlineMount) -> Map<String, Value> {
    let mut one = named("name", &mount.id, mount.span);
    put(&mut one, "required", (mount.presence == Presence::Required).then_some(true));
    one
}

fn named(key: &str, name: &str, span: Span) -> Map<String, Value> {
    let mut one = Map::new();
    one.insert(key.to_owned(), name.into());
    one.insert("location".to_owned(), location(span));
    one
}

fn put(object: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), value.into());
    }
}

fn put_list(object: &mut Map<String, Value>, key: &str, list: Vec<Map<String, Value>>) {
    if !list.is_empty() {
        object.insert(key.to_owned(), Value::Array(list.into_iter().map(Value::Object).collect()));
    }
}

fn location(span: Span) -> Value {
    json!({ "ranges": [{ "start": { "line": span.start.line }, "end": { "line": span.end.line } }] })
}

fn data(source: &Source) -> String {
    STANDARD.encode(&source.text)
}

fn text(answer: impl Into<Value>) -> String {
    format!("{:#}\n", answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { name: "Dockerfile".to_owned(), text: text.as_bytes().to_vec() }
    }

    #[test]
    fn stages_have_the_keys_of_buildx() {
        let file = "# base the tools\nFROM scratch AS base\nFROM --platform=linux/arm64 base\n";
        let parsed = wbuild_dockerfile::parse(file.as_bytes()).unwrap();
        let said: Value =
            serde_json::from_str(&targets(&wbuild_plan::targets(&parsed), &source(file))).unwrap();
        let at = |line| json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] });
        assert_eq!(
            said,
            json!({
                "targets": [
                    { "name": "base", "description": "the tools", "base": "scratch", "location": at(2) },
                    { "default": true, "base": "base", "platform": "linux/arm64", "location": at(3) },
                ],
                "sources": [STANDARD.encode(file)],
            })
        );
    }

    #[test]
    fn an_outline_without_anything_has_its_source_alone() {
        let empty = Outline {
            name: None,
            description: None,
            args: Vec::new(),
            secrets: Vec::new(),
            ssh: Vec::new(),
            caches: Vec::new(),
        };
        assert_eq!(outline(&empty, &source("x")), "{\n  \"sources\": [\n    \"eA==\"\n  ]\n}\n");
    }
}
