/* Attacks by way of sockets. */

static enum outcome makes(long family, int type, int protocol) { return opened(syscall(SYS_socket, family, type | SOCK_CLOEXEC, protocol)); }
static enum outcome netlink_events(void) { return makes(AF_NETLINK, SOCK_RAW, 15); }
static enum outcome netlink_audit(void) { return makes(AF_NETLINK, SOCK_RAW, 9); }
static enum outcome netlink_high(void) { return makes(1L << 33 | AF_NETLINK, SOCK_RAW, 15); }
static enum outcome mptcp(void) { return makes(AF_INET, SOCK_STREAM, 262); }
static enum outcome vsock(void) { return makes(AF_VSOCK, SOCK_STREAM, 0); }

/* Whoever prepared the victim listens on the abstract name of its directory. */
static socklen_t abstract_address(struct sockaddr_un *address, const char *kind)
{
    const char *name = strrchr(victim, '/') + 1;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "%s-%s", name, kind);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static enum outcome abstract_stream(void)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(fd, (struct sockaddr *)&address, abstract_address(&address, "stream")) == 0;
}

static enum outcome abstract_datagram(void)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return sendto(fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&address, abstract_address(&address, "dgram")) == 1;
}

/* A datagram from one end of a pair to a path. */
static enum outcome pair_to_path(void)
{
    struct sockaddr_un address;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) != 0)
        return HELD;
    socklen_t length = unix_address(&address, at_victim("dgram"));
    if (sendto(pair[0], "x", 1, MSG_DONTWAIT, (struct sockaddr *)&address, length) != 1)
        return HELD;
    char byte; /* an address that is ignored leads nowhere */
    return recv(pair[1], &byte, 1, MSG_DONTWAIT) != 1;
}

/* One thread puts other sockets under the number that another connects or binds. */
static int number, others[3];

static void *replace(void *unused)
{
    (void)unused;
    while (!stop)
        for (int i = 0; i < 3; i++)
            dup2(others[i], number);
    return NULL;
}

static enum outcome by_number(int binds)
{
    struct sockaddr_un address;
    char path[4096];
    pthread_t thread;
    int pair[2];
    enum outcome outcome = HELD;
    others[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return HELD;
    others[1] = pair[0];
    others[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    number = fcntl(others[0], F_DUPFD_CLOEXEC, 100);
    stop = 0;
    pthread_create(&thread, NULL, replace, NULL);
    for (int i = 0; outcome == HELD && goes_on(i); i++) {
        snprintf(path, sizeof path, binds ? "%s/bound-%d" : "%s/sock", victim, i);
        socklen_t length = unix_address(&address, path);
        if (binds)
            bind(number, (struct sockaddr *)&address, length);
        else
            outcome = connect(number, (struct sockaddr *)&address, length) == 0;
    }
    stop = 1;
    pthread_join(thread, NULL);
    return outcome;
}

static enum outcome swap_connect(void) { return by_number(0); }
static enum outcome swap_bind(void) { return by_number(1); }

/* A directory that came through a socket, and a walk up from it. */
static enum outcome sent_descriptor(void)
{
    int pair[2], dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC), got = -1;
    char byte = 'x', path[4200];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return HELD;
    control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &dir, sizeof dir);
    if (sendmsg(pair[0], &message, 0) != 1 || recvmsg(pair[1], &message, 0) != 1)
        return HELD;
    memcpy(&got, CMSG_DATA(&control.header), sizeof got);
    snprintf(path, sizeof path, "../../../../../../../../../../..%s", at_victim("secret"));
    return holds_secret((int)syscall(SYS_openat, got, path, O_RDONLY | O_CLOEXEC));
}

/* A step without a network; somebody listens on this port of loopback. */
static int port;

static struct sockaddr_in loopback(void)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static enum outcome net_connect(void)
{
    struct sockaddr_in to = loopback();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}

static enum outcome net_fastopen(void)
{
    struct sockaddr_in to = loopback();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return sendto(fd, "x", 1, 0x20000000 /* MSG_FASTOPEN */, (struct sockaddr *)&to, sizeof to) == 1;
}

static enum outcome net_datagram(void)
{
    struct sockaddr_in to = loopback();
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to) == 1;
}

static enum outcome net_listen(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return listen(fd, 1) == 0;
}

static enum outcome net_six(void)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return bind(fd, (struct sockaddr *)&any, sizeof any) == 0;
}
