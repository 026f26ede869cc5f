//! The reference monitor of one step, or of the builder, over one tree.
//!
//! Its operations stand in `act`, one method each, whole: resolve, permit, act. It is shared between threads by reference.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, Statx};
use wbuild_layer::RootPath;
use wbuild_policy::Policy;
use wbuild_rootfs::{
    Finished, GraftAccess, GraftId, InodeKey, JournalCheck, Lent, Located, MountTable, MtimeRule, Record,
    Root, RootError, S_IFDIR, S_IFMT, S_IFREG, Scope, Seat, VIEWS, stat_at, stat_fd,
};

use crate::audit::{Audit, Denials};
use crate::evidence::{EvidenceDetail, Recorder};
use crate::observe::{End, Facts, Observations, Observer};
use crate::resolve::{Goal, Node, Reached, SearchCache};
use crate::{
    At, Base, Broken, Credentials, Cwd, Errno, Fault, GuestPath, LastLink, MountAccess, NoViews, Subject,
    ViewKind, ViewPath,
};

/// See the module.
#[derive(Debug)]
pub struct Monitor {
    root: Root,
    mounts: MountTable,
    policy: Policy,
    audit: Audit,
    recorder: Recorder,
    observer: Option<Observer>,
    kernel_walks: bool,
    view_keys: Vec<InodeKey>,
    searchable: SearchCache,
    /// True if the tree's filesystem says at the write itself what will not fit.
    reserves: bool,
}

/// ext4, XFS, btrfs, tmpfs, overlayfs and f2fs, as statfs(2) names them: they reserve room when something is written.
const RESERVING: [u32; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010];

/// True if this process walks past permission bits on the host, so that placeholders do not stop it.
fn overrides_host_permissions() -> bool {
    const DAC: u64 = 0b110;
    match rustix::thread::capabilities(None) {
        Ok(sets) => sets.effective.bits() & DAC != 0,
        // Unknown is treated as the worse case: the userspace walk is right for both.
        Err(_) => true,
    }
}

fn graft_access(access: MountAccess) -> GraftAccess {
    match access {
        MountAccess::ReadOnly => GraftAccess::ReadOnly,
        MountAccess::ReadWrite => GraftAccess::ReadWrite,
    }
}

/// Where a graft is to appear.
enum Way {
    /// At this name in a directory of the tree or of an earlier graft.
    Name(OwnedFd, CString),
    /// At this place in a view.
    View(ViewPath),
}

const DEV: ViewPath = ViewPath { kind: ViewKind::Dev, rest: Vec::new() };

/// True for `/dev/NAME`.
fn is_name_in_dev(place: &ViewPath) -> bool {
    place.kind == ViewKind::Dev && !place.rest.is_empty() && !place.rest.contains(&b'/')
}

