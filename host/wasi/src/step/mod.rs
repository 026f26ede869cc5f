//! `wbuild:step` for components: the interfaces of guest-sdk/wit over the process's own calls and its channel to wbuild.
//!
//! Attributes are set by ordinary system calls, which the broker answers as any program's; secrets are read where the step's mounts
//! show them; lines for the user go to standard error. Only changes of the image leave the step, over the channel.

mod channel;
mod events;
mod outputs;
mod secrets;

use std::fs::File;

use wasmtime::component::{HasData, Linker, ResourceTable};
use wbuild_monitor::{MountAccess, SecretPlace, ToolContext};

use crate::names::{Cwd, Directory};
use channel::Channel;

/// The generated traits.
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../guest-sdk/wit",
        world: "tool",
        with: { "wbuild:step/secrets.secret": super::secrets::Secret },
        imports: { default: trappable },
    });
}

use bindings::wbuild::step::{
    context, events as wit_events, image, outputs as wit_outputs, secrets as wit_secrets,
};

/// What a component's step is to it.
pub(crate) struct Step {
    pub(crate) tool: ToolContext,
    pub(crate) channel: Option<Channel>,
    /// Where lines for the user go.
    pub(crate) errors: Option<File>,
    /// Names that are to be there in the end.
    pub(crate) declared: Vec<String>,
    /// The last tenth that was told, by progress id.
    pub(crate) told: events::Told,
    pub(crate) given: Directory,
}

impl View<'_> {
    /// The exit status of a tool that ended well: 1 where something it declared is missing.
    pub(crate) fn settle(&mut self) -> i32 {
        let Some(missing) = self.step.missing().map(str::to_owned) else { return 0 };
        self.say(&format!("error: the tool declared that it makes {missing:?}, and it is not there"));
        1
    }
}

impl Step {
    /// Of a component that was told this.
    pub(crate) fn new(
        tool: ToolContext,
        channel: Option<std::os::fd::OwnedFd>,
        errors: Option<File>,
    ) -> Self {
        Self {
            tool,
            channel: channel.map(Channel::over),
            errors,
            declared: Vec::new(),
            told: events::Told::default(),
            given: Directory::Given(Cwd::of_process()),
        }
    }

    /// The first name that was declared and is not there.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.declared.iter().find(|path| !outputs::is_there(&self.given, path)).map(String::as_str)
    }
}

/// A component's step, and where its resources are kept.
pub(crate) struct View<'a> {
    pub(crate) step: &'a mut Step,
    pub(crate) table: &'a mut ResourceTable,
}

struct HasStep;

impl HasData for HasStep {
    type Data<'a> = View<'a>;
}

/// Links the interfaces.
///
/// # Errors
/// A name that stands twice.
pub(crate) fn link(linker: &mut Linker<crate::p2::Host>) -> wasmtime::Result<()> {
    let view: fn(&mut crate::p2::Host) -> View<'_> = crate::p2::Host::step;
    context::add_to_linker::<_, HasStep>(linker, view)?;
    wit_secrets::add_to_linker::<_, HasStep>(linker, view)?;
    wit_events::add_to_linker::<_, HasStep>(linker, view)?;
    wit_outputs::add_to_linker::<_, HasStep>(linker, view)?;
    image::add_to_linker::<_, HasStep>(linker, view)
}

impl context::Host for View<'_> {
    fn stage(&mut self) -> wasmtime::Result<String> {
        Ok(self.step.tool.stage.clone())
    }

    fn target_platform(&mut self) -> wasmtime::Result<String> {
        Ok(self.step.tool.target.clone())
    }

    fn build_platform(&mut self) -> wasmtime::Result<String> {
        Ok(self.step.tool.build.clone())
    }

    fn mounts(&mut self) -> wasmtime::Result<Vec<context::Mount>> {
        let mount = |(path, access): &(String, MountAccess)| context::Mount {
            path: path.clone(),
            access: match access {
                MountAccess::ReadOnly => context::Access::ReadOnly,
                MountAccess::ReadWrite => context::Access::ReadWrite,
            },
        };
        Ok(self.step.tool.mounts.iter().map(mount).collect())
    }

    fn secrets(&mut self) -> wasmtime::Result<Vec<String>> {
        let mut ids: Vec<String> = Vec::new();
        for (id, _) in &self.step.tool.secrets {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        Ok(ids)
    }
}

/// Where the step finds a secret; a file before a variable.
fn place<'a>(tool: &'a ToolContext, id: &str) -> Option<&'a SecretPlace> {
    let mut places = tool.secrets.iter().filter(|(known, _)| known == id).map(|(_, place)| place);
    let first = places.next()?;
    match first {
        SecretPlace::File(_) => Some(first),
        SecretPlace::Variable(_) => {
            places.find(|place| matches!(place, SecretPlace::File(_))).or(Some(first))
        }
    }
}
