/* Calls that no step may make, whatever filter the container engine has. */

static unsigned char params[512];

static void become_root_of_a_namespace(int more)
{
    if (syscall(SYS_unshare, CLONE_NEWUSER | more) != 0)
        _exit(0);
}

static void new_user(void) { become_root_of_a_namespace(0); _exit(RAN); }
static void new_mount(void)
{
    become_root_of_a_namespace(CLONE_NEWNS);
    _exit(mount("none", "tmp", "tmpfs", 0, NULL) == 0 ? RAN : 0);
}
static void new_root(void)
{
    become_root_of_a_namespace(0);
    _exit(syscall(SYS_chroot, ".") == 0 ? RAN : 0);
}
static void new_filesystem(void)
{
    become_root_of_a_namespace(CLONE_NEWNS);
    _exit(syscall(SYS_fsopen, "tmpfs", 0) >= 0 ? RAN : 0);
}
static void new_name(void)
{
    become_root_of_a_namespace(CLONE_NEWUTS);
    _exit(syscall(SYS_sethostname, "x", 1) == 0 ? RAN : 0);
}
static enum outcome unshare_user(void) { return in_child(new_user); }
static enum outcome mount_in_namespace(void) { return in_child(new_mount); }
static enum outcome chroot_in_namespace(void) { return in_child(new_root); }
static enum outcome fsopen_in_namespace(void) { return in_child(new_filesystem); }
static enum outcome hostname_in_namespace(void) { return in_child(new_name); }

static enum outcome cloned(long result)
{
    if (result == 0)
        _exit(0);
    if (result > 0)
        waitpid((pid_t)result, NULL, 0);
    return result > 0;
}

static enum outcome clone_user(void) { return cloned(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
static enum outcome clone_user_high(void) { return cloned(syscall(SYS_clone, 1L << 40 | CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
static enum outcome clone3_user(void)
{
    long long args[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    return cloned(syscall(SYS_clone3, args, sizeof args));
}

static enum outcome uring(void) { return opened(syscall(SYS_io_uring_setup, 8, memset(params, 0, sizeof params))); }
static enum outcome fault_handler(void) { return opened(syscall(SYS_userfaultfd, 1 | O_CLOEXEC)); }
static enum outcome fanotify(void) { return opened(syscall(SYS_fanotify_init, 0x200, 0)); }
static enum outcome keyring(void) { return syscall(SYS_keyctl, 0, -3, 1) >= 0; }
static enum outcome key(void) { return syscall(SYS_add_key, "user", "wbuild", "x", 1L, -2) >= 0; }

static enum outcome perf(void)
{
    memset(params, 0, sizeof params);
    uint32_t head[2] = {1 /* SOFTWARE */, 112};
    memcpy(params, head, sizeof head);
    params[8] = 1; /* TASK_CLOCK */
    params[40] = 1 << 5 | 1 << 6; /* neither kernel nor hypervisor */
    return opened(syscall(SYS_perf_event_open, params, 0, -1, -1, 0));
}

static enum outcome queue(void)
{
    char name[64];
    snprintf(name, sizeof name, "wbuild-%d", getpid());
    long fd = syscall(SYS_mq_open, name, O_CREAT | O_RDWR, 0600, NULL);
    syscall(SYS_mq_unlink, name);
    return opened(fd);
}

static enum outcome mounts_of_the_host(void)
{
    struct {
        uint32_t size, spare;
        uint64_t id, param;
    } request = {24, 0, ~0ULL, 0};
    uint64_t ids[16];
    return syscall(458, &request, ids, 16, 0) > 0;
}

static enum outcome handle(void)
{
    struct {
        unsigned bytes;
        int type;
        char handle[128];
    } name = {.bytes = 128};
    int mount, dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (syscall(SYS_name_to_handle_at, AT_FDCWD, at_victim("secret"), &name, &mount, 0) != 0)
        return HELD;
    return holds_secret((int)syscall(SYS_open_by_handle_at, dir, &name, O_RDONLY));
}

static enum outcome device(void)
{
    char path[64];
    snprintf(path, sizeof path, "tmp/device-%d", getpid());
    if (mknod(path, S_IFCHR | 0666, 1 << 8 | 11) != 0)
        return HELD;
    enum outcome outcome = opened(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    unlink(path);
    return outcome;
}

/* ioctl through a descriptor that may only read. */
static enum outcome changes_by_ioctl(unsigned long command, void *argument)
{
    char path[64];
    snprintf(path, sizeof path, "tmp/flags-%d", getpid());
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum outcome outcome = syscall(SYS_ioctl, fd, command, argument) == 0;
    close(fd);
    unlink(path);
    return outcome;
}

static long no_dump = 0x40;
static enum outcome set_flags(void) { return changes_by_ioctl(0x40086602, &no_dump); }
static enum outcome set_flags_high(void) { return changes_by_ioctl(0xdead000040086602, &no_dump); }
static enum outcome set_version(void) { return changes_by_ioctl(0x40087602, &no_dump); }
static enum outcome set_project(void)
{
    memset(params, 0, sizeof params);
    return changes_by_ioctl(0x401c5820, params);
}

static void type_into_terminal(void)
{
    int unlock = 0, number = -1;
    char path[64];
    setsid();
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) != 0 || ioctl(master, TIOCGPTN, &number) != 0)
        _exit(0);
    snprintf(path, sizeof path, "/dev/pts/%d", number);
    int slave = open(path, O_RDWR | O_CLOEXEC);
    ioctl(slave, TIOCSCTTY, 0);
    _exit(syscall(SYS_ioctl, slave, 0x5412 /* TIOCSTI */, "x") == 0 ? RAN : 0);
}
static enum outcome typing(void) { return in_child(type_into_terminal); }

/* open of the 32-bit table. */
static enum outcome int80(void)
{
#ifdef __x86_64__
    char *path = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    strcpy(path, at_victim("secret"));
    long fd = 5;
    __asm__ volatile("int $0x80" : "+a"(fd) : "b"((long)path), "c"(O_RDONLY), "d"(0) : "r8", "r9", "r10", "r11", "memory");
    return holds_secret((int)fd);
#else
    return HELD;
#endif
}

/* Objects that outlive the step: whoever prepared the victim looks for the key. */
static int key_of_victim(void)
{
    unsigned sum = 0;
    for (const char *at = victim; *at; at++)
        sum = sum * 31 + (unsigned char)*at;
    return (int)(sum & 0xffffff) | 0x57000000;
}
static enum outcome shared_memory(void) { syscall(SYS_shmget, key_of_victim(), 4096, 0600 | 01000); return HELD; }
static enum outcome semaphores(void) { syscall(SYS_semget, key_of_victim(), 1, 0600 | 01000); return HELD; }
static enum outcome messages(void) { syscall(SYS_msgget, key_of_victim(), 0600 | 01000); return HELD; }
