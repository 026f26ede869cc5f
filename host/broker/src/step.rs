//! What all calls of one step share.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use wbuild_monitor::{
    At, Base, Broken, Credentials, Fault, GuestPath, LastLink, Monitor, NoViews, Outcome, Process, Subject,
    Where,
};

use crate::calls::handle::Handles;
use crate::calls::inotify::Watches;
use crate::calls::locks::Lingering;
use crate::exec::Execs;
use crate::identity::{Carrier, Cwd, Identities, Identity, State, StepId, Tag};
use crate::sockets::Sockets;
use crate::sysv::SysV;
use crate::views::StepViews;

/// The step-wide state, shared by every receiver and job thread.
pub struct Step {
    /// The reference monitor over the step's tree and grafts.
    pub monitor: Monitor,
    /// Credentials, umask and cwd of every guest process, by tag.
    pub identities: Identities,
    /// /proc, /dev and /sys.
    pub views: StepViews,
    /// AF_UNIX sockets.
    pub sockets: Sockets,
    /// inotify instances.
    pub watches: Watches,
    /// What the guests' `O_PATH` descriptors stand for.
    pub handles: Handles,
    /// Descriptors of guests that the broker has not closed yet.
    pub lingering: Lingering,
    /// System V objects.
    pub sysv: SysV,
    /// How programs are started.
    pub exec: Execs,
}

impl Step {
    /// Puts a step together for its first process; the tag is that process's, to be set with
    /// [`Carrier::write`] before it runs. `scratch` is a directory of the step's own, `id` tells it from other steps.
    ///
    /// # Errors
    /// The host lacks a limit to carry tags or /proc; the working directory is not there.
    pub fn new(
        monitor: Monitor,
        process: &Process,
        scratch: &Path,
        id: StepId,
        exec: Execs,
    ) -> Result<(Self, Tag), Broken> {
        let carrier = Carrier::choose().map_err(|error| Broken::new("no step can run here", error))?;
        let proc =
            rustix::fs::open("/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Broken::new("cannot open /proc", errno))?;
        let cwd = first_cwd(&monitor, process)?;
        let views = StepViews::new(scratch, &process.hostname)?;
        let sockets = Sockets::new(scratch)?;
        let identities = Identities::new(id, carrier, proc);
        let identity = Identity::of_step(process.uid, process.gid, process.groups.clone());
        let tag = identities.enter(State::first(identity, Arc::new(cwd)));
        Ok((
            Self {
                monitor,
                identities,
                views,
                sockets,
                watches: Watches::default(),
                handles: Handles::new(),
                lingering: Lingering::default(),
                exec,
                sysv: SysV::default(),
            },
            tag,
        ))
    }
}

/// The directory the first process starts in; the builder made it.
fn first_cwd(monitor: &Monitor, process: &Process) -> Result<Cwd, Broken> {
    let name = String::from_utf8_lossy(&process.cwd).into_owned();
    let broken = |fault: Fault| Broken::new(format!("cannot enter the working directory {name}"), fault);
    // The builder decides where a step starts, whatever the step's user may search.
    let credentials = Credentials::initial(0, 0, Vec::new());
    let subject = Subject {
        credentials: &credentials,
        umask: 0,
        cwd: wbuild_monitor::Cwd::Dir(monitor.root_fd()),
        views: &NoViews,
    };
    let path = GuestPath::new(process.cwd.clone()).map_err(broken)?;
    let at = At { base: Base::Root, path: &path };
    match monitor.chdir(&subject, Where::Path(at, LastLink::Follow)).map_err(broken)? {
        Outcome::Done(fd) => Cwd::of(fd).map_err(|errno| broken(errno.into())),
        Outcome::View(place) => Ok(Cwd::View(place)),
        Outcome::Object(_) => Err(Broken::because(format!("the working directory {name} is no directory"))),
    }
}
