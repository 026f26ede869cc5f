// stat, statx, access, statfs and readlink in all spellings, on files, descriptors and views.
#include "guest.h"

static void x(int dir, const char *path, int flags) {
    struct statx s;
    long result = syscall(SYS_statx, dir, path, flags, STATX_BASIC_STATS | STATX_BTIME, &s);
    if (result) {
        printf("  statx %s: %s\n", path ? path : "(null)", strerrorname_np(errno));
        return;
    }
    printf("  statx %s: %o %u:%u links %u rdev %u,%u mask %x birth %d\n", path ? path : "(null)", s.stx_mode, s.stx_uid,
           s.stx_gid, S_ISDIR(s.stx_mode) ? 0 : s.stx_nlink, s.stx_rdev_major, s.stx_rdev_minor,
           s.stx_mask & STATX_BASIC_STATS, (s.stx_mask & STATX_BTIME) && s.stx_btime.tv_sec > 1000000000);
}

static void by_fd(int fd, const char *what) {
    struct stat s;
    if (fstat(fd, &s)) printf("  %s: %s\n", what, strerrorname_np(errno));
    else show_stat(what, &s);
}

int main(void) {
    put("f", "12345");
    T(chmod("f", 04751));
    T(chown("f", 5, 6));
    T(symlink("f", "l"));
    T(mkdir("d", 0750));
    struct stat s;
    T(stat("f", &s));
    show_stat("f", &s);
    T(stat("l", &s));
    show_stat("l", &s);
    T(lstat("l", &s));
    show_stat("l", &s);
    T(stat("f/", &s));
    T(stat("l/", &s));
    T(lstat("d/", &s));
    T(stat("", &s));
    T(stat("/", &s));
    show_stat("/", &s);
    T(stat("/..", &s));
    T(stat("f", (struct stat *)8));
    T(stat((char *)8, &s));
    T(syscall(SYS_newfstatat, AT_FDCWD, "f", &s, 0x40));
    T(syscall(SYS_newfstatat, AT_FDCWD, "", &s, AT_EMPTY_PATH));
    T(S_ISDIR(s.st_mode));
    x(AT_FDCWD, "f", 0);
    x(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW);
    x(AT_FDCWD, "l", 0);
    x(AT_FDCWD, "d", 0);
    x(AT_FDCWD, "none", 0);
    x(AT_FDCWD, "", 0);
    x(77, "f", 0);
    x(77, "", AT_EMPTY_PATH);
    T(syscall(SYS_statx, AT_FDCWD, "f", 0x6000, 0, &s));
    T(syscall(SYS_statx, AT_FDCWD, "f", 0x40, 0, &s));
    T(syscall(SYS_statx, AT_FDCWD, "f", 0, 0x80000000, &s));
    int fd = open("f", O_RDONLY);
    by_fd(fd, "f");
    x(fd, "", AT_EMPTY_PATH);
    x(fd, NULL, AT_EMPTY_PATH);
    x(fd, NULL, 0);
    T(unlink("f"));
    by_fd(fd, "removed f");
    T(fchmod(fd, 0600));
    T(fchown(fd, 8, 9));
    by_fd(fd, "removed f");
    by_fd(77, "nothing");
    int pipes[2];
    T(pipe(pipes));
    by_fd(pipes[0], "pipe");
    T(fchmod(pipes[0], 0640));
    by_fd(pipes[1], "pipe");
    char text[100];
    snprintf(text, sizeof text, "/proc/self/fd/%d", pipes[0]);
    T(access(text, R_OK));
    T(stat(text, &s));
    show_stat("pipe by path", &s);
    int sockets[2];
    T(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    by_fd(sockets[0], "socket");
    AS(1000, {
        int mine[2];
        T(pipe(mine));
        T(fstat(mine[0], &s));
        T(s.st_uid);
    });

    // access asks for the real ids, faccessat2 with AT_EACCESS for the effective ones.
    put("roots", "x");
    T(chmod("roots", 0600));
    put("users", "x");
    T(chown("users", 1000, 1000));
    T(chmod("users", 0400));
    T(access("roots", R_OK | W_OK));
    T(access("roots", X_OK));
    T(access("roots", 8));
    T(access("d", R_OK | W_OK | X_OK));
    T(syscall(SYS_faccessat2, AT_FDCWD, "roots", R_OK, 0x40));
    T(syscall(SYS_faccessat2, AT_FDCWD, "l", F_OK, AT_SYMLINK_NOFOLLOW));
    T(syscall(SYS_faccessat2, AT_FDCWD, "l", F_OK, 0));
    T(syscall(SYS_faccessat2, fd, "", R_OK, AT_EMPTY_PATH));
    T(setresgid(1000, 0, 0));
    T(setresuid(1000, 0, 0));
    T(access("roots", R_OK));
    T(syscall(SYS_faccessat2, AT_FDCWD, "roots", R_OK, AT_EACCESS));
    T(access("users", R_OK));
    T(access("users", W_OK));
    T(setresuid(0, 0, 0));
    T(setresgid(0, 0, 0));
    AS(1000, {
        T(access("roots", F_OK));
        T(access("roots", R_OK));
        T(access("users", R_OK));
        T(access("users", W_OK));
        T(access(".", W_OK));
        T(access("d/x", F_OK));
    });

    // Views.
    T(access("/proc/self/status", R_OK));
    T(access("/dev/null", R_OK | W_OK));
    T(access("/dev/null", X_OK));
    S("/dev/null");
    T(stat("/dev/fd", &s));
    T(S_ISDIR(s.st_mode));
    T(readlink("/dev/stdin", text, sizeof text));
    T(mkdir("/proc", 0755));
    T(mkdir("/proc/new", 0755));
    T(rmdir("/proc"));
    T(unlink("/proc/self/status"));
    T(rename("users", "/proc/users"));
    T(link("/proc/self/status", "status"));
    T(chmod("/dev/null", 0666));
    T(chown("/dev/null", 0, 0));
    T(utimes("/dev/null", NULL));
    T(truncate("/dev/null", 0));
    int proc = open("/proc/self", O_RDONLY | O_DIRECTORY);
    T(fstatat(proc, "status", &s, 0));
    T(faccessat(proc, "../version", R_OK, 0));
    T(readlinkat(proc, "cwd", text, sizeof text));
    F(openat(proc, "comm", O_RDONLY));
    // Numbers that are no process, thread or descriptor (a broker panicked at negative ones).
    S("/proc/-5");
    S("/proc/-5/status");
    S("/proc/+1");
    S("/proc/0");
    S("/proc/2147483648");
    S("/proc/self/task/-1");
    S("/proc/self/task/-1/status");
    S("/proc/self/task/0/status");
    S("/proc/self/fd/-1");
    S("/proc/self/fd/01");
    struct statfs fs;
    T(statfs("/proc", &fs));
    T(fs.f_type == 0x9fa0);
    T(statfs("d", &fs));
    T(fs.f_namelen);
    T(fstatfs(fd, &fs));
    T(fstatfs(pipes[0], &fs));
    T(fs.f_type == 0x50495045);
    T(statfs("none", &fs));
    T(fstatfs(77, &fs));
    return 0;
}
