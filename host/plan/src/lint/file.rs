//! The rules that need nothing but the text and the global arguments.

use std::collections::BTreeSet;

use wbuild_dockerfile::{Dockerfile, Expander, Instruction, Kind, StageSource};
use wbuild_oci::{Platform, Reference};

use super::{
    CONSISTENT_INSTRUCTION_CASING, DUPLICATE_STAGE_NAME, FROM_AS_CASING, FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    INVALID_DEFAULT_ARG_IN_FROM, INVALID_DEFINITION_DESCRIPTION, Linter, MAINTAINER_DEPRECATED,
    NO_EMPTY_CONTINUATION, Place, REDUNDANT_TARGET_PLATFORM, RESERVED_STAGE_NAME, STAGE_NAME_CASING,
    UNDEFINED_ARG_IN_FROM,
};
use crate::globals;
use crate::graph::Globals;
use crate::request::Request;

/// Checks the whole file; `globals` are those of this build.
pub(crate) fn check_file(linter: &Linter, file: &Dockerfile, request: &Request, globals: &Globals) {
    for span in &file.empty_continuations {
        linter.report(NO_EMPTY_CONTINUATION, Place { span: *span, comments: &[] }, "Empty continuation line");
    }
    for stage in &file.stages {
        names(linter, stage);
        for instruction in &stage.instructions {
            self::instruction(linter, instruction);
        }
    }
    for instruction in &file.globals {
        self::instruction(linter, instruction);
    }
    stage_names(linter, file);
    casing(linter, file);
    defaults(linter, file, request);
    for stage in &file.stages {
        from(linter, file, stage, globals);
    }
}

fn place(stage: &StageSource) -> Place<'_> {
    Place { span: stage.span, comments: &stage.comments }
}

fn names(linter: &Linter, stage: &StageSource) {
    let Some((keyword, name)) = &stage.from.written else { return };
    if name.to_lowercase() != *name {
        let detail = format!("Stage name '{name}' should be lowercase");
        linter.report(STAGE_NAME_CASING, place(stage), detail);
    }
    let from = first_word(&stage.text);
    let consistent = match (from == from.to_lowercase(), from == from.to_uppercase()) {
        (true, _) => *keyword == keyword.to_lowercase(),
        (_, true) => *keyword == keyword.to_uppercase(),
        // Another rule speaks about FROM itself.
        _ => true,
    };
    if !consistent {
        let detail = format!("'{keyword}' and '{from}' keywords' casing do not match");
        linter.report(FROM_AS_CASING, place(stage), detail);
    }
    let name = stage.from.name.as_ref().map_or(name.as_str(), |name| &name.text);
    description(linter, "FROM", &[name], place(stage));
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

fn instruction(linter: &Linter, instruction: &Instruction) {
    match &instruction.kind {
        Kind::Maintainer(_) => {
            let detail = "Maintainer instruction is deprecated in favor of using label";
            linter.report(MAINTAINER_DEPRECATED, instruction.into(), detail);
        }
        Kind::Arg(declarations) => {
            let names: Vec<&str> = declarations.iter().map(|d| d.name.as_str()).collect();
            description(linter, "ARG", &names, instruction.into());
        }
        _ => {}
    }
}

// The comment right above what it describes begins with the name.
fn description(linter: &Linter, instruction: &str, names: &[&str], place: Place<'_>) {
    let Some(last) = place.comments.last() else { return };
    let first = last.split(' ').next().unwrap_or_default();
    if names.contains(&first) {
        return;
    }
    let example = if let [name] = names { name } else { "<arg_key>" };
    let detail = format!("Comment for {instruction} should follow the format: `# {example} <description>`");
    linter.report(INVALID_DEFINITION_DESCRIPTION, place, detail);
}

fn stage_names(linter: &Linter, file: &Dockerfile) {
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = &stage.from.name else { continue };
        let name = name.text.as_str();
        if ["context", "scratch"].contains(&name) {
            let detail = format!("Stage name should not use the same name as reserved stage {name:?}");
            linter.report(RESERVED_STAGE_NAME, place(stage), detail);
        }
        if !seen.insert(name) {
            let detail = format!("Duplicate stage name {name:?}, stage names should be unique");
            linter.report(DUPLICATE_STAGE_NAME, place(stage), detail);
        }
    }
}

