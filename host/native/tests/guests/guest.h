// What the guest programs share: T(call) prints the call as it is written and what it answered.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static void told(const char *what, long result, int error) {
    if (result == -1) printf("%s = -1 %s\n", what, strerrorname_np(error));
    else printf("%s = %ld\n", what, result);
    fflush(stdout);
}

// Every program starts in an empty directory of its own, with the same modes around it. One that executes itself again
// finds everything as it left it.
__attribute__((constructor)) static void start(void) {
    umask(022);
    if (mkdir("/tmp/t", 0755)) return;
    if (chmod("/", 0755) || chmod("/tmp", 01777) || chmod("/prog", 0755) || chdir("/tmp/t")) perror("start");
}

// A call whose answer is a plain number.
#define T(call) do { \
        errno = 0; \
        long result_ = (long)(call); \
        told(#call, result_, errno); \
    } while (0)
// A call that answers a descriptor: its number does not matter, and it is closed.
#define F(call) do { \
        errno = 0; \
        int fd_ = (call); \
        int error_ = errno; \
        told(#call, fd_ < 0 ? -1 : 0, error_); \
        if (fd_ >= 0) close(fd_); \
    } while (0)

// Type, mode, owner, group, links and size of what stands at a path.
static void show_stat(const char *path, const struct stat *s) {
    char kind = "?pc?d?b?-?l?s???"[(s->st_mode >> 12) & 15];
    printf("  %s: %c%04o %u:%u links %lu", path, kind, s->st_mode & 07777, s->st_uid, s->st_gid,
           S_ISDIR(s->st_mode) ? 0 : (unsigned long)s->st_nlink);
    if (S_ISREG(s->st_mode) || S_ISLNK(s->st_mode)) printf(" size %ld", (long)s->st_size);
    if (S_ISCHR(s->st_mode) || S_ISBLK(s->st_mode)) printf(" device %u,%u", major(s->st_rdev), minor(s->st_rdev));
    printf("\n");
    fflush(stdout);
}

__attribute__((unused)) static void S(const char *path) {
    struct stat s;
    if (lstat(path, &s)) printf("  %s: %s\n", path, strerrorname_np(errno));
    else show_stat(path, &s);
}

__attribute__((unused)) static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) printf("put %s: %s\n", path, strerrorname_np(errno));
    close(fd);
}

// Runs `block` in a process of its own that is `uid`, with no capability if that is not root.
#define AS(uid, ...) do { \
        fflush(stdout); \
        pid_t child_ = fork(); \
        if (!child_) { \
            printf("-- as %d\n", uid); \
            if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)) perror("become"); \
            __VA_ARGS__; \
            fflush(stdout); \
            _exit(0); \
        } \
        waitpid(child_, NULL, 0); \
        printf("-- back\n"); \
    } while (0)
