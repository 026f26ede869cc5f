/* escape SECRET: tries every way it knows to read the host's file SECRET, to reach processes that are not its own, and to gain
 * what a step must not have. Prints `ESCAPED: way` for each that works; the last line is `tried N`. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* musl has no wrapper. */
struct open_how {
    unsigned long long flags, mode, resolve;
};

#define MARK "secret of the host"

static int tried;

static void escaped(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    printf("ESCAPED: ");
    vprintf(format, list);
    printf("\n");
    va_end(list);
}

static int holds_secret(int fd)
{
    char text[256] = {0};
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 && strstr(text, MARK) != NULL;
}

static void try_open(int dir, const char *path, const char *way)
{
    int fd = openat(dir, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    tried++;
    if (fd >= 0 && holds_secret(fd))
        escaped("%s: %s", way, path);
}

static void by_path(const char *secret)
{
    char path[8192], link_path[64];
    snprintf(link_path, sizeof link_path, "/tmp/link-%d", getpid());
    const char *prefixes[] = {
        "", "/..", "/../../../../../..", "/proc/self/root", "/proc/1/root", "/proc/self/cwd/../../../..", "/proc/thread-self/root",
        "/proc/self/root/../../../..", "/tmp/../..", "/dev/..", "/dev/fd/../../../..", "/proc/../..", "/sys/../../..",
    };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        snprintf(path, sizeof path, "%s%s", prefixes[i], secret);
        try_open(AT_FDCWD, path, "open");
        unlink(link_path);
        if (symlink(path, link_path) == 0)
            try_open(AT_FDCWD, link_path, "through a symlink");
        snprintf(path, sizeof path, "../../../../../../../..%s", secret);
        for (const char **d = (const char *[]){"/", "/tmp", "/proc", "/dev", "/sys", "/proc/self/fd", "/proc/self/task", NULL}; *d; d++) {
            int fd = open(*d, O_RDONLY | O_DIRECTORY);
            if (fd < 0)
                continue;
            try_open(fd, path, *d);
            if (fchdir(fd) == 0)
                try_open(AT_FDCWD, path, "after fchdir");
            close(fd);
        }
        if (chdir("/") != 0)
            return;
    }
    unlink(link_path);
    struct open_how how = {.flags = O_RDONLY};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, secret, &how, sizeof how);
    tried++;
    if (fd >= 0 && holds_secret(fd))
        escaped("openat2");
    tried++;
    fd = open("/proc/self/exe", O_RDONLY | O_PATH);
    if (fd >= 0) {
        snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../../../..%s", fd, secret);
        try_open(AT_FDCWD, path, "beneath a descriptor");
    }
    tried++;
    if (chroot("/tmp") == 0) {
        if (chdir("..") == 0 && chdir("../../../..") == 0)
            try_open(AT_FDCWD, secret + 1, "chroot without chdir");
        if (chroot(".") != 0 || chdir("/") != 0)
            exit(3);
    }
    tried++;
    snprintf(path, sizeof path, "/tmp/hard-%d", getpid());
    if (link(secret, path) == 0)
        escaped("a hard link to a host file");
    unlink(path);
    struct stat st;
    tried++;
    if (stat(secret, &st) == 0 || lstat(secret, &st) == 0 || access(secret, F_OK) == 0)
        escaped("stat sees the host's file");
    tried++;
    char *args[] = {(char *)secret, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        execv(secret, args);
        _exit(errno == ENOENT ? 0 : 1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (status != 0)
        escaped("exec sees the host's file");
}

/* One thread exchanges a directory for a symlink that leads out while another resolves through it. */
static volatile int stop;
static char race[64];

static void *exchange(void *unused)
{
    (void)unused;
    int dir = open(race, O_RDONLY | O_DIRECTORY);
    while (!stop)
        syscall(SYS_renameat2, dir, "a", dir, "b", 2 /* RENAME_EXCHANGE */);
    close(dir);
    return NULL;
}

static void by_race(const char *secret)
{
    char up[1024], path[1024];
    const char *name = strrchr(secret, '/');
    pthread_t thread;
    snprintf(race, sizeof race, "/tmp/race-%d", getpid());
    mkdir(race, 0755);
    snprintf(path, sizeof path, "%s/a", race);
    mkdir(path, 0755);
    snprintf(up, sizeof up, "/../../../../../../../../../..%.*s", (int)(name - secret), secret);
    snprintf(path, sizeof path, "%s/b", race);
    if (symlink(up, path) != 0)
        return;
    snprintf(path, sizeof path, "%s/a%s", race, name);
    pthread_create(&thread, NULL, exchange, NULL);
    for (int i = 0; i < 20000; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && holds_secret(fd)) {
            escaped("a race of rename against open");
            break;
        }
    }
    stop = 1;
    pthread_join(thread, NULL);
    tried++;
    for (const char *leaf = "ab"; *leaf; leaf++) {
        snprintf(path, sizeof path, "%s/%c", race, *leaf);
        if (rmdir(path) != 0)
            unlink(path);
    }
    rmdir(race);
}