fn casing(linter: &Linter, file: &Dockerfile) {
    let all: Vec<(String, Place<'_>)> = file
        .stages
        .iter()
        .flat_map(|s| {
            let from = (first_word(&s.text).to_owned(), place(s));
            let own = s.instructions.iter().map(|i| (i.keyword.clone(), Place::from(i)));
            std::iter::once(from).chain(own)
        })
        .collect();
    let is_lower = |word: &str| word == word.to_lowercase();
    let is_upper = |word: &str| word == word.to_uppercase();
    let lower = all.iter().filter(|(word, _)| is_lower(word)).count();
    let upper = all.iter().filter(|(word, _)| is_upper(word)).count();
    for (word, place) in &all {
        let wanted = match lower > upper {
            true if !is_lower(word) => "lowercase",
            false if !is_upper(word) => "uppercase",
            _ => continue,
        };
        let detail = format!("Command '{word}' should match the case of the command majority ({wanted})");
        linter.report(CONSISTENT_INSTRUCTION_CASING, *place, detail);
    }
}

// Base names have to be names without any --build-arg, too.
fn defaults(linter: &Linter, file: &Dockerfile, request: &Request) {
    let request = Request { build_args: std::collections::BTreeMap::new(), ..request.clone() };
    let Ok(globals) = globals::globals(file, &request) else { return };
    for stage in &file.stages {
        let base = &stage.from.base;
        let Ok(expanded) = Expander::words(file.directives.escape).expand(&base.text, &globals) else {
            return;
        };
        if expanded.text.parse::<Reference>().is_err() {
            let detail =
                format!("Default value for ARG {} results in empty or invalid base image name", base.text);
            linter.report(INVALID_DEFAULT_ARG_IN_FROM, place(stage), detail);
        }
    }
}

fn from(linter: &Linter, file: &Dockerfile, stage: &StageSource, globals: &Globals) {
    let declared = file.globals.iter().filter_map(|i| match &i.kind {
        Kind::Arg(list) => Some(list),
        _ => None,
    });
    let mut known: Vec<&str> = declared.flatten().map(|d| d.name.as_str()).collect();
    known.extend(globals.keys().map(String::as_str));
    let expander = Expander::words(file.directives.escape);
    let undeclared = |missing: &BTreeSet<String>| {
        for name in missing.iter().filter(|name| !known.contains(&name.as_str())) {
            let near = wbuild_dockerfile::nearest(name, known.iter().copied());
            let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let detail = format!("FROM argument '{name}' is not declared{near}");
            linter.report(UNDEFINED_ARG_IN_FROM, place(stage), detail);
        }
    };
    if let Ok(base) = expander.expand(&stage.from.base.text, globals) {
        undeclared(&base.missing);
    }
    let Some(platform) = &stage.from.platform else { return };
    let Ok(expanded) = expander.expand(&platform.text, globals) else { return };
    undeclared(&expanded.missing);
    let target = globals.get("TARGETPLATFORM");
    if expanded.missing.is_empty()
        && expanded.used.iter().eq(["TARGETPLATFORM"])
        && target == Some(&expanded.text)
    {
        let text = &platform.text;
        let detail = format!(
            "Setting platform to predefined {text} in FROM is redundant as this is the default behavior"
        );
        linter.report(REDUNDANT_TARGET_PLATFORM, place(stage), detail);
    }
    if !expanded.used.is_empty() || !expanded.missing.is_empty() {
        return;
    }
    let Ok(Platform { os, architecture, .. }) = expanded.text.parse::<Platform>() else { return };
    let name = stage.from.name.as_ref().map_or("", |name| &name.text);
    if !name.contains(&os) && !name.contains(&architecture) {
        let text = &expanded.text;
        let detail = format!("FROM --platform flag should not use constant value {text:?}");
        linter.report(FROM_PLATFORM_FLAG_CONST_DISALLOWED, place(stage), detail);
    }
}
