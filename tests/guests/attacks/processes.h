/* Attacks on the processes that hold the step, on their limits, and on the end of the step. */

/* The first process's parent. */
static pid_t reaper;
static char step_page[4096];

/* The commonest call is answered by one look at whatever stands under the number then: who really owns it is the host's affair. */
static int shown_number;
static const char *const shown_things[] = {"tmp/shown", "/proc", "/proc/self/status", "/dev/null", "/dev/pts", "/sys", "/"};

static void *swap_shown(void *unused)
{
    int held[16], count = 0, pair[2];
    (void)unused;
    for (size_t i = 0; i < sizeof shown_things / sizeof *shown_things; i++) {
        held[count++] = open(shown_things[i], O_RDONLY | O_CLOEXEC);
        held[count++] = open(shown_things[i], O_PATH | O_CLOEXEC);
    }
    if (pipe(pair) == 0)
        held[count++] = pair[0];
    for (int i = 0; !stop; i++)
        dup2(held[i % count], shown_number);
    return NULL;
}

static enum outcome fstat_swap(void)
{
    pthread_t thread;
    struct stat seen;
    enum outcome outcome = HELD;
    shown_number = open("tmp/shown", O_CREAT | O_RDWR, 0666);
    stop = 0;
    pthread_create(&thread, NULL, swap_shown, NULL);
    for (int i = 0; outcome == HELD && goes_on(i); i++)
        outcome = syscall(SYS_fstat, shown_number, &seen) == 0 && seen.st_uid != 0 && seen.st_uid != geteuid() &&
                  seen.st_uid != 65534;
    stop = 1;
    pthread_join(thread, NULL);
    return outcome;
}

static long open_raw(const char *path, int flags) { return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC); }

static enum outcome reads_of_reaper(const char *leaf)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", reaper, leaf);
    int fd = (int)open_raw(path, O_RDONLY);
    enum outcome outcome = fd >= 0 && read(fd, step_page, sizeof step_page) > 0;
    close(fd);
    return outcome;
}

static enum outcome reaper_maps(void) { return reads_of_reaper("maps"); }
static enum outcome reaper_auxv(void) { return reads_of_reaper("auxv"); }
static enum outcome reaper_io(void) { return reads_of_reaper("io"); }

static enum outcome reaper_mem(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", reaper);
    return opened(open_raw(path, O_RDWR));
}

static enum outcome reaper_fd(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", reaper);
    return opened(open_raw(path, O_RDONLY | O_DIRECTORY));
}

static enum outcome through(const char *link)
{
    char path[8192];
    snprintf(path, sizeof path, "%s%s", link, at_victim("secret"));
    return holds_secret((int)open_raw(path, O_RDONLY | O_NONBLOCK));
}

static enum outcome reaper_root(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/root", reaper);
    return through(path);
}

static enum outcome reaper_cwd(void)
{
    char path[128];
    snprintf(path, sizeof path, "/proc/%d/cwd/../../../../../../../../../..", reaper);
    return through(path);
}

static enum outcome self_root(void) { return through("/proc/self/root"); }
static enum outcome thread_root(void) { return through("/proc/thread-self/root"); }
static enum outcome self_cwd(void) { return through("/proc/self/cwd/../../../../../../../../../../.."); }

static enum outcome task_root(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/root", getpid(), getpid());
    return through(path);
}

static enum outcome above_descriptor(const char *format)
{
    char path[128];
    int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, format, dir);
    enum outcome outcome = through(path);
    close(dir);
    return outcome;
}

static enum outcome self_fd(void) { return above_descriptor("/proc/self/fd/%d/../../../../../../../../../.."); }
static enum outcome dev_fd(void) { return above_descriptor("/dev/fd/%d/../../../../../../../../../.."); }

static enum outcome link_to_root(void)
{
    char path[64];
    snprintf(path, sizeof path, "tmp/root-%d", getpid());
    return symlink("/proc/self/root", path) == 0 ? through(path) : HELD;
}

static enum outcome descriptor_names(void)
{
    char path[64], name[4096] = {0};
    int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", dir);
    long length = syscall(SYS_readlinkat, AT_FDCWD, path, name, sizeof name - 1);
    close(dir);
    return length > 0 && strcmp(name, "/tmp") != 0;
}

static enum outcome map_names(void)
{
    int fd = (int)open_raw("/proc/self/maps", O_RDONLY);
    char text[4096] = {0};
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    close(fd);
    /* The tree is a directory called fs. */
    return n > 0 && strstr(text, "/fs/") != NULL;
}

static enum outcome signal_kill(void) { return syscall(SYS_kill, reaper, 0) == 0; }
static enum outcome signal_tkill(void) { return syscall(SYS_tkill, reaper, 0) == 0; }
static enum outcome signal_tgkill(void) { return syscall(SYS_tgkill, reaper, reaper, 0) == 0; }
static enum outcome signal_group(void) { return getpgid(reaper) > 0 && kill(-getpgid(reaper), 0) == 0; }

static enum outcome signal_queue(void)
{
    siginfo_t info = {.si_code = SI_QUEUE};
    return syscall(SYS_rt_sigqueueinfo, reaper, SIGCONT, &info) == 0;
}

static enum outcome signal_pidfd(void)
{
    int fd = (int)syscall(SYS_pidfd_open, reaper, 0);
    return fd >= 0 && syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0;
}

static enum outcome trace(void) { return ptrace(PTRACE_SEIZE, reaper, 0, 0) == 0; }

static enum outcome vm_read(void)
{
    struct iovec local = {step_page, 1}, remote = {(void *)16, 1};
    return syscall(SYS_process_vm_readv, reaper, &local, 1, &remote, 1, 0) >= 0 || errno == EFAULT;
}

