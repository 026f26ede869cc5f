// Ways to open, and what can be done with O_PATH descriptors.
#include "guest.h"

static long openat2_(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

int main(void) {
    umask(022);
    F(open("new", O_WRONLY | O_CREAT, 0666));
    S("new");
    F(open("new", O_WRONLY | O_CREAT | O_EXCL, 0666));
    F(open("read-only", O_WRONLY | O_CREAT | O_EXCL, 0400));
    S("read-only");
    int w = open("unwritable", O_RDWR | O_CREAT | O_EXCL, 0);
    T(write(w, "abc", 3));
    close(w);
    S("unwritable");
    F(open("set-id", O_WRONLY | O_CREAT, 07777));
    S("set-id");
    F(open("missing", O_RDONLY));
    F(open("", O_RDONLY));
    F(open("new/", O_RDONLY));
    F(open("new/", O_WRONLY | O_CREAT, 0644));
    F(open("fresh/", O_WRONLY | O_CREAT, 0644));
    F(open("new/x", O_RDONLY));
    F(open("no/x", O_WRONLY | O_CREAT, 0644));
    F(open("new", O_RDONLY | O_DIRECTORY));
    T(mkdir("d", 0755));
    F(open("d", O_RDONLY));
    F(open("d", O_WRONLY));
    F(open("d", O_RDONLY | O_CREAT, 0644));
    F(open("d", O_RDONLY | O_CREAT | O_DIRECTORY, 0644));
    T(symlink("new", "link"));
    T(symlink("created", "dangling"));
    T(symlink("loop", "loop"));
    T(symlink("d", "dlink"));
    F(open("link", O_RDONLY));
    F(open("link", O_RDONLY | O_NOFOLLOW));
    F(open("link", O_WRONLY | O_CREAT | O_EXCL, 0644));
    F(open("dangling", O_WRONLY | O_CREAT | O_EXCL, 0644));
    F(open("dangling", O_WRONLY));
    F(open("dangling", O_WRONLY | O_CREAT, 0600));
    S("created");
    F(open("loop", O_RDONLY));
    F(open("dlink", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    F(open("dlink/", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    F(open("dlink/../new", O_RDONLY));
    F(open((char *)8, O_RDONLY));
    F(openat(77, "new", O_RDONLY));
    F(openat(77, "/tmp", O_RDONLY));
    put("t", "12345");
    F(open("t", O_WRONLY | O_TRUNC));
    S("t");
    F(creat("t2", 0604));
    S("t2");

    // Anonymous files.
    int tmp = open(".", O_TMPFILE | O_RDWR, 0640);
    T(tmp < 0);
    T(write(tmp, "tmp", 3));
    char proc[64];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", tmp);
    T(linkat(AT_FDCWD, proc, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    S("named");
    close(tmp);
    F(open(".", O_TMPFILE | O_RDONLY, 0640));
    F(open("new", O_TMPFILE | O_RDWR, 0640));

    // O_PATH.
    int path = open("t2", O_PATH | O_CLOEXEC);
    char byte;
    T(read(path, &byte, 1));
    T(write(path, "x", 1));
    struct stat s;
    T(fstat(path, &s));
    show_stat("t2", &s);
    T(fcntl(path, F_GETFD));
    T(fchdir(path));
    T(fgetxattr(path, "user.x", &byte, 1));
    int copy = dup(path);
    close(path);
    T(fstat(copy, &s));
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", copy);
    char target[100] = "";
    T(readlink(proc, target, sizeof target));
    puts(target);
    int again = open(proc, O_RDONLY);
    T(fstat(again, &s));
    show_stat("t2", &s);
    close(again);
    F(open(proc, O_WRONLY));
    T(stat(proc, &s));
    show_stat("t2", &s);
    T(chmod(proc, 0606));
    S("t2");
    close(copy);
    int link = open("link", O_PATH | O_NOFOLLOW);
    T(fstat(link, &s));
    show_stat("link", &s);
    char text[10];
    T(readlinkat(link, "", text, sizeof text));
    F(openat(link, "x", O_RDONLY));
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", link);
    F(open(proc, O_RDONLY));
    F(open(proc, O_PATH));
    close(link);
    int dir = open("d", O_PATH | O_DIRECTORY);
    T(mkdirat(dir, "in", 0755));
    F(openat(dir, "in", O_RDONLY | O_DIRECTORY));
    F(openat(dir, "..", O_RDONLY | O_DIRECTORY));
    T(readlinkat(dir, "", text, sizeof text));
    T(fchdir(dir));
    char cwd[100];
    T(strcmp(getcwd(cwd, sizeof cwd), "/tmp/t/d"));
    T(chdir(".."));
    F(open("missing", O_PATH));
    F(open("t2", O_PATH | O_DIRECTORY));
    F(open("fifo-none", O_PATH | O_CREAT, 0644));
    S("fifo-none");
    // Many of them: those that are closed take no room.
    int failed = 0;
    for (int i = 0; i < 3000; i++) {
        int fd = open("d", O_PATH);
        if (fd < 0 || fstatat(fd, "in", &s, 0)) failed++;
        close(fd);
    }
    T(failed);
    close(dir);

    // openat2.
    dir = open("d", O_RDONLY | O_DIRECTORY);
    put("d/file", "x");
    T(symlinkat("../new", dir, "up"));
    T(symlinkat("/file", dir, "absolute"));
    T(symlinkat("file", dir, "beside"));
    F(openat2_(dir, "file", O_RDONLY, 0, 0));
    F(openat2_(dir, "../new", O_RDONLY, 0, 0));
    F(openat2_(dir, "../new", O_RDONLY, 0, RESOLVE_BENEATH));
    F(openat2_(dir, "in/../file", O_RDONLY, 0, RESOLVE_BENEATH));
    F(openat2_(dir, "up", O_RDONLY, 0, RESOLVE_BENEATH));
    F(openat2_(dir, "beside", O_RDONLY, 0, RESOLVE_BENEATH));
    F(openat2_(dir, "beside", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
    F(openat2_(dir, "absolute", O_RDONLY, 0, 0));
    F(openat2_(dir, "absolute", O_RDONLY, 0, RESOLVE_IN_ROOT));
    F(openat2_(dir, "/file", O_RDONLY, 0, RESOLVE_IN_ROOT));
    F(openat2_(dir, "/file", O_RDONLY, 0, RESOLVE_BENEATH));
    F(openat2_(dir, "../../file", O_RDONLY, 0, RESOLVE_IN_ROOT));
    F(openat2_(dir, "made", O_WRONLY | O_CREAT | O_EXCL, 0604, RESOLVE_BENEATH));
    S("d/made");
    F(openat2_(dir, "file", O_RDONLY, 0644, 0));
    F(openat2_(dir, "file", O_RDONLY, 0, 0x1000));
    F(openat2_(dir, "file", 1ull << 40, 0, 0));
    F(openat2_(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
    struct open_how how = {.flags = O_RDONLY};
    F(syscall(SYS_openat2, dir, "file", &how, 8));
    F(syscall(SYS_openat2, dir, "file", &how, 8192));
    char large[64] = {0};
    F(syscall(SYS_openat2, dir, "file", large, sizeof large));
    large[50] = 1;
    F(syscall(SYS_openat2, dir, "file", large, sizeof large));

    // FIFOs: none of these blocks.
    T(mkfifo("fifo", 0666));
    F(open("fifo", O_WRONLY | O_NONBLOCK));
    F(open("fifo", O_RDONLY | O_NONBLOCK));
    int both = open("fifo", O_RDWR);
    T(both < 0);
    F(open("fifo", O_WRONLY));
    F(open("fifo", O_WRONLY | O_CREAT, 0666));
    int reader = open("fifo", O_RDONLY);
    T(fcntl(reader, F_GETFL) & O_NONBLOCK);
    // And this one waits for its peer.
    close(both);
    close(reader);
    fflush(stdout);
    if (!fork()) {
        usleep(50000);
        int out = open("fifo", O_WRONLY);
        _exit(write(out, "y", 1) != 1);
    }
    int in = open("fifo", O_RDONLY);
    T(read(in, &byte, 1));
    int status;
    wait(&status);
    T(status);

    // Sockets and devices.
    T(mknod("sock", S_IFSOCK | 0777, 0));
    F(open("sock", O_RDONLY));
    T(mknod("mem", S_IFCHR | 0666, makedev(1, 1)));
    // (Without a device cgroup the kernel would open it here, so only that it fails is compared.)
    T(mknod("null", S_IFCHR | 0666, makedev(1, 3)));

    // As a user.
    T(chmod(".", 0777));
    AS(1000, {
        F(open("read-only", O_RDONLY));
        F(open("unwritable", O_RDONLY));
        F(open("new", O_RDONLY));
        F(open("new", O_RDWR));
        F(open("new", O_RDONLY | O_TRUNC));
        F(open("t2", O_PATH));
        F(open("mine", O_RDWR | O_CREAT | O_EXCL, 0));
        F(open("mine", O_RDONLY));
        S("mine");
        T(unlink("mine"));
        F(open("d/new", O_WRONLY | O_CREAT, 0644));
        F(open("new", O_RDONLY | O_NOATIME));
        F(open("d", O_TMPFILE | O_RDWR, 0640));
    });
    return 0;
}
