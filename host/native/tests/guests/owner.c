// chmod, chown, stat and umask, as root and as users.
#include "guest.h"

int main(void) {
    T(umask(027));
    T(umask(022));
    put("f", "hello");
    S("f");
    T(chmod("f", 04755));
    S("f");
    T(chown("f", 7, 8));
    S("f");
    T(chmod("f", 06755));
    T(chown("f", -1, 9));
    S("f");
    T(chmod("f", 02644));
    T(chown("f", 7, -1));
    S("f");
    T(chmod("f", 0170644));
    S("f");
    T(chmod("missing", 0644));
    T(chmod("f/x", 0644));
    T(chmod("", 0644));
    T(mkdir("d", 01777));
    S("d");
    T(chmod("d", 02775));
    T(chown("d", 0, 50));
    S("d");
    put("d/in", "x");
    S("d/in");
    T(mkdir("d/sub", 0755));
    S("d/sub");
    T(symlink("f", "l"));
    T(lchown("l", 3, 4));
    S("l");
    S("f");
    T(chown("l", 5, 6));
    S("l");
    S("f");
    T(fchownat(AT_FDCWD, "l", 1, 2, AT_SYMLINK_NOFOLLOW));
    S("l");
    T(syscall(SYS_fchmodat2, AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW));
    T(syscall(SYS_fchmodat2, AT_FDCWD, "f", 0600, 0));
    T(syscall(SYS_fchmodat2, AT_FDCWD, "f", 0600, 0x40));
    S("f");
    int fd = open("f", O_RDONLY);
    T(fchmod(fd, 0751));
    T(fchown(fd, 11, 12));
    T(fchownat(fd, "", 13, -1, AT_EMPTY_PATH));
    T(syscall(SYS_fchmodat2, fd, "", 0752, AT_EMPTY_PATH));
    S("f");
    close(fd);
    T(fchmod(fd, 0700));
    T(fchmod(-1, 0700));
    int path = open("f", O_PATH);
    T(fchmod(path, 0700));
    T(fchown(path, 1, 1));
    T(fchownat(path, "", 14, 15, AT_EMPTY_PATH));
    T(syscall(SYS_fchmodat2, path, "", 0640, AT_EMPTY_PATH));
    S("f");
    close(path);

    // Users.
    T(chmod(".", 0777));
    T(mkdir("sticky", 0777));
    T(chmod("sticky", 01777));
    put("sticky/roots", "r");
    AS(1000, {
        S("f");
        T(chmod("f", 0777));
        T(chown("f", 1000, 1000));
        put("mine", "m");
        S("mine");
        T(chmod("mine", 04700));
        S("mine");
        T(chown("mine", 1000, 1000));
        S("mine");
        T(chown("mine", 0, -1));
        T(chown("mine", -1, 5));
        T(chmod("mine", 02700));
        S("mine");
        T(unlink("sticky/roots"));
        T(rename("sticky/roots", "sticky/moved"));
        put("sticky/mine", "m");
        T(unlink("sticky/mine"));
        put("sticky/mine", "m");
    });
    AS(1001, {
        T(unlink("sticky/mine"));
        T(access("mine", R_OK));
        F(open("mine", O_RDONLY));
        F(open("mine", O_WRONLY));
        T(unlink("mine"));
    });
    S("mine");
    // A user with the group may give files to it.
    fflush(stdout);
    if (!fork()) {
        gid_t groups[] = {5};
        T(setgroups(1, groups));
        T(setresgid(1000, 1000, 1000));
        T(setresuid(1000, 1000, 1000));
        put("shared", "s");
        T(chown("shared", -1, 5));
        T(chmod("shared", 02750));
        S("shared");
        T(chown("shared", -1, 6));
        _exit(0);
    }
    wait(NULL);
    // Writing clears set-id bits for those without CAP_FSETID.
    T(chown("mine", 1000, 1000));
    T(chmod("mine", 06777));
    AS(1000, {
        int w = open("mine", O_WRONLY);
        T(write(w, "x", 1));
        close(w);
        S("mine");
    });
    // Search and read permission.
    T(mkdir("closed", 0700));
    put("closed/in", "x");
    T(mkdir("blind", 0711));
    put("blind/in", "x");
    T(mkdir("dull", 0744));
    put("dull/in", "x");
    AS(1000, {
        S("closed/in");
        S("blind/in");
        S("dull/in");
        F(open("blind", O_RDONLY | O_DIRECTORY));
        F(open("dull", O_RDONLY | O_DIRECTORY));
        F(open("blind/in", O_RDONLY));
        F(open("blind/in", O_RDWR));
        F(open("blind/new", O_WRONLY | O_CREAT, 0644));
        T(mkdir("blind/new", 0755));
        T(access("closed", F_OK));
        T(access("closed", X_OK));
        T(access("dull", R_OK));
        T(access("dull", X_OK));
        T(access("closed/in", F_OK));
        T(chdir("closed"));
        T(chdir("blind"));
        T(rename("in", "out"));
        T(truncate("in", 0));
        T(utimes("in", NULL));
    });
    return 0;
}
