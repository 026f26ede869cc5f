//! The attacks as data: what each tries, by which way, and the fence whose absence lets it through.
//!
//! `without` names the fences that its control takes down (host/native/src/fences.rs): calls by name, `landlock`, `hidden`, `executed`,
//! `end`, `architectures`. No two rows are the same attack.

/// One attack of `tests/guests/attacks.c`.
pub(super) struct Attack {
    /// Its name there.
    pub(super) name: &'static str,
    /// What it is aimed at: a family of calls, a file, a kind of socket.
    pub(super) family: &'static str,
    /// How it goes about it.
    pub(super) way: &'static str,
    /// The fence that holds it.
    pub(super) without: &'static str,
}

const fn attack(
    name: &'static str,
    family: &'static str,
    way: &'static str,
    without: &'static str,
) -> Attack {
    Attack { name, family, way, without }
}

const SYMLINK: &str = "a thread exchanges a directory for a symlink out";
const TEXT: &str = "a process rewrites the text of the path";
const MOVED: &str = "a directory moves out from under a descriptor";
const PROC: &str = "another process's directory in /proc";
const MAGIC: &str = "a magic link";
const NAMES: &str = "the host's names in /proc";
const SIGNAL: &str = "a signal to the reaper";
const REACH: &str = "reaching into the reaper";
const RUNS: &str = "changing how the reaper runs";
const TAG: &str = "writing the tag of an identity";
const OUTLIVE: &str = "outliving the step";
const NAMESPACE: &str = "a user namespace";
const KERNEL: &str = "the kernel past the filter";
const READ_ONLY: &str = "a change through a descriptor that may only read";
const TYPING: &str = "typing into a terminal";
const OBJECT: &str = "an object that outlives the step";
const FAMILY: &str = "a family or protocol that no rule knows";
const SOCKET: &str = "a socket of another process";
const NETWORK: &str = "the network of a step without one";

