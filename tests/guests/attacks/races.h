/* Races between the broker's look at a path and what it does: one thread exchanges a directory for a symlink that leads to the victim;
 * a process rewrites the text of the path in shared memory; a directory moves out from under a descriptor. The leaf exists only at
 * the victim, so a call that succeeds got there; what makes a new name is found there by whoever prepared the victim. */

static char place[64];

struct race {
    const char *name, *leaf;
    enum outcome (*act)(const char *path, int round);
};

static volatile int stop;

static void *exchange(void *unused)
{
    (void)unused;
    int dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (!stop)
        syscall(SYS_renameat2, dir, "a", dir, "b", 2 /* RENAME_EXCHANGE */);
    close(dir);
    return NULL;
}

static int prepare_place(void)
{
    static int number;
    char path[128];
    snprintf(place, sizeof place, "tmp/r-%d-%d", getpid(), number++);
    if (mkdir(place, 0777) != 0)
        return -1;
    chmod(place, 0777);
    snprintf(path, sizeof path, "%s/a", place);
    mkdir(path, 0777);
    chmod(path, 0777);
    snprintf(path, sizeof path, "%s/b", place);
    return symlink(victim, path);
}

static enum outcome by_symlink(const struct race *race)
{
    char path[256];
    pthread_t thread;
    enum outcome outcome = HELD;
    if (prepare_place() != 0)
        return HELD;
    stop = 0;
    pthread_create(&thread, NULL, exchange, NULL);
    for (int i = 0; outcome == HELD && goes_on(i); i++) {
        if (strcmp(race->leaf, "new") == 0)
            snprintf(path, sizeof path, "%s/a/new-%d-%d", place, getpid(), i);
        else
            snprintf(path, sizeof path, "%s/a/%s", place, race->leaf);
        outcome = race->act(path, i);
    }
    stop = 1;
    pthread_join(thread, NULL);
    return outcome;
}

/* The same act on a path whose text another process rewrites all the time. */
static enum outcome by_text(const struct race *race)
{
    enum outcome outcome = HELD;
    char own[256], outside[4096];
    if (prepare_place() != 0)
        return HELD;
    char *path = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const char *leaf = strcmp(race->leaf, "new") == 0 ? "text-new" : race->leaf;
    snprintf(own, sizeof own, "%s/a/%s", place, leaf);
    snprintf(outside, sizeof outside, "%s", at_victim(leaf));
    strcpy(path, own);
    pid_t pid = fork();
    if (pid == 0) {
        for (;;) {
            strcpy(path, outside);
            strcpy(path, own);
        }
    }
    for (int i = 0; outcome == HELD && goes_on(i); i++)
        outcome = race->act(path, i);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    munmap(path, 8192);
    return outcome;
}

