/* calls [NAME..]: what single calls take, the best of five rounds, a line each: `call: NAME nanoseconds=N`. It starts itself (with
 * the one argument `-`) to see what an exec of a static program takes, and /bin/true for a dynamic one. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <dirent.h>

extern char **environ;
static const char *self;

static void must(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static void open_close(void)
{
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    must(fd >= 0, "open");
    close(fd);
}

static void open_missing(void)
{
    must(open("/etc/missing", O_RDONLY) < 0 && errno == ENOENT, "open of nothing");
}

static void create_unlink(void)
{
    int fd = open("/tmp/calls.new", O_WRONLY | O_CREAT | O_EXCL, 0644);
    must(fd >= 0, "create");
    close(fd);
    must(unlink("/tmp/calls.new") == 0, "unlink");
}

static void stat_path(void)
{
    struct stat s;
    must(stat("/etc/passwd", &s) == 0, "stat");
}

static void stat_missing(void)
{
    struct stat s;
    must(stat("/etc/missing", &s) != 0, "stat of nothing");
}

static void stat_descriptor(void)
{
    struct stat s;
    must(fstat(0, &s) == 0, "fstat");
}

static void read_no_link(void)
{
    char text[64];
    must(readlink("/etc/passwd", text, sizeof text) < 0 && errno == EINVAL, "readlink");
}

static void list(void)
{
    DIR *dir = opendir("/etc");
    must(dir != NULL, "opendir");
    while (readdir(dir))
        ;
    closedir(dir);
}

static void parent(void)
{
    syscall(SYS_getppid);
}

static void forked(void)
{
    int status;
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0)
        _exit(0);
    must(waitpid(pid, &status, 0) == pid, "wait");
}

static void start(const char *program, const char *argument)
{
    char *argv[] = {(char *)program, (char *)argument, NULL};
    pid_t pid;
    int status;
    must(posix_spawn(&pid, program, NULL, NULL, argv, environ) == 0, program);
    must(waitpid(pid, &status, 0) == pid && status == 0, program);
}

static void start_static(void)
{
    start(self, "-");
}

static void start_dynamic(void)
{
    start("/bin/true", NULL);
}

static const struct {
    const char *name;
    void (*call)(void);
    int times;
} calls[] = {
    {"getppid", parent, 20000},        {"openat+close", open_close, 3000},   {"open ENOENT", open_missing, 3000},
    {"create+unlink", create_unlink, 1000}, {"stat", stat_path, 3000},       {"stat ENOENT", stat_missing, 3000},
    {"fstat", stat_descriptor, 3000},  {"readlink EINVAL", read_no_link, 3000}, {"getdents of /etc", list, 1000},
    {"fork+exit", forked, 300},        {"exec static", start_static, 150},   {"exec dynamic", start_dynamic, 150},
};

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "-") == 0)
        return 0;
    self = argv[0];
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        long long best = -1;
        for (int round = 0; round < 5; round++) {
            long long begun = now();
            for (int n = 0; n < calls[i].times; n++)
                calls[i].call();
            long long took = (now() - begun) / calls[i].times;
            if (best < 0 || took < best)
                best = took;
        }
        fprintf(stderr, "call: %s nanoseconds=%lld\n", calls[i].name, best);
    }
    return 0;
}
