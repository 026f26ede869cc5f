// AF_UNIX sockets: names, peers, credentials, errors; and which families exist.
#include "guest.h"
#include <arpa/inet.h>
#include <stddef.h>

static socklen_t name(struct sockaddr_un *a, const char *text) {
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    size_t length = strlen(text);
    memcpy(a->sun_path, text, length);
    return offsetof(struct sockaddr_un, sun_path) + length + 1;
}

static int binds(int fd, const char *text) {
    struct sockaddr_un a;
    socklen_t length = name(&a, text);
    return bind(fd, (struct sockaddr *)&a, length);
}

static int connects(int fd, const char *text) {
    struct sockaddr_un a;
    socklen_t length = name(&a, text);
    return connect(fd, (struct sockaddr *)&a, length);
}

static int stream(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }

static int listener(const char *text) {
    int fd = stream();
    if (binds(fd, text) || listen(fd, 4)) perror(text);
    return fd;
}

static void address(const char *what, int fd, int (*get)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_un a;
    memset(&a, 0, sizeof a);
    socklen_t length = sizeof a;
    if (get(fd, (struct sockaddr *)&a, &length)) printf("  %s: %s\n", what, strerrorname_np(errno));
    else {
        printf("  %s: family %d length %u", what, a.sun_family, length);
        if (length > 2) printf(" %s%s", a.sun_path[0] ? "" : "@", a.sun_path[0] ? a.sun_path : a.sun_path + 1);
        printf("\n");
    }
    fflush(stdout);
}

static void names(const char *what, int fd) {
    printf("%s\n", what);
    address("own", fd, getsockname);
    address("peer", fd, getpeername);
}

static void credentials(const char *what, int fd, pid_t expected) {
    struct ucred c;
    socklen_t length = sizeof c;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &length)) printf("%s: %s\n", what, strerrorname_np(errno));
    else printf("%s: %s pid, %d:%d\n", what, c.pid == expected ? "that" : c.pid ? "another" : "no", c.uid, c.gid);
    fflush(stdout);
}

static void paths(void) {
    int s = stream(), t = stream();
    T(connects(s, "nobody"));
    T(binds(s, "one"));
    S("one");
    T(binds(s, "two"));
    T(binds(t, "one"));
    T(binds(t, "missing/one"));
    T(binds(t, "one/one"));
    T(connects(t, "one"));
    names("bound", s);
    T(listen(s, 4));
    T(connects(t, "one"));
    T(connects(t, "one"));
    int a = accept(s, NULL, NULL);
    T(write(t, "abc", 3));
    char buffer[8];
    T(read(a, buffer, sizeof buffer));
    names("listening", s);
    names("connected", t);
    names("accepted", a);
    credentials("connected", t, getpid());
    credentials("accepted", a, getpid());
    credentials("fresh", stream(), getpid());
    put("plain", "");
    T(connects(stream(), "plain"));
    T(connects(stream(), "plain/x"));
    T(symlink("one", "link"));
    T(connects(stream(), "link"));
    T(binds(stream(), "link"));
    T(unlink("one"));
    T(connects(stream(), "one"));
    T(rename("plain", "one"));
    F(open("one", O_RDONLY));
    int u = listener("three");
    F(open("three", O_RDONLY));
    T(chmod("three", 0600));
    S("three");
    T(rename("three", "four"));
    T(connects(stream(), "four"));
    names("renamed", u);
}

static void long_names(void) {
    char path[109];
    memset(path, 'n', sizeof path);
    path[107] = 0;
    int s = stream();
    T(binds(s, path));
    T(listen(s, 1));
    T(connects(stream(), path));
    struct sockaddr_un a;
    memset(&a, 'm', sizeof a);
    a.sun_family = AF_UNIX;
    int t = stream();
    T(bind(t, (struct sockaddr *)&a, sizeof a));
    T(bind(t, (struct sockaddr *)&a, sizeof a + 1));
    T(bind(stream(), (struct sockaddr *)&a, 1));
    a.sun_family = AF_INET;
    T(bind(stream(), (struct sockaddr *)&a, sizeof a));
    T(connect(stream(), (struct sockaddr *)&a, sizeof a));
    T(bind(stream(), NULL, 20));
}