#define ACT(name) static enum outcome act_##name(const char *path, int round)
#define CALL(name, ...) \
    ACT(name) { (void)round; return syscall(SYS_##name, __VA_ARGS__) >= 0 ? GOT : HELD; }
/* Makes a name: succeeds in the tree, too. */
#define MAKE(name, ...) \
    ACT(name) { (void)round; syscall(SYS_##name, __VA_ARGS__); return HELD; }

struct open_how {
    unsigned long long flags, mode, resolve;
};
static struct stat stat_out;
static char bytes_out[4096] = "x";
static struct open_how reading = {.flags = O_RDONLY | O_NONBLOCK};
static unsigned long long file_attr_out[3];
static struct {
    unsigned long long value;
    unsigned size, flags;
} xattr_args = {(unsigned long long)(uintptr_t)bytes_out, 1, 0};
static struct {
    unsigned bytes;
    int type;
    char handle[128];
} handle_out;
static int mount_id;

#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif
#ifndef SYS_file_getattr
#define SYS_file_getattr 468
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif

ACT(open) { (void)round; return holds_secret((int)syscall(SYS_open, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)); }
ACT(openat) { (void)round; return holds_secret((int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)); }
ACT(openat2) { (void)round; return holds_secret((int)syscall(SYS_openat2, AT_FDCWD, path, &reading, sizeof reading)); }
ACT(open_path) { (void)round; return opened(syscall(SYS_open, path, O_PATH | O_CLOEXEC)); }
ACT(open_write) { (void)round; return opened(syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_TRUNC | O_CLOEXEC)); }
ACT(open_tmpfile) { (void)round; return opened(syscall(SYS_openat, AT_FDCWD, path, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600)); }
ACT(creat) { (void)round; opened(syscall(SYS_creat, path, 0666)); return HELD; }
ACT(open_tree) { (void)round; return opened(syscall(SYS_open_tree, AT_FDCWD, path, 0)); }
CALL(stat, path, &stat_out)
CALL(lstat, path, &stat_out)
CALL(newfstatat, AT_FDCWD, path, &stat_out, 0)
CALL(statx, AT_FDCWD, path, 0, 0x7ff, bytes_out)
CALL(access, path, F_OK)
CALL(faccessat, AT_FDCWD, path, F_OK)
CALL(faccessat2, AT_FDCWD, path, F_OK, AT_EACCESS)
CALL(readlink, path, bytes_out, sizeof bytes_out)
CALL(readlinkat, AT_FDCWD, path, bytes_out, sizeof bytes_out)
CALL(chmod, path, 0600)
CALL(fchmodat, AT_FDCWD, path, 0600)
CALL(fchmodat2, AT_FDCWD, path, 0600, 0)
CALL(chown, path, -1, -1)
CALL(lchown, path, -1, -1)
CALL(fchownat, AT_FDCWD, path, -1, -1, 0)
CALL(utime, path, NULL)
CALL(utimes, path, NULL)
CALL(futimesat, AT_FDCWD, path, NULL)
CALL(utimensat, AT_FDCWD, path, NULL, 0)
CALL(truncate, path, 0)
CALL(statfs, path, bytes_out)
CALL(rmdir, path)
CALL(unlink, path)
CALL(unlinkat, AT_FDCWD, path, 0)
MAKE(mkdir, path, 0777)
MAKE(mkdirat, AT_FDCWD, path, 0777)
MAKE(symlink, "/x", path)
MAKE(symlinkat, "/x", AT_FDCWD, path)
MAKE(mknod, path, S_IFIFO | 0666, 0)
MAKE(mknodat, AT_FDCWD, path, S_IFIFO | 0666, 0)
CALL(setxattr, path, "user.t", "x", 1, 0)
CALL(lsetxattr, path, "user.t", "x", 1, 0)
CALL(getxattr, path, "user.mark", bytes_out, sizeof bytes_out)
CALL(lgetxattr, path, "user.mark", bytes_out, sizeof bytes_out)
CALL(listxattr, path, bytes_out, sizeof bytes_out)
CALL(llistxattr, path, bytes_out, sizeof bytes_out)
CALL(removexattr, path, "user.mark")
CALL(lremovexattr, path, "user.mark")
CALL(setxattrat, AT_FDCWD, path, 0, "user.t", &xattr_args, sizeof xattr_args)
CALL(getxattrat, AT_FDCWD, path, 0, "user.mark", &xattr_args, sizeof xattr_args)
CALL(listxattrat, AT_FDCWD, path, 0, bytes_out, sizeof bytes_out)
CALL(removexattrat, AT_FDCWD, path, 0, "user.mark")
CALL(file_getattr, AT_FDCWD, path, file_attr_out, sizeof file_attr_out, 0)
ACT(name_to_handle_at)
{
    (void)round;
    handle_out.bytes = sizeof handle_out.handle;
    return syscall(SYS_name_to_handle_at, AT_FDCWD, path, &handle_out, &mount_id, 0) == 0;
}

/* The other name of a call that takes two. */
static const char *mine(int round)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/mine-%d", place, round);
    return path;
}

static const char *my_file(int round)
{
    const char *path = mine(round);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
    return path;
}

ACT(rename) { return syscall(SYS_rename, path, mine(round)) == 0; }
ACT(renameat) { return syscall(SYS_renameat, AT_FDCWD, path, AT_FDCWD, mine(round)) == 0; }
ACT(renameat2) { return syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, mine(round), 1) == 0; }
ACT(rename_to) { syscall(SYS_rename, my_file(round), path); return HELD; }
ACT(link) { return syscall(SYS_link, path, mine(round)) == 0; }
ACT(linkat) { return syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, mine(round), 0) == 0; }
ACT(link_to) { syscall(SYS_link, my_file(round), path); return HELD; }

ACT(chdir)
{
    (void)round;
    if (syscall(SYS_chdir, path) != 0)
        return HELD;
    syscall(SYS_chdir, "/");
    return GOT;
}

ACT(inotify_add_watch)
{
    (void)round;
    static int watcher = -1;
    if (watcher < 0)
        watcher = (int)syscall(SYS_inotify_init1, 0);
    return syscall(SYS_inotify_add_watch, watcher, path, 0xfff) >= 0;
}

static enum outcome executed(const char *path, long number)
{
    char *args[] = {(char *)path, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        if (number == SYS_execve)
            syscall(SYS_execve, path, args, args + 1);
        else
            syscall(SYS_execveat, AT_FDCWD, path, args, args + 1, 0, 0);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == RAN;
}

ACT(execve) { (void)round; return executed(path, SYS_execve); }
ACT(execveat) { (void)round; return executed(path, SYS_execveat); }

static socklen_t unix_address(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof address->sun_path, "%s", path);
    return sizeof *address;
}

