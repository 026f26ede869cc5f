// fsync, fdatasync, sync_file_range, sync, syncfs: a step does not wait for a disk, and tells what Linux tells.
#include "guest.h"

int main(void) {
    put("f", "x");
    mkdir("d", 0755);
    int f = open("f", O_RDWR), r = open("f", O_RDONLY), d = open("d", O_RDONLY), path = open("f", O_PATH);
    int p[2], s[2];
    pipe(p);
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    T(fsync(f));
    T(fdatasync(f));
    T(fsync(r));
    T(fsync(d));
    T(fdatasync(d));
    T(fsync(p[0]));
    T(fdatasync(p[1]));
    T(fsync(s[0]));
    T(fsync(-1));
    T(fdatasync(-1));
    T(fsync(99));
    T(fsync(AT_FDCWD));
    T(fsync(path));
    T(fdatasync(path));
    T(syncfs(path));
    T(sync_file_range(f, 0, 0, SYNC_FILE_RANGE_WRITE));
    T(sync_file_range(f, 0, 0, 7));
    T(sync_file_range(f, 0, 0, 8));
    T(sync_file_range(f, -1, 0, 1));
    T(sync_file_range(f, 0, -1, 1));
    T(sync_file_range(f, INT64_MAX, 1, 1));
    T(sync_file_range(d, 0, 0, 1));
    T(sync_file_range(p[0], 0, 0, 1));
    T(sync_file_range(99, 0, 0, 1));
    T(sync_file_range(99, 0, 0, 8));
    T(syncfs(f));
    T(syncfs(99));
    T(unlink("f"));
    T(fsync(f));
    sync();
    write(f, "more", 4);
    T(fsync(f));
    char text[8] = "";
    T(pread(f, text, 7, 0));
    printf("  %s\n", text);
    return 0;
}
