//! Processes, signals, scheduling and time.

use super::{Action, Case, Row, broker, cookie, deny, deny_with, gate, int, int_any, native, nr, when, x86};
use crate::calls::{limits, scheduling};
use crate::exec;
use rustix::io::Errno;

/// The second half of an exec: the broker itself put this call, with the step's cookie, into the guest's registers.
const EXECVEAT: &[Case] = &[when(&[cookie(5), int(4, AT_EMPTY_PATH)], Action::Native)];
const AT_EMPTY_PATH: u32 = 0x1000;

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID` and `NEWNET` of linux/sched.h.
const CLONE_NEW: u32 = 0x7e02_0000;
const CLONE: &[Case] = &[when(&[int_any(0, CLONE_NEW)], deny_with(Errno::PERM, "a step makes no namespace"))];

/// The limits that can carry the identity's tag: RLIMIT_LOCKS and RLIMIT_RSS, both without effect in the kernel.
const LOCKS: u32 = 10;
const RSS: u32 = 5;
const GETRLIMIT: &[Case] = &[
    when(&[int(0, LOCKS)], Action::Broker(limits::getrlimit)),
    when(&[int(0, RSS)], Action::Broker(limits::getrlimit)),
];
const SETRLIMIT: &[Case] = &[
    when(&[int(0, LOCKS)], Action::Broker(limits::setrlimit)),
    when(&[int(0, RSS)], Action::Broker(limits::setrlimit)),
];
/// Of another process even reading goes through the broker, which knows whose it is.
const PRLIMIT: &[Case] = &[
    when(&[int(1, LOCKS)], Action::Broker(limits::prlimit64)),
    when(&[int(1, RSS)], Action::Broker(limits::prlimit64)),
    when(&[int(0, 0)], Action::Native),
];

/// Pid 0 is the caller.
const OWN_THREAD: &[Case] = &[when(&[int(0, 0)], Action::Native)];
/// `PRIO_PROCESS` and `PRIO_PGRP` of linux/resource.h; group 0 is the caller's.
const PRIORITY: &[Case] = &[
    when(&[int(0, 0), int(1, 0)], Action::Native),
    when(&[int(0, 0)], Action::Continuing(scheduling::second_is_pid)),
    when(&[int(0, 1), int(1, 0)], Action::Native),
];
/// `IOPRIO_WHO_PROCESS` and `IOPRIO_WHO_PGRP` of linux/ioprio.h.
const IO_PRIORITY: &[Case] = &[
    when(&[int(0, 1), int(1, 0)], Action::Native),
    when(&[int(0, 1)], Action::Continuing(scheduling::second_is_pid)),
    when(&[int(0, 2), int(1, 0)], Action::Native),
];

pub(super) const ROWS: &[Row] = &[
    gate("execveat", nr(322, 281), EXECVEAT, Action::Broker(exec::execveat)),
    broker("execve", nr(59, 221), exec::execve),
    gate("clone", nr(56, 220), CLONE, Action::Native),
    native("fork", x86(57)),
    native("vfork", x86(58)),
    native("exit", nr(60, 93)),
    native("exit_group", nr(231, 94)),
    native("wait4", nr(61, 260)),
    native("waitid", nr(247, 95)),
    native("set_tid_address", nr(218, 96)),
    native("restart_syscall", nr(219, 128)),
    native("gettid", nr(186, 178)),
    native("getpid", nr(39, 172)),
    native("getppid", nr(110, 173)),
    native("getpgid", nr(121, 155)),
    native("setpgid", nr(109, 154)),
    native("getpgrp", x86(111)),
    native("getsid", nr(124, 156)),
    native("setsid", nr(112, 157)),
    deny(
        "clone3",
        nr(435, 435),
        Errno::NOSYS,
        "its flags are in memory, where no filter can read them; libraries fall back to clone",
    ),
    // Signals stay inside the step: Landlock scopes them.
    native("kill", nr(62, 129)),
    native("tkill", nr(200, 130)),
    native("tgkill", nr(234, 131)),
    native("pidfd_open", nr(434, 434)),
    native("pidfd_send_signal", nr(424, 424)),
    native("rt_sigaction", nr(13, 134)),
    native("rt_sigprocmask", nr(14, 135)),
    native("rt_sigreturn", nr(15, 139)),
    native("rt_sigpending", nr(127, 136)),
    native("rt_sigtimedwait", nr(128, 137)),
    native("rt_sigqueueinfo", nr(129, 138)),
    native("rt_tgsigqueueinfo", nr(297, 240)),
    native("rt_sigsuspend", nr(130, 133)),
    native("sigaltstack", nr(131, 132)),
    native("pause", x86(34)),
    native("alarm", x86(37)),
    // Scheduling.
    native("sched_yield", nr(24, 124)),
    gate("sched_setparam", nr(142, 118), OWN_THREAD, Action::Continuing(scheduling::first_is_pid)),
    native("sched_getparam", nr(143, 121)),
    gate("sched_setscheduler", nr(144, 119), OWN_THREAD, Action::Continuing(scheduling::first_is_pid)),
    native("sched_getscheduler", nr(145, 120)),
    native("sched_get_priority_max", nr(146, 125)),
    native("sched_get_priority_min", nr(147, 126)),
    native("sched_rr_get_interval", nr(148, 127)),
    gate("sched_setaffinity", nr(203, 122), OWN_THREAD, Action::Continuing(scheduling::first_is_pid)),
    native("sched_getaffinity", nr(204, 123)),
    gate("sched_setattr", nr(314, 274), OWN_THREAD, Action::Continuing(scheduling::first_is_pid)),
    native("sched_getattr", nr(315, 275)),
    native("getpriority", nr(140, 141)),
    gate(
        "setpriority",
        nr(141, 140),
        PRIORITY,
        deny_with(Errno::PERM, "other users and groups of processes are not the step's"),
    ),
    gate(
        "ioprio_set",
        nr(251, 30),
        IO_PRIORITY,
        deny_with(Errno::PERM, "other users and groups of processes are not the step's"),
    ),
    native("ioprio_get", nr(252, 31)),
    native("getcpu", nr(309, 168)),
    // Time.
    native("nanosleep", nr(35, 101)),
    native("clock_nanosleep", nr(230, 115)),
    native("getitimer", nr(36, 102)),
    native("setitimer", nr(38, 103)),
    native("gettimeofday", nr(96, 169)),
    native("time", x86(201)),
    native("times", nr(100, 153)),
    native("clock_gettime", nr(228, 113)),
    native("clock_getres", nr(229, 114)),
    native("timer_create", nr(222, 107)),
    native("timer_settime", nr(223, 110)),
    native("timer_gettime", nr(224, 108)),
    native("timer_getoverrun", nr(225, 109)),
    native("timer_delete", nr(226, 111)),
    deny("settimeofday", nr(164, 170), Errno::PERM, "the clock is the host's"),
    deny("clock_settime", nr(227, 112), Errno::PERM, "the clock is the host's"),
    deny("adjtimex", nr(159, 171), Errno::PERM, "the clock is the host's"),
    deny("clock_adjtime", nr(305, 266), Errno::PERM, "the clock is the host's"),
    // Resources and what the system is.
    gate("prlimit64", nr(302, 261), PRLIMIT, Action::Broker(limits::prlimit64)),
    gate("getrlimit", nr(97, 163), GETRLIMIT, Action::Native),
    gate("setrlimit", nr(160, 164), SETRLIMIT, Action::Native),
    native("getrusage", nr(98, 165)),
    native("sysinfo", nr(99, 179)),
    broker("uname", nr(63, 160), limits::uname),
    // Threads.
    native("futex", nr(202, 98)),
    native("futex_waitv", nr(449, 449)),
    native("futex_wake", nr(454, 454)),
    native("futex_wait", nr(455, 455)),
    native("futex_requeue", nr(456, 456)),
    native("set_robust_list", nr(273, 99)),
    native("get_robust_list", nr(274, 100)),
    native("rseq", nr(334, 293)),
    native("membarrier", nr(324, 283)),
    native("arch_prctl", x86(158)),
    native("modify_ldt", x86(154)),
    native("set_thread_area", x86(205)),
    native("get_thread_area", x86(211)),
    native("getrandom", nr(318, 278)),
    // Further fences a program puts around itself.
    native("landlock_create_ruleset", nr(444, 444)),
    native("landlock_add_rule", nr(445, 445)),
    native("landlock_restrict_self", nr(446, 446)),
    native("seccomp", nr(317, 277)),
    native("personality", nr(135, 92)),
];