ACT(connect)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)round;
    enum outcome outcome = connect(fd, (struct sockaddr *)&address, unix_address(&address, path)) == 0;
    close(fd);
    return outcome;
}

ACT(bind)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)round;
    bind(fd, (struct sockaddr *)&address, unix_address(&address, path));
    close(fd);
    return HELD;
}

ACT(sendto)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)round;
    enum outcome outcome = sendto(fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&address, unix_address(&address, path)) == 1;
    close(fd);
    return outcome;
}

#define RACE(call, leaf) {#call, leaf, act_##call}
static const struct race races[] = {
    RACE(open, "secret"), RACE(openat, "secret"), RACE(openat2, "secret"), RACE(open_path, "secret"), RACE(open_write, "file"),
    RACE(open_tmpfile, "dir"), RACE(creat, "new"), RACE(open_tree, "secret"), RACE(stat, "secret"), RACE(lstat, "secret"),
    RACE(newfstatat, "secret"), RACE(statx, "secret"), RACE(access, "secret"), RACE(faccessat, "secret"), RACE(faccessat2, "secret"),
    RACE(readlink, "link"), RACE(readlinkat, "link"), RACE(chmod, "file"), RACE(fchmodat, "file"), RACE(fchmodat2, "file"),
    RACE(chown, "file"), RACE(lchown, "file"), RACE(fchownat, "file"), RACE(utime, "file"), RACE(utimes, "file"),
    RACE(futimesat, "file"), RACE(utimensat, "file"), RACE(truncate, "file"), RACE(statfs, "dir"), RACE(rmdir, "empty"),
    RACE(unlink, "doomed"), RACE(unlinkat, "doomed"), RACE(mkdir, "new"), RACE(mkdirat, "new"), RACE(symlink, "new"),
    RACE(symlinkat, "new"), RACE(mknod, "new"), RACE(mknodat, "new"), RACE(setxattr, "file"), RACE(lsetxattr, "file"),
    RACE(getxattr, "file"), RACE(lgetxattr, "file"), RACE(listxattr, "file"), RACE(llistxattr, "file"), RACE(removexattr, "file"),
    RACE(lremovexattr, "file"), RACE(setxattrat, "file"), RACE(getxattrat, "file"), RACE(listxattrat, "file"),
    RACE(removexattrat, "file"), RACE(file_getattr, "file"), RACE(name_to_handle_at, "secret"), RACE(rename, "doomed"),
    RACE(renameat, "doomed"), RACE(renameat2, "doomed"), RACE(rename_to, "new"), RACE(link, "file"), RACE(linkat, "file"),
    RACE(link_to, "new"), RACE(chdir, "dir"), RACE(inotify_add_watch, "dir"), RACE(execve, "prog"), RACE(execveat, "prog"),
    RACE(connect, "sock"), RACE(bind, "new"), RACE(sendto, "dgram"),
};

static const struct race texts[] = {
    RACE(openat, "secret"), RACE(newfstatat, "secret"), RACE(mkdir, "new"), RACE(unlink, "doomed"), RACE(chmod, "file"),
    RACE(execve, "prog"), RACE(connect, "sock"), RACE(setxattr, "file"), RACE(inotify_add_watch, "dir"),
};

/* A directory moves up while a walk through `..` begins in it. */
static void *move_up(void *unused)
{
    char low[128], high[128];
    (void)unused;
    snprintf(low, sizeof low, "%s/a/deep", place);
    snprintf(high, sizeof high, "%s/deep", place);
    while (!stop) {
        rename(low, high);
        rename(high, low);
    }
    return NULL;
}

static enum outcome from_moved(enum outcome (*act)(int dir, const char *path))
{
    char path[4200], deep[128];
    pthread_t thread;
    enum outcome outcome = HELD;
    if (prepare_place() != 0)
        return HELD;
    snprintf(deep, sizeof deep, "%s/a/deep", place);
    mkdir(deep, 0777);
    int dir = open(deep, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "../../../../../../../../../../../..%s", at_victim("secret"));
    stop = 0;
    pthread_create(&thread, NULL, move_up, NULL);
    for (int i = 0; outcome == HELD && goes_on(i); i++)
        outcome = act(dir, path);
    stop = 1;
    pthread_join(thread, NULL);
    close(dir);
    return outcome;
}

static enum outcome open_at(int dir, const char *path) { return holds_secret((int)syscall(SYS_openat, dir, path, O_RDONLY | O_CLOEXEC)); }
static enum outcome stat_at(int dir, const char *path) { return syscall(SYS_newfstatat, dir, path, &stat_out, 0) == 0; }
static enum outcome moved_open(void) { return from_moved(open_at); }
static enum outcome moved_stat(void) { return from_moved(stat_at); }
