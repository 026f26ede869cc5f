// The working directory.
#include "guest.h"

static void where(void) {
    char cwd[PATH_MAX];
    long length = syscall(SYS_getcwd, cwd, sizeof cwd);
    if (length < 0) printf("  nowhere: %s\n", strerrorname_np(errno));
    else printf("  %s %ld\n", cwd, length);
}

int main(void) {
    where();
    T(mkdir("a", 0755));
    T(mkdir("a/b", 0755));
    T(symlink("a/b", "l"));
    T(chdir("l"));
    where();
    T(chdir(".."));
    where();
    T(chdir("missing"));
    T(chdir(""));
    put("f", "x");
    T(chdir("f"));
    T(chdir("/"));
    where();
    T(chdir(".."));
    where();
    T(chdir("/tmp/t/a"));
    int dir = open("b", O_RDONLY | O_DIRECTORY);
    T(fchdir(dir));
    where();
    T(fchdir(77));
    int file = open("../f", O_RDONLY);
    T(fchdir(file));
    char small[4];
    T(syscall(SYS_getcwd, small, sizeof small));
    T(syscall(SYS_getcwd, (char *)8, 4096));
    // A child has its own; it starts where its parent is.
    fflush(stdout);
    if (!fork()) {
        where();
        T(chdir("/"));
        where();
        _exit(0);
    }
    wait(NULL);
    where();
    // Renamed and removed underneath.
    T(rename("/tmp/t/a", "/tmp/t/z"));
    where();
    T(rmdir("/tmp/t/z/b"));
    where();
    T(mkdir("x", 0755));
    F(open("x", O_WRONLY | O_CREAT, 0644));
    F(open(".", O_RDONLY));
    S(".");
    T(chdir("."));
    T(chdir(".."));
    where();
    // /proc as a working directory.
    T(chdir("/proc/self"));
    F(open("status", O_RDONLY));
    T(chdir("../sys"));
    where();
    T(chdir("/dev"));
    F(open("null", O_RDWR));
    T(chdir("/tmp"));
    where();
    T(umask(0777));
    T(umask(07022));
    T(umask(0));
    return 0;
}