/// Every one of them.
pub(super) const ATTACKS: &[Attack] = &[
    attack("race_open", "open", SYMLINK, "open,landlock"),
    attack("race_openat", "open", SYMLINK, "openat,landlock"),
    attack("race_openat2", "open", SYMLINK, "openat2,landlock"),
    attack("race_open_path", "open as a handle", SYMLINK, "open"),
    attack("race_open_write", "open for writing", SYMLINK, "openat,landlock"),
    attack("race_open_tmpfile", "open without a name", SYMLINK, "openat,landlock"),
    attack("race_creat", "create", SYMLINK, "creat,landlock"),
    attack("race_open_tree", "open a tree", SYMLINK, "open_tree"),
    attack("race_stat", "stat", SYMLINK, "stat"),
    attack("race_lstat", "stat", SYMLINK, "lstat"),
    attack("race_newfstatat", "stat", SYMLINK, "newfstatat"),
    attack("race_statx", "stat", SYMLINK, "statx"),
    attack("race_access", "access", SYMLINK, "access"),
    attack("race_faccessat", "access", SYMLINK, "faccessat"),
    attack("race_faccessat2", "access", SYMLINK, "faccessat2"),
    attack("race_readlink", "readlink", SYMLINK, "readlink"),
    attack("race_readlinkat", "readlink", SYMLINK, "readlinkat"),
    attack("race_chmod", "mode", SYMLINK, "chmod"),
    attack("race_fchmodat", "mode", SYMLINK, "fchmodat"),
    attack("race_fchmodat2", "mode", SYMLINK, "fchmodat2"),
    attack("race_chown", "owner", SYMLINK, "chown"),
    attack("race_lchown", "owner", SYMLINK, "lchown"),
    attack("race_fchownat", "owner", SYMLINK, "fchownat"),
    attack("race_utime", "times", SYMLINK, "utime"),
    attack("race_utimes", "times", SYMLINK, "utimes"),
    attack("race_futimesat", "times", SYMLINK, "futimesat"),
    attack("race_utimensat", "times", SYMLINK, "utimensat"),
    attack("race_truncate", "size", SYMLINK, "truncate,landlock"),
    attack("race_statfs", "statfs", SYMLINK, "statfs"),
    attack("race_rmdir", "remove", SYMLINK, "rmdir,landlock"),
    attack("race_unlink", "remove", SYMLINK, "unlink,landlock"),
    attack("race_unlinkat", "remove", SYMLINK, "unlinkat,landlock"),
    attack("race_mkdir", "make a directory", SYMLINK, "mkdir,landlock"),
    attack("race_mkdirat", "make a directory", SYMLINK, "mkdirat,landlock"),
    attack("race_symlink", "make a symlink", SYMLINK, "symlink,landlock"),
    attack("race_symlinkat", "make a symlink", SYMLINK, "symlinkat,landlock"),
    attack("race_mknod", "make a FIFO", SYMLINK, "mknod,landlock"),
    attack("race_mknodat", "make a FIFO", SYMLINK, "mknodat,landlock"),
    attack("race_setxattr", "extended attributes", SYMLINK, "setxattr"),
    attack("race_lsetxattr", "extended attributes", SYMLINK, "lsetxattr"),
    attack("race_getxattr", "extended attributes", SYMLINK, "getxattr"),
    attack("race_lgetxattr", "extended attributes", SYMLINK, "lgetxattr"),
    attack("race_listxattr", "extended attributes", SYMLINK, "listxattr"),
    attack("race_llistxattr", "extended attributes", SYMLINK, "llistxattr"),
    attack("race_removexattr", "extended attributes", SYMLINK, "removexattr"),
    attack("race_lremovexattr", "extended attributes", SYMLINK, "lremovexattr"),
    attack("race_setxattrat", "extended attributes", SYMLINK, "setxattrat"),
    attack("race_getxattrat", "extended attributes", SYMLINK, "getxattrat"),
    attack("race_listxattrat", "extended attributes", SYMLINK, "listxattrat"),
    attack("race_removexattrat", "extended attributes", SYMLINK, "removexattrat"),
    attack("race_file_getattr", "inode flags", SYMLINK, "file_getattr"),
    attack("race_name_to_handle_at", "handles", SYMLINK, "name_to_handle_at"),
    attack("race_rename", "rename out", SYMLINK, "rename,landlock"),
    attack("race_renameat", "rename out", SYMLINK, "renameat,landlock"),
    attack("race_renameat2", "rename out", SYMLINK, "renameat2,landlock"),
    attack("race_rename_to", "rename into", SYMLINK, "rename,landlock"),
    attack("race_link", "link out", SYMLINK, "link,landlock"),
    attack("race_linkat", "link out", SYMLINK, "linkat,landlock"),
    attack("race_link_to", "link into", SYMLINK, "link,landlock"),
    attack("race_chdir", "working directory", SYMLINK, "chdir"),
    attack("race_inotify_add_watch", "watches", SYMLINK, "inotify_init1,inotify_add_watch"),
    attack("race_execve", "exec", SYMLINK, "execve,landlock"),
    attack("race_execveat", "exec", SYMLINK, "execveat,landlock"),
    attack("race_connect", "unix connect", SYMLINK, "socket,connect"),
    attack("race_bind", "unix bind", SYMLINK, "socket,bind,landlock"),
    attack("race_sendto", "unix datagrams", SYMLINK, "socket"),
    attack("text_openat", "open", TEXT, "openat,landlock"),
    attack("text_newfstatat", "stat", TEXT, "newfstatat"),
    attack("text_mkdir", "make a directory", TEXT, "mkdir,landlock"),
    attack("text_unlink", "remove", TEXT, "unlink,landlock"),
    attack("text_chmod", "mode", TEXT, "chmod"),
    attack("text_execve", "exec", TEXT, "execve,landlock"),
    attack("text_connect", "unix connect", TEXT, "socket,connect"),
    attack("text_setxattr", "extended attributes", TEXT, "setxattr"),
    attack("text_inotify_add_watch", "watches", TEXT, "inotify_init1,inotify_add_watch"),
    attack("moved_open", "open", MOVED, "openat,landlock"),
    attack("moved_stat", "stat", MOVED, "newfstatat"),
    attack("reaper_maps", "maps of /proc/PID", PROC, "openat,landlock,hidden"),
    attack("reaper_auxv", "auxv of /proc/PID", PROC, "openat,landlock,hidden"),
    attack("reaper_io", "io of /proc/PID", PROC, "openat,landlock,hidden"),
    attack("reaper_mem", "mem of /proc/PID", PROC, "openat,landlock,hidden"),
    attack("reaper_fd", "fd of /proc/PID", PROC, "openat,landlock,hidden"),
    attack("reaper_root", "root of /proc/PID", PROC, "openat,landlock,hidden"),
    attack("reaper_cwd", "cwd of /proc/PID", PROC, "openat,landlock,hidden"),
    attack("self_root", "/proc/self/root", MAGIC, "openat,landlock"),
    attack("thread_root", "/proc/thread-self/root", MAGIC, "openat,landlock"),
    attack("self_cwd", "/proc/self/cwd", MAGIC, "openat,landlock"),
    attack("task_root", "/proc/PID/task/TID/root", MAGIC, "openat,landlock"),
    attack("self_fd", "/proc/self/fd", MAGIC, "openat,landlock"),
    attack("dev_fd", "/dev/fd", MAGIC, "openat,landlock"),
    attack("link_to_root", "a symlink to /proc/self/root", MAGIC, "openat,landlock"),
    attack("descriptor_names", "names of descriptors", NAMES, "readlinkat"),
    attack("map_names", "names of mappings", NAMES, "openat,landlock"),
    attack("signal_kill", "kill", SIGNAL, "landlock"),
    attack("signal_tkill", "tkill", SIGNAL, "landlock"),
    attack("signal_tgkill", "tgkill", SIGNAL, "landlock"),
    attack("signal_group", "group", SIGNAL, "landlock"),
    attack("signal_queue", "queue", SIGNAL, "landlock"),
    attack("signal_pidfd", "pidfd", SIGNAL, "landlock"),
    attack("trace", "ptrace", REACH, "ptrace,landlock,hidden"),
    attack("vm_read", "process_vm_readv", REACH, "process_vm_readv,landlock,hidden"),
    attack("vm_write", "process_vm_writev", REACH, "process_vm_writev,landlock,hidden"),
    attack("take_descriptor", "pidfd_getfd", REACH, "pidfd_getfd,landlock,hidden"),
    attack("compare", "kcmp", REACH, "kcmp,landlock,hidden"),
    attack("reaper_limit", "prlimit64", RUNS, "prlimit64"),
    attack("reaper_affinity", "sched_setaffinity", RUNS, "sched_setaffinity"),
    attack("reaper_policy", "sched_setscheduler", RUNS, "sched_setscheduler"),
    attack("reaper_attributes", "sched_setattr", RUNS, "sched_setattr"),
    attack("reaper_priority", "setpriority", RUNS, "setpriority"),
    attack("reaper_io_priority", "ioprio_set", RUNS, "ioprio_set"),
    attack("retag_setrlimit", "setrlimit", TAG, "getrlimit,setrlimit"),
    attack("retag_prlimit", "prlimit64", TAG, "getrlimit,prlimit64"),
    attack("exec_swap", "a setuid program", "another program under the number that is executed", "executed"),
    attack("fstat_swap", "fstat", "other things under the number that is looked at", "fstat"),
    attack("survive_session", "a session of its own", OUTLIVE, "end"),
    attack("survive_stopped", "a stopped process", OUTLIVE, "end"),
    attack("survive_forking", "a chain of forks", OUTLIVE, "end"),
    attack("unshare_user", "unshare", NAMESPACE, "unshare"),
    attack("mount_in_namespace", "mount", NAMESPACE, "unshare,mount,landlock"),
    attack("chroot_in_namespace", "chroot", NAMESPACE, "unshare,chroot"),
    attack("fsopen_in_namespace", "fsopen", NAMESPACE, "unshare,fsopen"),
    attack("hostname_in_namespace", "sethostname", NAMESPACE, "unshare,sethostname"),
    attack("clone_user", "clone", NAMESPACE, "clone"),
    attack("clone_user_high", "clone, high half of its flags set", NAMESPACE, "clone"),
    attack("clone3_user", "clone3", NAMESPACE, "clone3"),
    attack("uring", "io_uring", KERNEL, "io_uring_setup"),
    attack("fault_handler", "userfaultfd", KERNEL, "userfaultfd"),
    attack("fanotify", "fanotify", KERNEL, "fanotify_init"),
    attack("keyring", "keyctl", KERNEL, "keyctl"),
    attack("key", "add_key", KERNEL, "add_key"),
    attack("perf", "perf_event_open", KERNEL, "perf_event_open"),
    attack("queue", "message queues", KERNEL, "mq_open,mq_unlink,landlock"),
    attack("mounts_of_the_host", "listmount", KERNEL, "listmount"),
    attack("int80", "the 32-bit table", KERNEL, "architectures,landlock"),
    attack("set_flags", "FS_IOC_SETFLAGS", READ_ONLY, "ioctl"),
    attack("set_flags_high", "FS_IOC_SETFLAGS, high half set", READ_ONLY, "ioctl"),
    attack("set_version", "FS_IOC_SETVERSION", READ_ONLY, "ioctl"),
    attack("set_project", "FS_IOC_FSSETXATTR", READ_ONLY, "ioctl"),
    attack("typing", "TIOCSTI", TYPING, "ioctl"),
    attack("shared_memory", "shmget", OBJECT, "shmget"),
    attack("semaphores", "semget", OBJECT, "semget"),
    attack("messages", "msgget", OBJECT, "msgget"),
    attack("netlink_events", "netlink uevents", FAMILY, "socket"),
    attack("netlink_audit", "netlink audit", FAMILY, "socket"),
    attack("netlink_high", "netlink, high half set", FAMILY, "socket"),
    attack("mptcp", "MPTCP", FAMILY, "socket"),
    attack("vsock", "vsock", FAMILY, "socket"),
    attack("abstract_stream", "abstract stream", SOCKET, "socket,connect,landlock"),
    attack("abstract_datagram", "abstract datagram", SOCKET, "socket,landlock"),
    attack("pair_to_path", "a pair's end to a path", SOCKET, "socketpair"),
    attack("swap_connect", "connect, another socket under the number", SOCKET, "socket,connect"),
    attack("swap_bind", "bind, another socket under the number", SOCKET, "socket,bind,landlock"),
    attack("sent_descriptor", "a directory by SCM_RIGHTS", SOCKET, "openat,landlock"),
    attack("net_connect", "TCP connect", NETWORK, "socket"),
    attack("net_fastopen", "MSG_FASTOPEN", NETWORK, "socket"),
    attack("net_datagram", "UDP", NETWORK, "socket"),
    attack("net_listen", "listen without bind", NETWORK, "socket"),
    attack("net_six", "IPv6", NETWORK, "socket"),
];

/// Those that are tried where a step has no network, which is what holds them.
pub(super) fn needs_no_network(attack: &Attack) -> bool {
    attack.way == NETWORK
}
