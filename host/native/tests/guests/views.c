// /proc, /dev and /sys: what is the same in every container.
#include "guest.h"
#include <sys/mman.h>
#include <sys/ioctl.h>

static void link_at(const char *path) {
    char text[PATH_MAX];
    ssize_t length = readlink(path, text, sizeof text - 1);
    if (length < 0) printf("  %s: %s\n", path, strerrorname_np(errno));
    else printf("  %s -> %.*s\n", path, (int)length, text);
    fflush(stdout);
}

// The lines of a file that start with `start`, or its first.
static void line(const char *path, const char *start) {
    FILE *f = fopen(path, "r");
    char text[4096];
    if (!f) printf("  %s: %s\n", path, strerrorname_np(errno));
    while (f && fgets(text, sizeof text, f))
        if (!strncmp(text, start, strlen(start))) {
            printf("  %s", text);
            break;
        }
    if (f) fclose(f);
    fflush(stdout);
}

static void devices(void) {
    char b[8];
    const char *names[] = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"};
    for (int i = 0; i < 7; i++) {
        char path[32];
        sprintf(path, "/dev/%s", names[i]);
        struct stat s;
        if (stat(path, &s)) perror(path);
        else printf("  %s: %o %u,%u\n", path, s.st_mode & S_IFMT, major(s.st_rdev), minor(s.st_rdev));
        // What cp and install ask: whether the file they opened is the one they looked at.
        if (i < 5) {
            struct stat o;
            int fd = open(path, O_RDONLY);
            if (fstat(fd, &o)) perror(path);
            printf("  %s\n", o.st_dev == s.st_dev && o.st_ino == s.st_ino && o.st_mode == s.st_mode
                && o.st_uid == s.st_uid && o.st_rdev == s.st_rdev ? "the same" : "another");
            close(fd);
        }
    }
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY), full = open("/dev/full", O_RDWR);
    T(read(null, b, 8));
    T(write(null, b, 8));
    T(read(zero, b, 8));
    T(write(full, b, 8));
    F(open("/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0644));
    F(open("/dev/null", O_WRONLY | O_CREAT | O_EXCL, 0644));
    F(open("/dev/null", O_RDONLY | O_DIRECTORY));
    F(open("/dev/null/x", O_RDONLY));
    F(open("/dev/null", O_PATH));
    F(open("/dev/missing", O_RDONLY));
    F(open("/dev", O_WRONLY));
    F(open("/dev/../dev/./null", O_RDONLY));
    T(access("/dev/null", R_OK | W_OK));
    T(access("/dev/null", X_OK));
    link_at("/dev/fd");
    link_at("/dev/stdin");
    link_at("/dev/null");
    int dir = open("/dev", O_RDONLY | O_DIRECTORY);
    F(openat(dir, "null", O_WRONLY));
    F(openat(dir, "../tmp", O_RDONLY));
    T(fchdir(dir));
    F(open("zero", O_RDONLY));
    char cwd[64];
    T(getcwd(cwd, sizeof cwd) ? 0 : -1);
    printf("  %s\n", cwd);
    T(chdir("../tmp/t"));
    T(symlink("/dev", "there"));
    F(open("there/null", O_RDONLY));
    T(symlink("/dev/null", "nothing"));
    F(open("nothing", O_RDONLY));
    T(symlink("../../proc/self/status", "me"));
    F(open("me", O_RDONLY));
}

static void processes(void) {
    char path[64];
    T(chdir("/tmp/t"));
    put("file", "hello");
    int fd = open("file", O_RDONLY);
    link_at("/proc/self/exe");
    link_at("/proc/self/cwd");
    link_at("/proc/self/root");
    sprintf(path, "/proc/self/fd/%d", fd);
    char text[64];
    ssize_t length = readlink(path, text, sizeof text);
    printf("  fd -> %.*s\n", (int)length, text);
    int again = open(path, O_RDWR);
    T(again >= 0);
    T(write(again, "H", 1));
    T(read(fd, text, 5));
    printf("  %.5s\n", text);
    T(unlink("file"));
    length = readlink(path, text, sizeof text);
    printf("  fd -> %.*s\n", (int)length, text);
    T(open(path, O_RDONLY) >= 0);
    T(link("/dev/null", "hard"));
    struct stat a, b;
    T(stat(path, &a));
    T(fstat(fd, &b));
    T(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    T(lstat(path, &a));
    T(S_ISLNK(a.st_mode));
    sprintf(path, "/proc/%d/status", getpid());
    line(path, "Uid:");
    line("/proc/self/status", "Gid:");
    line("/proc/self/status", "Groups:");
    line("/proc/self/status", "Umask:");
    line("/proc/self/status", "Name:");
    line("/proc/self/status", "CapEff:");
    line("/proc/thread-self/status", "Threads:");
    line("/proc/self/comm", "");
    line("/proc/self/uid_map", "");
    line("/proc/self/setgroups", "");
    T(umask(077));
    line("/proc/self/status", "Umask:");
    T(umask(022));
    AS(1000, {
        line("/proc/self/status", "Uid:");
        line("/proc/self/status", "CapPrm:");
        F(open("/proc/self/fd/0", O_RDONLY));
    });
    T(mkdir("/tmp/t/sub", 0755));
    T(chdir("/proc/self/cwd/sub"));
    link_at("/proc/self/cwd");
    T(chdir("/proc/self"));
    F(open("status", O_RDONLY));
    T(chdir("/tmp/t"));
    int pipes[2];
    T(pipe(pipes));
    sprintf(path, "/proc/self/fd/%d", pipes[1]);
    T(stat(path, &a));
    T(S_ISFIFO(a.st_mode));
    F(open(path, O_WRONLY));
    sprintf(path, "/dev/fd/%d", pipes[0]);
    F(open(path, O_RDONLY));
    F(open("/dev/stdout", O_WRONLY | O_CREAT | O_TRUNC, 0666));
    FILE *maps = fopen("/proc/self/maps", "r");
    int found = 0;
    char *row = NULL;
    size_t room = 0;
    while (maps && getline(&row, &room, maps) > 0) found |= strstr(row, " /prog\n") != NULL;
    printf("  maps name the program: %d\n", found);
    DIR *self = opendir("/proc/self/fd");
    int entries = 0;
    for (struct dirent *e; self && (e = readdir(self));) entries += e->d_name[0] != '.';
    printf("  descriptors are listed: %d\n", entries > 3);
    int memory = open("/proc/self/mem", O_RDWR);
    static volatile int word = 5;
    int value = 6;
    T(pwrite(memory, &value, sizeof value, (off_t)(uintptr_t)&word));
    printf("  word %d\n", word);
    int comm = open("/proc/self/comm", O_WRONLY);
    T(write(comm, "renamed", 7));
    line("/proc/self/comm", "");
}

static void refusals(void) {
    T(mkdir("/proc/x", 0755));
    T(mkdir("/proc/self/x", 0755));
    T(unlink("/proc/self/status"));
    T(rename("/proc/self/status", "/tmp/t/status"));
    T(rename("/tmp/t/sub", "/proc/sub"));
    T(link("/proc/self/status", "/tmp/t/status"));
    T(symlink("a", "/proc/x"));
    F(open("/proc/x", O_RDWR | O_CREAT, 0644));
    F(open("/proc/self/status/x", O_RDONLY));
    F(open("/proc/self/nothing", O_RDONLY));
    F(open("/proc/99999999/status", O_RDONLY));
    F(open("/proc/self/fd/999", O_RDONLY));
    T(chdir("/proc/self/status"));
    T(chdir("/proc/self/fd/999"));
    T(rmdir("/proc"));
    T(rename("/dev", "/tmp/t/dev"));
    T(mkdir("/dev", 0755));
    T(rmdir("/sys"));
    struct stat s;
    T(stat("/proc", &s));
    printf("  %o %u:%u\n", s.st_mode, s.st_uid, s.st_gid);
    T(stat("/proc/self/fd", &s));
    printf("  %o\n", s.st_mode);
    T(access("/proc/self/status", R_OK));
    T(access("/sys/kernel", R_OK | X_OK));
    F(open("/proc/sys/kernel/ostype", O_RDONLY));
    F(open("/proc/cpuinfo", O_RDONLY));
    F(open("/proc/meminfo", O_RDONLY));
    F(open("/sys", O_RDONLY | O_DIRECTORY));
}

static void terminals(void) {
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    T(grantpt(master));
    T(unlockpt(master));
    char name[64];
    T(ptsname_r(master, name, sizeof name));
    int slave = open(name, O_RDWR | O_NOCTTY);
    T(slave >= 0);
    T(isatty(slave));
    T(write(slave, "x", 1));
    char b;
    T(read(master, &b, 1));
    F(open("/dev/tty", O_RDWR));
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        T(setsid() > 0);
        T(ioctl(slave, TIOCSCTTY, 0));
        F(open("/dev/tty", O_RDWR));
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void memory(void) {
    int fd = shm_open("/wbuild-test", O_RDWR | O_CREAT | O_EXCL, 0600);
    T(fd >= 0);
    T(ftruncate(fd, 4096));
    T(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
    S("/dev/shm/wbuild-test");
    T(shm_unlink("/wbuild-test"));
    struct stat s;
    T(stat("/dev/shm", &s));
    printf("  %o\n", s.st_mode);
    AS(1000, {
        put("/dev/shm/wbuild-other", "x");
        S("/dev/shm/wbuild-other");
    });
    T(unlink("/dev/shm/wbuild-other"));
    T(link("/tmp/t/nothing", "/dev/shm/x"));
    T(rename("/tmp/t/nothing", "/dev/shm/x"));
    T(rmdir("/dev/shm"));
}

int main(void) {
    devices();
    processes();
    refusals();
    terminals();
    memory();
    return 0;
}