/* Every process that can be named, not only those that /proc lists. */
static void at_processes(void)
{
    char path[64], text[4096];
    pid_t me = getpid(), parent = getppid();
    /* Pids grow: what was here before this process has a smaller one. */
    for (pid_t pid = 1; pid < me + 200; pid++) {
        if (pid == me)
            continue;
        const char *leaves[] = {"mem", "environ", "root", "cwd", "maps"};
        for (int i = 0; i < 5; i++) {
            snprintf(path, sizeof path, "/proc/%d/%s", pid, leaves[i]);
            int fd = open(path, i == 0 ? O_RDWR : O_RDONLY);
            if (fd < 0)
                continue;
            ssize_t n = i < 2 ? read(fd, text, sizeof text) : 0;
            if (i == 0 || (n > 0 && memmem(text, (size_t)n, MARK, strlen(MARK)) != NULL))
                escaped("%s", path);
            close(fd);
        }
        if (pid == parent)
            continue;
        struct iovec iov = {text, 8};
        struct iovec remote = {(void *)0x400000, 8};
        if (process_vm_readv(pid, &iov, 1, &remote, 1, 0) >= 0 || errno == EFAULT)
            escaped("process_vm_readv of %d", pid);
        if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0)
            escaped("ptrace of %d", pid);
    }
    tried++;
}

struct attempt {
    const char *name;
    long number, a, b, c;
};

/* Calls that must fail whatever filter the container engine has. */
static void by_calls(void)
{
    static char params[256];
    const struct attempt calls[] = {
        {"unshare(NEWUSER)", SYS_unshare, CLONE_NEWUSER, 0, 0},
        {"unshare(NEWNS)", SYS_unshare, CLONE_NEWNS, 0, 0},
        {"mount", SYS_mount, (long)"none", (long)"/tmp", (long)"tmpfs"},
        {"pivot_root", SYS_pivot_root, (long)"/tmp", (long)"/tmp", 0},
        {"io_uring_setup", SYS_io_uring_setup, 8, (long)params, 0},
        {"userfaultfd", SYS_userfaultfd, 1, 0, 0},
        {"bpf", SYS_bpf, 5, (long)params, sizeof params},
        {"keyctl", SYS_keyctl, 0, -4, 1},
        {"add_key", SYS_add_key, (long)"user", (long)"x", (long)"y"},
        {"perf_event_open", SYS_perf_event_open, (long)params, 0, -1},
        {"open_by_handle_at", SYS_open_by_handle_at, AT_FDCWD, (long)params, 0},
        {"init_module", SYS_init_module, (long)params, 1, (long)""},
        {"kexec_load", SYS_kexec_load, 0, 0, 0},
        {"swapon", SYS_swapon, (long)"/tmp/x", 0, 0},
        {"reboot", SYS_reboot, 0xfee1dead, 672274793, 0},
        {"settimeofday", SYS_settimeofday, (long)params, 0, 0},
        {"fanotify_init", SYS_fanotify_init, 0, 0, 0},
        {"fsopen", SYS_fsopen, (long)"tmpfs", 0, 0},
        {"open_tree", SYS_open_tree, AT_FDCWD, (long)"/", 1},
        {"setns", SYS_setns, 0, 0, 0},
        {"acct", SYS_acct, 0, 0, 0},
        {"iopl", SYS_iopl, 3, 0, 0},
        {"quotactl", SYS_quotactl, 0, 0, 0},
        {"x32 getpid", 0x40000000 | SYS_getpid, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const struct attempt *c = &calls[i];
        tried++;
        if (syscall(c->number, c->a, c->b, c->c, 0, 0) >= 0)
            escaped("%s succeeds", c->name);
    }
    tried++;
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        escaped("clone(NEWUSER) succeeds");
    tried++;
    long long clone_args[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    pid = (pid_t)syscall(SYS_clone3, clone_args, sizeof clone_args);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        escaped("clone3(NEWUSER) succeeds");
    tried++;
    if (mknod("/tmp/kmsg", S_IFCHR | 0666, (1 << 8) | 11) == 0) {
        int fd = open("/tmp/kmsg", O_RDWR | O_NONBLOCK);
        if (fd >= 0)
            escaped("a device node opens the real device");
    }
    for (const char **d = (const char *[]){"/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/kvm", "/dev/fuse", NULL}; *d; d++) {
        tried++;
        if (open(*d, O_RDONLY | O_NONBLOCK) >= 0)
            escaped("%s opens", *d);
    }
    for (const char **p = (const char *[]){"/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/proc/self/oom_score_adj", "/proc/self/uid_map", NULL}; *p; p++) {
        tried++;
        int fd = open(*p, O_WRONLY);
        if (fd >= 0 && write(fd, "x", 1) == 1)
            escaped("%s is written", *p);
    }
}

/* A datagram to a socket of the host: its path would be resolved in the host's root. */
static void by_socket(const char *secret)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    snprintf(address.sun_path, sizeof address.sun_path, "%s.sock", secret);
    for (int i = 0; i < 3; i++) {
        tried++;
        int fd = socket(AF_UNIX, types[i], 0);
        if (fd < 0)
            continue;
        if (sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof address) == 1)
            escaped("sendto a socket of the host");
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
            escaped("connect to a socket of the host");
        close(fd);
    }
    for (const int *family = (const int[]){AF_PACKET, AF_ALG, AF_VSOCK, AF_BLUETOOTH, AF_NETLINK, 0}; *family; family++) {
        tried++;
        int fd = socket(*family, *family == AF_NETLINK ? SOCK_RAW : SOCK_SEQPACKET, *family == AF_NETLINK ? 9 /* AUDIT */ : 0);
        if (fd >= 0)
            escaped("a socket of the family %d", *family);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    by_path(argv[1]);
    by_race(argv[1]);
    at_processes();
    by_calls();
    by_socket(argv[1]);
    /* Signals to everyone come last: what they reach may be this step. */
    tried++;
    signal(SIGTERM, SIG_IGN);
    for (pid_t pid = 1; pid < getpid() + 200; pid++)
        if (pid != getpid() && pid != getppid() && kill(pid, 0) == 0 && getsid(pid) >= 0 && getsid(pid) != getsid(0))
            escaped("process %d of another session takes a signal", pid);
    printf("tried %d\n", tried);
    return 0;
}