static void abstract(void) {
    struct sockaddr_un a;
    memset(&a, 0, sizeof a);
    a.sun_family = AF_UNIX;
    strcpy(a.sun_path + 1, "wbuild-test-name");
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + 16;
    int s = stream(), t = stream();
    T(connect(t, (struct sockaddr *)&a, length));
    T(bind(s, (struct sockaddr *)&a, length));
    T(bind(stream(), (struct sockaddr *)&a, length));
    T(connect(t, (struct sockaddr *)&a, length));
    T(listen(s, 1));
    T(connect(t, (struct sockaddr *)&a, length));
    names("abstract", t);
    T(bind(stream(), (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path)));
}

static void others(void) {
    int s = listener("mine");
    T(chmod("mine", 0600));
    int all = listener("all");
    T(chmod("all", 0666));
    AS(1000, {
        T(connects(stream(), "mine"));
        T(connects(stream(), "all"));
        T(binds(stream(), "here"));
        T(binds(stream(), "/tmp/there"));
        S("/tmp/there");
    });
    int a = accept(all, NULL, NULL);
    struct ucred c;
    socklen_t length = sizeof c;
    T(getsockopt(a, SOL_SOCKET, SO_PEERCRED, &c, &length));
    printf("accepted from %d:%d, that process: %d\n", c.uid, c.gid, c.pid != getpid() && c.pid > 0);
    close(s);
}

static void pairs(void) {
    int p[2];
    char b[8];
    for (int i = 0; i < 3; i++) {
        int kind = i == 0 ? SOCK_STREAM : i == 1 ? SOCK_SEQPACKET : SOCK_DGRAM;
        T(socketpair(AF_UNIX, kind, 0, p));
        T(write(p[0], "ab", 2));
        T(write(p[0], "c", 1));
        T(read(p[1], b, sizeof b));
        names("pair", p[0]);
        credentials("pair", p[0], getpid());
        T(fcntl(p[0], F_GETFD));
    }
    T(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p));
    T(fcntl(p[0], F_GETFD));
    T(read(p[0], b, 1));
    T(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p));
    T(fcntl(p[1], F_GETFD));
    T(read(p[1], b, 1));
    T(socketpair(AF_UNIX, SOCK_STREAM, 9, p));
    T(socketpair(AF_UNIX, SOCK_DGRAM, 0, NULL));
}

static void flags(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    listener("flags");
    T(connects(fd, "flags"));
    T(fcntl(fd, F_GETFD));
    T(fcntl(fd, F_GETFL) & O_NONBLOCK);
    char b;
    T(read(fd, &b, 1));
    fd = stream();
    int copy = dup(fd);
    T(fcntl(fd, F_SETFL, O_NONBLOCK));
    T(connects(fd, "flags"));
    T(read(fd, &b, 1));
    close(copy);
    int value = 1;
    fd = stream();
    T(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &value, sizeof value));
    T(binds(fd, "options"));
    struct stat s;
    T(fstat(fd, &s));
    printf("  socket: %o\n", s.st_mode & S_IFMT);
    T(shutdown(stream(), SHUT_RD));
    T(listen(stream(), 1));
    T(bind(0, NULL, 0));
    T(connect(77, NULL, 0));
    T(connects(0, "flags"));
}

static void internet(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
    T(bind(s, (struct sockaddr *)&a, sizeof a));
    T(listen(s, 1));
    T(getsockname(s, (struct sockaddr *)&a, &length));
    T(connect(c, (struct sockaddr *)&a, sizeof a));
    T(write(c, "x", 1));
    int u = socket(AF_INET, SOCK_DGRAM, 0);
    T(connect(u, (struct sockaddr *)&a, sizeof a));
    F(socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP));
    F(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
    F(socket(AF_NETLINK, SOCK_RAW, 0));
    F(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP) < 0 ? -1 : 0);
}

int main(void) {
    paths();
    long_names();
    abstract();
    others();
    pairs();
    flags();
    internet();
    return 0;
}