static enum outcome vm_write(void)
{
    struct iovec local = {step_page, 1}, remote = {(void *)16, 1};
    return syscall(SYS_process_vm_writev, reaper, &local, 1, &remote, 1, 0) >= 0 || errno == EFAULT;
}

static enum outcome take_descriptor(void)
{
    int fd = (int)syscall(SYS_pidfd_open, reaper, 0);
    return fd >= 0 && opened(syscall(SYS_pidfd_getfd, fd, 0, 0));
}

static enum outcome compare(void) { return syscall(SYS_kcmp, getpid(), reaper, 1 /* KCMP_VM */, 0, 0) >= 0; }

static enum outcome reaper_limit(void)
{
    unsigned long long none[2] = {0, 0}, old[2];
    (void)none;
    return syscall(SYS_prlimit64, reaper, RLIMIT_NOFILE, NULL, old) == 0;
}

static enum outcome reaper_affinity(void)
{
    unsigned long long mask = 1;
    return syscall(SYS_sched_setaffinity, reaper, sizeof mask, &mask) == 0;
}

static enum outcome reaper_policy(void)
{
    int priority = 0;
    return syscall(SYS_sched_setscheduler, reaper, SCHED_BATCH, &priority) == 0;
}

static enum outcome reaper_attributes(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t times[3];
    } attributes = {.size = 48, .policy = SCHED_BATCH, .nice = 1};
    return syscall(SYS_sched_setattr, reaper, &attributes, 0) == 0;
}

static enum outcome reaper_priority(void) { return syscall(SYS_setpriority, PRIO_PROCESS, reaper, 15) == 0; }
static enum outcome reaper_io_priority(void) { return syscall(SYS_ioprio_set, 1, reaper, 3 << 13) == 0; }

/* A user of the step who writes the tag of its first process. */
static void try_tags(int (*set)(const struct rlimit *))
{
    if (setgid(1234) != 0 || setuid(1234) != 0 || setuid(0) == 0)
        _exit(0);
    struct rlimit tag;
    syscall(SYS_getrlimit, RLIMIT_LOCKS, &tag);
    /* The low half is the place of a state in the broker's table; whoever starts a step is root. */
    tag.rlim_cur = tag.rlim_cur >> 32 << 32;
    if (set(&tag) == 0 && geteuid() == 0)
        _exit(RAN);
    _exit(0);
}

static int set_by_setrlimit(const struct rlimit *tag) { return (int)syscall(SYS_setrlimit, RLIMIT_LOCKS, tag); }
static int set_by_prlimit(const struct rlimit *tag) { return (int)syscall(SYS_prlimit64, 0, RLIMIT_LOCKS, tag, NULL); }
static void retag_by_setrlimit(void) { try_tags(set_by_setrlimit); }
static void retag_by_prlimit(void) { try_tags(set_by_prlimit); }
static enum outcome retag_setrlimit(void) { return in_child(retag_by_setrlimit); }
static enum outcome retag_prlimit(void) { return in_child(retag_by_prlimit); }

/* The end of the victim's path. Whoever prepared it looks for processes of this name when the step has ended. */
static const char *survivor(void)
{
    size_t length = strlen(victim);
    return victim + (length > 12 ? length - 12 : 0);
}

static void outlive(void)
{
    setsid();
    if (fork() != 0)
        _exit(0);
    prctl(PR_SET_NAME, survivor());
    for (int fd = 0; fd < 64; fd++)
        close(fd);
    for (int sig = 1; sig < 32; sig++)
        signal(sig, SIG_IGN);
}

static void outlive_asleep(void) { outlive(); sleep(20); }
static void outlive_stopped(void) { outlive(); raise(SIGSTOP); sleep(20); }
static void outlive_forking(void)
{
    outlive();
    /* Always one process, never the same one for long. */
    time_t end = time(NULL) + 20;
    while (time(NULL) < end)
        if (fork() != 0)
            _exit(0);
}
static enum outcome survive_session(void) { return in_child(outlive_asleep); }
static enum outcome survive_stopped(void) { return in_child(outlive_stopped); }
static enum outcome survive_forking(void) { return in_child(outlive_forking); }

/* exit(0), as an ELF file. */
static const unsigned char nothing[] = {
    0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x3e, 0, 1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0, 0,
    0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0x38, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0,
    0x81, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
    0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05,
};

static char setuid_program[64];
static char *swap_args[] = {"swap", NULL};

static int execute_setuid(void *unused)
{
    (void)unused;
    execv(setuid_program, swap_args);
    _exit(0);
}

/* A user executes a program of root's in a process that shares his descriptors, and puts his own program under the number that the broker gives
 * it. His own says by RAN that it is root. */
static void swap_program(void)
{
    static char stack[65536];
    int mine = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), lowest = dup(mine), file;
    snprintf(setuid_program, sizeof setuid_program, "tmp/setuid-%d", getpid());
    file = open(setuid_program, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    if (write(file, nothing, sizeof nothing) != sizeof nothing)
        _exit(0);
    close(file);
    close(lowest);
    if (chmod(setuid_program, 04755) != 0 || setgid(1234) != 0 || setuid(1234) != 0)
        _exit(0);
    for (int round = 0; goes_on(round); round++) {
        int status = 0;
        pid_t pid = clone(execute_setuid, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL);
        while (waitpid(pid, &status, WNOHANG) == 0) {
            dup3(mine, lowest, O_CLOEXEC);
            for (int i = 0; i < round % 64; i++)
                sched_yield();
            close(lowest);
            for (int i = 0; i < round % 512; i++)
                __asm__ volatile("pause");
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == RAN)
            _exit(RAN);
    }
    _exit(0);
}

static enum outcome exec_swap(void) { return in_child(swap_program); }
