// inotify: watches by path, events, errors.
#include "guest.h"
#include <sys/inotify.h>

static void events(int fd) {
    char buffer[4096] __attribute__((aligned(8)));
    ssize_t length = read(fd, buffer, sizeof buffer);
    if (length < 0) {
        printf("  %s\n", strerrorname_np(errno));
        return;
    }
    for (char *at = buffer; at < buffer + length;) {
        struct inotify_event *e = (struct inotify_event *)at;
        printf("  watch %d mask %x %s\n", e->wd, e->mask, e->len ? e->name : "");
        at += sizeof *e + e->len;
    }
    fflush(stdout);
}

int main(void) {
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    T(fcntl(fd, F_GETFD));
    events(fd);
    T(mkdir("d", 0755));
    T(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
    put("d/new", "text");
    events(fd);
    int copy = dup(fd);
    T(inotify_add_watch(copy, "d/../d", IN_CREATE | IN_DELETE));
    put("d/new", "more");
    events(fd);
    T(unlink("d/new"));
    events(copy);
    T(symlink("d", "link"));
    T(inotify_add_watch(fd, "link", IN_CREATE));
    T(inotify_add_watch(fd, "link", IN_CREATE | IN_DONT_FOLLOW));
    T(inotify_add_watch(fd, "link", IN_CREATE | IN_MASK_ADD));
    T(inotify_add_watch(fd, "d", IN_CREATE | IN_MASK_CREATE));
    put("file", "x");
    T(inotify_add_watch(fd, "file", IN_ONLYDIR | IN_MODIFY));
    T(inotify_add_watch(fd, "file", IN_MODIFY | IN_ONESHOT | IN_ATTRIB));
    T(chmod("file", 0600));
    events(fd);
    T(inotify_add_watch(fd, "missing", IN_MODIFY));
    T(inotify_add_watch(fd, "file/x", IN_MODIFY));
    T(inotify_add_watch(fd, "", IN_MODIFY));
    T(inotify_add_watch(fd, "file", 0));
    T(inotify_add_watch(0, "file", IN_MODIFY));
    T(inotify_add_watch(99, "file", IN_MODIFY));
    T(inotify_rm_watch(fd, 1));
    events(fd);
    T(inotify_rm_watch(fd, 1));
    T(inotify_init1(3));
    T(mkdir("m", 0755));
    T(inotify_add_watch(fd, "m", IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF));
    T(rename("file", "m/file"));
    T(rename("m", "n"));
    T(unlink("n/file"));
    T(rmdir("n"));
    events(fd);
    T(mkdir("private", 0700));
    T(chmod("private", 0700));
    AS(1000, {
        int other = inotify_init();
        T(inotify_add_watch(other, "private", IN_CREATE));
        T(inotify_add_watch(other, "private/x", IN_CREATE));
        T(inotify_add_watch(other, "d", IN_OPEN));
        close(open("d", O_RDONLY | O_DIRECTORY));
        events(other);
        T(inotify_add_watch(fd, "d", IN_DELETE));
    });
    // Far more than a user may have at a time.
    int made = 0;
    for (int i = 0; i < 1000; i++) {
        int one = inotify_init();
        if (one >= 0 && inotify_add_watch(one, "d", IN_CREATE) == 1) made++;
        close(one);
    }
    printf("made %d\n", made);
    return 0;
}
