// utime, utimes, futimesat, utimensat.
#include "guest.h"

static void times(const char *path) {
    struct stat s;
    lstat(path, &s);
    printf("  %s: %ld.%09ld %ld.%09ld\n", path, s.st_atim.tv_sec, s.st_atim.tv_nsec, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
}

static int recent(const char *path) {
    struct stat s;
    lstat(path, &s);
    return s.st_mtim.tv_sec > 1700000000;
}

int main(void) {
    put("f", "x");
    T(symlink("f", "l"));
    struct utimbuf seconds = {1000, 2000};
    T(utime("f", &seconds));
    times("f");
    struct timeval micro[2] = {{3, 4}, {5, 999999}};
    T(utimes("f", micro));
    times("f");
    micro[0].tv_usec = 1000000;
    T(utimes("f", micro));
    micro[0].tv_usec = 7;
    T(syscall(SYS_futimesat, AT_FDCWD, "f", micro));
    times("f");
    struct timespec nano[2] = {{-5, 6}, {7000000000, 8}};
    T(utimensat(AT_FDCWD, "f", nano, 0));
    times("f");
    nano[0].tv_nsec = UTIME_OMIT;
    nano[1] = (struct timespec){11, 12};
    T(utimensat(AT_FDCWD, "l", nano, 0));
    times("f");
    nano[0] = (struct timespec){13, 14};
    T(utimensat(AT_FDCWD, "l", nano, AT_SYMLINK_NOFOLLOW));
    times("l");
    times("f");
    nano[1].tv_nsec = 1000000000;
    T(utimensat(AT_FDCWD, "f", nano, 0));
    nano[0].tv_nsec = nano[1].tv_nsec = UTIME_OMIT;
    T(utimensat(AT_FDCWD, "missing", nano, 0));
    nano[0] = nano[1] = (struct timespec){21, 22};
    T(utimensat(AT_FDCWD, "missing", nano, 0));
    T(utimensat(AT_FDCWD, "f", nano, 0x4000));
    int fd = open("f", O_RDONLY);
    T(futimens(fd, nano));
    times("f");
    nano[0].tv_sec = 31;
    T(syscall(SYS_utimensat, fd, NULL, nano, 0));
    times("f");
    T(syscall(SYS_utimensat, fd, NULL, nano, AT_SYMLINK_NOFOLLOW));
    nano[0].tv_sec = 32;
    T(syscall(SYS_utimensat, fd, "", nano, AT_EMPTY_PATH));
    times("f");
    T(syscall(SYS_utimensat, fd, "", nano, 0));
    T(syscall(SYS_utimensat, AT_FDCWD, NULL, nano, 0));
    T(syscall(SYS_utimensat, 77, NULL, nano, 0));
    int path = open("f", O_PATH);
    T(syscall(SYS_utimensat, path, NULL, nano, 0));
    nano[0].tv_sec = 33;
    T(syscall(SYS_utimensat, path, "", nano, AT_EMPTY_PATH));
    times("f");
    T(utimes("f", NULL));
    T(recent("f"));
    T(mkdir("d", 0755));
    nano[1].tv_sec = 41;
    T(utimensat(AT_FDCWD, "d", nano, 0));
    times("d");
    T(truncate("f", 100));
    S("f");
    T(truncate("f", 3));
    S("f");
    T(truncate("f", -1));
    T(truncate("d", 0));
    T(truncate("missing", 0));
    T(recent("f"));

    T(chmod("f", 0666));
    T(chmod(".", 0755));
    AS(1000, {
        T(utimes("f", NULL));
        T(utimensat(AT_FDCWD, "f", nano, 0));
        T(utimes("d", NULL));
        T(truncate("f", 1));
    });
    return 0;
}