pub(crate) fn joined(mut path: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

impl Monitor {
    /// The monitor of a RUN step: views stand at /proc, /dev and /sys, and the journal records from here on.
    ///
    /// # Errors
    /// The host's, with the path.
    pub fn for_step(root: Root, policy: Policy, check: JournalCheck) -> Result<Self, RootError> {
        root.close_views()?;
        root.begin(check)?;
        let view_keys = VIEWS
            .iter()
            .filter_map(|(name, _)| stat_at(root.fd(), *name).ok())
            .map(|stat| InodeKey::of(&stat))
            .collect();
        Ok(Self::new(root, policy, view_keys))
    }

    /// The monitor of the builder's own operations: no views, and the journal records from here on.
    ///
    /// # Errors
    /// The host's, with the path.
    pub fn for_builder(root: Root, policy: Policy, check: JournalCheck) -> Result<Self, RootError> {
        root.open_views()?;
        root.begin(check)?;
        // Nothing in this tree has to stop the kernel's walk: there are no views, so it is exact for the host's root, too.
        Ok(Self { kernel_walks: true, ..Self::new(root, policy, Vec::new()) })
    }

    fn new(root: Root, policy: Policy, view_keys: Vec<InodeKey>) -> Self {
        let reserves = rustix::fs::fstatfs(root.fd())
            .is_ok_and(|fs| u32::try_from(fs.f_type).is_ok_and(|kind| RESERVING.contains(&kind)));
        Self {
            root,
            mounts: MountTable::default(),
            policy,
            audit: Audit::default(),
            recorder: Recorder::default(),
            observer: None,
            kernel_walks: !overrides_host_permissions(),
            view_keys,
            searchable: SearchCache::default(),
            reserves,
        }
    }

    /// Gathers evidence of what the guest does. Before the first guest process.
    #[must_use]
    pub fn with_evidence(self, detail: EvidenceDetail) -> Self {
        Self { recorder: Recorder::new(detail), ..self }
    }

    /// Grafts what `source` (`O_PATH`) is open on over `target`; what is missing on the way there is made, root's and 0755, and goes again with the
    /// graft. Before the first guest process.
    ///
    /// # Errors
    /// What Linux answers for such a path; ENOTDIR or EISDIR if what stands there is of another type than the source; EBUSY in a view but for
    /// a name in /dev itself.
    pub fn graft(
        &mut self,
        target: &GuestPath,
        source: OwnedFd,
        access: MountAccess,
    ) -> Result<GraftId, Fault> {
        match self.way_to(target)? {
            Way::Name(dir, name) => {
                Ok(self.mounts.graft(&self.root, dir.as_fd(), &name, source, graft_access(access))?)
            }
            Way::View(place) => self.graft_in_view(&place, source, access),
        }
    }

    /// Says what the root of a graft pretends to be. Before the first guest process.
    ///
    /// # Errors
    /// The host's.
    pub fn describe_graft(
        &self,
        graft: GraftId,
        source: BorrowedFd<'_>,
        (uid, gid): (u32, u32),
        mode: u32,
    ) -> Result<(), Fault> {
        let stat = stat_fd(source)?;
        let scope = Scope::Graft(graft);
        self.root.records().set(&stat, Record { uid, gid, mode, scope, ..Record::implied(&stat) });
        Ok(())
    }

    /// Takes over what is recorded of a captured tree that is grafted. Before the first guest process.
    pub fn borrow_records(&mut self, other: &Root, graft: GraftId) -> Lent {
        if !other.may_hold_fifos() {
            self.mounts.is_free_of_fifos(graft);
        }
        self.root.borrow_records(other, graft)
    }

    /// Persists in a captured tree, opened anew, what is recorded of it now. After the last guest process.
    ///
    /// # Errors
    /// The host's, with the path.
    pub fn return_records(&self, other: &Root, lent: Lent) -> Result<(), RootError> {
        self.root.return_records(other, lent)
    }

    /// Grafts what `source` (`O_PATH`) is open on over a place in a view (`/dev/shm`), which the views show as a directory.
    ///
    /// # Errors
    /// The host's.
    pub fn graft_in_view(
        &mut self,
        place: &ViewPath,
        source: OwnedFd,
        access: MountAccess,
    ) -> Result<GraftId, Fault> {
        let path = place.to_guest_path();
        Ok(self.mounts.graft_in_view(&self.root, path, source, graft_access(access))?)
    }

    /// Takes the grafts off, if they are on. Every guest process is gone by now.
    ///
    /// # Errors
    /// The host's, with the path.
    pub fn unmount(&mut self) -> Result<(), RootError> {
        let root = &self.root;
        self.mounts.clear(root).map_err(|source| RootError::Host {
            action: "remove the mounts of",
            path: root.path().to_owned(),
            source,
        })
    }

    /// Ends the step: takes the grafts off, reads the journal, persists the records. Every guest process is gone by now.
    ///
    /// # Errors
    /// The host's, with the path; what the journal missed, if that was to be checked.
    pub fn finish(mut self, rule: MtimeRule) -> Result<(Finished, Root), RootError> {
        self.unmount()?;
        let root = &self.root;
        let finished = root.finish(rule)?;
        root.persist()?;
        Ok((finished, self.root))
    }

    /// By how many bytes the files of the tree that were touched have grown since the step began; counted no further than `enough`.
    #[must_use]
    pub fn growth(&self, enough: u64) -> u64 {
        self.root.growth(enough)
    }

    /// True if `fd` is open on a file or directory of the tree, and nothing is learnt by writing it back to the disk.
    #[must_use]
    pub fn is_scratch(&self, fd: BorrowedFd<'_>) -> bool {
        let Ok(stat) = stat_fd(fd) else { return false };
        let kind = u32::from(stat.stx_mode) & S_IFMT;
        self.reserves
            && matches!(kind, S_IFREG | S_IFDIR)
            && InodeKey::of(&stat).device == self.root.key().device
            && matches!(self.root.locate(fd), Ok(Located::Tree(_)))
    }

    /// True if nothing is learnt by writing the tree back to the disk, whoever asks.
    #[must_use]
    pub fn is_scratch_alone(&self) -> bool {
        self.reserves
    }

    /// What policy has denied so far.
    #[must_use]
    pub fn denials(&self) -> Denials {
        self.audit.list(&self.policy)
    }

    /// The guest's root directory (`O_PATH`).
    #[must_use]
    pub fn root_fd(&self) -> BorrowedFd<'_> {
        self.root.fd()
    }

    /// The guest's path of a descriptor (getcwd, readlink of /proc/PID/fd/N); `None` if it is nothing of the tree or a graft.
    /// A removed file's ends in ` (deleted)`.
    ///
    /// # Errors
    /// [`Fault::Broken`] if procfs does not answer.
    pub fn path_of(&self, fd: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Fault> {
        let located = |errno| Broken::new("cannot locate a descriptor in /proc/self/fd", errno);
        self.path_of_located(self.root.locate(fd).map_err(located)?)
    }

    /// The guest's path of what procfs calls `text` on the host (the end of a line of /proc/PID/maps); `None` if it is nothing of the
    /// tree or a graft.
    ///
    /// # Errors
    /// [`Fault::Broken`] if procfs does not answer.
    pub fn path_of_host_path(&self, text: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.path_of_located(self.root.located(text.to_vec()))
    }

    fn path_of_located(&self, located: Located) -> Result<Option<Vec<u8>>, Fault> {
        match located {
            Located::Tree(path) => Ok(Some([b"/", path.as_bytes()].concat())),
            Located::Outside(text) => {
                let Some((graft, rest)) = self.mounts.holding(&text) else { return Ok(None) };
                let mut path = match graft.seat() {
                    Seat::View(path) => path.clone(),
                    Seat::Tree(seat) => {
                        let Some(path) = self.path_of(seat.parent())? else { return Ok(None) };
                        joined(path, seat.name().to_bytes())
                    }
                };
                if !rest.is_empty() {
                    path = joined(path, rest);
                }
                Ok(Some(path))
            }
        }
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn mounts(&self) -> &MountTable {
        &self.mounts
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Gathers what the guest learns of the tree. Before anything is grafted or run.
    #[must_use]
    pub fn with_observations(self) -> Self {
        Self { observer: Some(Observer::default()), ..self }
    }

    /// What the step learnt of its tree, if that was asked for: after [`Monitor::unmount`].
    #[must_use]
    pub fn observations(&self) -> Option<Observations> {
        self.observer.as_ref().map(|observer| observer.finish(&self.root))
    }

    /// Notes that the step used the network.
    pub fn note_network(&self) {
        if let Some(observer) = &self.observer {
            observer.uses_network();
        }
    }

    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.observer.as_ref()
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(crate) fn kernel_walks(&self) -> bool {
        self.kernel_walks
    }

    pub(crate) fn searchable(&self) -> &SearchCache {
        &self.searchable
    }

    pub(crate) fn view_keys(&self) -> &[InodeKey] {
        &self.view_keys
    }

    /// The view at a name in the root directory.
    pub(crate) fn view_named(&self, name: &[u8]) -> Option<ViewKind> {
        if self.view_keys.is_empty() { None } else { ViewKind::named(name) }
    }

    /// The guest's view of an inode.
    pub(crate) fn seen(&self, node: &Node) -> Statx {
        let mut stat = node.stat;
        self.root.show(&mut stat);
        stat
    }

    /// The directory of a graft's place and its name there, with placeholders made for what is missing.
    fn way_to(&mut self, target: &GuestPath) -> Result<Way, Fault> {
        let credentials = Credentials::initial(0, 0, Vec::new());
        let components: Vec<&[u8]> =
            target.as_bytes().split(|b| *b == b'/').filter(|c| !c.is_empty()).collect();
        let mut prefix = Vec::new();
        for (index, component) in components.iter().enumerate() {
            prefix.push(b'/');
            prefix.extend_from_slice(component);
            let path = GuestPath::new(prefix.clone())?;
            let subject = Subject {
                credentials: &credentials,
                umask: 0,
                cwd: Cwd::Dir(self.root.fd()),
                views: &NoViews,
            };
            let at = At { base: Base::Root, path: &path };
            let last = index + 1 == components.len();
            let goal = Goal::OrPlace(LastLink::Follow);
            let reached = self.reach(&subject, at, goal, ResolveFlags::empty());
            self.learn(&subject, at, LastLink::Follow, Facts::KIND, &End::of(&reached, goal));
            match reached? {
                Reached::View(place) if last && is_name_in_dev(&place) => return Ok(Way::View(place)),
                Reached::View(place) if place == DEV => {}
                Reached::View(_) | Reached::Object(_) => return Err(Errno::BUSY.into()),
                Reached::Node(node) if last => {
                    let (dir, name) = self.seat_of(&node)?;
                    return Ok(Way::Name(dir, name));
                }
                Reached::Node(_) => {}
                Reached::Place(place) => {
                    let name = place.name([Errno::BUSY; 3])?.to_owned();
                    if last {
                        return Ok(Way::Name(place.dir.fd, name));
                    }
                    self.mounts.make_way(&self.root, place.dir.fd.as_fd(), &name)?;
                }
            }
        }
        Err(Errno::BUSY.into())
    }

    /// The directory and name of what exists; no guest runs yet, so its path is what the kernel says.
    fn seat_of(&self, node: &Node) -> Result<(OwnedFd, CString), Fault> {
        let (top, rest) = match self.root.locate(node.fd.as_fd())? {
            Located::Tree(path) => (self.root.fd(), path),
            Located::Outside(text) => {
                let (graft, rest) = self.mounts.holding(&text).ok_or(Errno::BUSY)?;
                (graft.source(), RootPath::new(rest).map_err(|_| Errno::INVAL)?)
            }
        };
        // The root, and a graft's own root, are no place for another graft.
        let (Some(parent), Some(name)) = (rest.parent(), rest.file_name()) else {
            return Err(Errno::BUSY.into());
        };
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat2(top, parent.as_path(), flags, Mode::empty(), how)?;
        Ok((dir, CString::new(name).map_err(|_| Errno::INVAL)?))
    }
}
