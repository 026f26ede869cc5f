// Extended attributes.
#include "guest.h"

static void list(const char *path) {
    char names[1000];
    ssize_t length = llistxattr(path, names, sizeof names);
    printf("  %s:", path);
    if (length < 0) printf(" %s", strerrorname_np(errno));
    // The order is the file system's.
    int found = 0;
    const char *known[] = {"security.capability", "user.a", "user.b", "trusted.t", "user.empty"};
    for (unsigned k = 0; k < sizeof known / sizeof *known; k++)
        for (char *name = names; name < names + length; name += strlen(name) + 1)
            if (!strcmp(name, known[k])) printf(" %s", name), found++;
    int all = 0;
    for (char *name = names; name < names + length; name += strlen(name) + 1) all++;
    printf(" (%d of %d)\n", found, all);
}

int main(void) {
    static char value[70000];
    put("f", "x");
    T(setxattr("f", "user.a", "one", 3, 0));
    T(setxattr("f", "user.a", "two", 3, XATTR_CREATE));
    T(setxattr("f", "user.a", "three", 5, XATTR_REPLACE));
    T(setxattr("f", "user.b", "b", 1, XATTR_REPLACE));
    T(setxattr("f", "user.b", "b", 1, XATTR_CREATE));
    T(setxattr("f", "user.empty", "", 0, 0));
    T(setxattr("f", "user.a", "x", 1, 4));
    T(getxattr("f", "user.a", value, sizeof value));
    T(memcmp(value, "three", 5));
    T(getxattr("f", "user.a", value, 0));
    T(getxattr("f", "user.a", value, 4));
    T(getxattr("f", "user.empty", value, sizeof value));
    T(getxattr("f", "user.none", value, sizeof value));
    T(getxattr("f", "", value, sizeof value));
    T(getxattr("missing", "user.a", value, sizeof value));
    T(setxattr("f", "user.", "x", 1, 0));
    T(setxattr("f", "nonsense", "x", 1, 0));
    T(setxattr("f", "user.big", value, 70000, 0));
    char name[300] = "user.";
    memset(name + 5, 'n', 251);
    T(setxattr("f", name, "x", 1, 0));
    name[255] = 0;
    T(setxattr("f", name, "x", 1, 0));
    T(removexattr("f", name));
    list("f");
    T(listxattr("f", value, 5));
    T(removexattr("f", "user.b"));
    T(removexattr("f", "user.b"));
    list("f");

    // File capabilities.
    unsigned caps[5] = {0x02000001, 1 << 13, 0, 0, 0};
    T(setxattr("f", "security.capability", caps, sizeof caps, 0));
    T(getxattr("f", "security.capability", value, sizeof value));
    T(memcmp(value, caps, sizeof caps));
    T(setxattr("f", "security.capability", "short", 5, 0));
    list("f");
    T(link("f", "g"));
    list("g");
    // A new owner takes them away.
    T(chown("f", 1, 1));
    list("f");

    T(symlink("f", "l"));
    T(lsetxattr("l", "user.a", "x", 1, 0));
    T(setxattr("l", "user.b", "x", 1, 0));
    T(lgetxattr("l", "user.b", value, sizeof value));
    list("l");
    T(mkdir("d", 0755));
    T(setxattr("d", "user.a", "x", 1, 0));
    list("d");
    T(mkfifo("p", 0644));
    T(setxattr("p", "user.a", "x", 1, 0));
    T(setxattr("f", "trusted.t", "x", 1, 0));
    T(getxattr("f", "trusted.t", value, sizeof value));

    int fd = open("f", O_RDONLY);
    T(fsetxattr(fd, "user.a", "fd", 2, 0));
    T(fgetxattr(fd, "user.a", value, sizeof value));
    T(flistxattr(fd, value, 0) > 0);
    T(fremovexattr(fd, "user.a"));
    int path = open("f", O_PATH);
    T(fgetxattr(path, "user.b", value, sizeof value));
    T(fsetxattr(path, "user.b", "x", 1, 0));
    T(fgetxattr(99, "user.b", value, sizeof value));

    // The calls of Linux 6.13.
    struct xattr_args_ {
        uint64_t value;
        uint32_t size, flags;
    } args = {(uint64_t)(uintptr_t)"at", 2, 0};
    int here = open(".", O_RDONLY | O_DIRECTORY);
    T(syscall(463, here, "f", 0, "user.a", &args, sizeof args));
    args.flags = XATTR_CREATE;
    T(syscall(463, here, "f", 0, "user.a", &args, sizeof args));
    T(syscall(463, here, "f", 0x40, "user.a", &args, sizeof args));
    T(syscall(463, here, "f", 0, "user.a", &args, 8));
    T(syscall(464, here, "f", 0, "user.a", &args, sizeof args));
    args = (struct xattr_args_){(uint64_t)(uintptr_t)value, sizeof value, 0};
    T(syscall(464, here, "f", 0, "user.a", &args, sizeof args));
    T(syscall(464, fd, "", AT_EMPTY_PATH, "user.a", &args, sizeof args));
    T(syscall(464, path, "", AT_EMPTY_PATH, "user.a", &args, sizeof args));
    T(syscall(464, here, "l", AT_SYMLINK_NOFOLLOW, "user.a", &args, sizeof args));
    T(syscall(465, here, "f", 0, value, sizeof value) > 0);
    T(syscall(465, here, "none", 0, value, sizeof value));
    T(syscall(466, here, "f", 0, "user.a"));
    T(syscall(466, here, "f", 0, "user.a"));

    T(rename("f", "moved"));
    list("moved");
    T(chmod("moved", 0644));
    T(chmod(".", 0755));
    AS(1000, {
        T(getxattr("moved", "user.b", value, sizeof value));
        T(setxattr("moved", "user.b", "x", 1, 0));
        T(removexattr("moved", "user.b"));
        T(setxattr("moved", "security.capability", caps, sizeof caps, 0));
        T(getxattr("moved", "trusted.t", value, sizeof value));
        list("moved");
    });
    return 0;
}
