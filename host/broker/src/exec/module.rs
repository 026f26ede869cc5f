//! A wasm module in the place of a program: the engine is executed, and asks for its plan as a stub does.
//!
//! The engine is wbuild's own binary, as a process of the step: whatever it does on behalf of the module is trapped and
//! answered like any guest's call. Its code comes from outside the step, by [`CodeSource`]; that may take long, so it is waited
//! for on a thread of its own, and the wait ends with the process that asked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use wbuild_monitor::{Broken, Fault, Metered, ModuleKind, ModulePlan, ModuleRules, ToolContext};
use wbuild_sys::notify::Inherit;

use super::plan::{Plan, answer};
use crate::call::{Call, Reply};

/// Where compiled code comes from.
pub trait CodeSource: Send + Sync {
    /// A read-only descriptor of the code of the module behind `module`, or why there is none, for the module's user.
    ///
    /// # Errors
    /// `Interrupted` where a signal ended the wait; anything else is the sandbox's failure.
    fn code(
        &self,
        module: BorrowedFd<'_>,
        kind: ModuleKind,
        metered: Metered,
        name: &str,
    ) -> std::io::Result<Result<OwnedFd, String>>;

    /// A component's end of a new channel to wbuild.
    ///
    /// # Errors
    /// The sandbox's failure.
    fn channel(&self) -> std::io::Result<OwnedFd>;
}

/// How modules are run.
pub struct Modules {
    /// The program that runs them, open for reading.
    pub engine: OwnedFd,
    /// Gives their code.
    pub source: Box<dyn CodeSource>,
    /// What they may have.
    pub rules: ModuleRules,
    /// What they may ask about their step.
    pub tool: ToolContext,
}

/// Answers the engine that a process has become: its module's code, and what else it has to know.
pub(super) fn deliver(call: &mut Call<'_>, plan: Plan, kind: ModuleKind) -> Result<Reply, Fault> {
    let execs = &call.step().exec;
    let (Some(modules), Some(module)) = (&execs.modules, &plan.program) else {
        return Err(Errno::BADF.into());
    };
    let name = String::from_utf8_lossy(&plan.name).into_owned();
    let code = match modules.source.code(module.as_fd(), kind, modules.rules.metered(), &name) {
        Ok(code) => code,
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
            // The call restarts where its process lives on, and asks again.
            execs.expect(call.task().tgid(), plan);
            return Err(Errno::INTR.into());
        }
        Err(error) => return Err(Broken::new("cannot ask for the code of a module", error).into()),
    };
    let code = match code {
        Ok(file) => {
            call.still_asked()?;
            Ok(call.listener().add(call.notice().id, file.as_fd(), Inherit::No)?)
        }
        Err(reason) => Err(reason),
    };
    let channel = match kind {
        ModuleKind::Core => None,
        ModuleKind::Component => {
            let broken = |error| Broken::new("cannot open the channel of a component", error);
            let channel = modules.source.channel().map_err(broken)?;
            Some(call.listener().add(call.notice().id, channel.as_fd(), Inherit::No)?)
        }
    };
    let (rules, tool) = (modules.rules, modules.tool.clone());
    let plan = ModulePlan { code, kind, name: plan.name, prefix: plan.prefix, rules, tool, channel };
    let bytes = postcard::to_stdvec(&plan)
        .map_err(|error| Broken::new("cannot write the plan of a module", std::io::Error::other(error)))?;
    answer(&bytes)
}
