/* agent SOCKET HOST: everything that must not be possible with a forwarded SSH agent. Prints `ESCAPED: way` for each way that works,
 * `listed` where the agent lists keys as it should, and `tried N` at the end. HOST is a socket of the host. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int tried;

static int reach(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (fd >= 0 && connect(fd, (void *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The first byte of the answer; -1 for none. */
static int ask(int fd, const uint8_t *body, uint32_t length)
{
    uint8_t head[5] = {length >> 24, length >> 16, length >> 8, length};
    uint8_t rest[4096];
    uint32_t left;
    if (write(fd, head, 4) != 4 || write(fd, body, length) != (ssize_t)length || read(fd, head, 5) != 5)
        return -1;
    left = (head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3]) - 1;
    while (left > 0) {
        ssize_t n = read(fd, rest, left < sizeof rest ? left : sizeof rest);
        if (n <= 0)
            return -1;
        left -= n;
    }
    return head[4];
}

static void request(const char *path, const char *way, const uint8_t *body, uint32_t length)
{
    int fd = reach(path), answer = fd < 0 ? -1 : ask(fd, body, length);
    tried++;
    if (answer == 12 && body[0] == 11)
        printf("listed\n");
    /* SSH_AGENT_SUCCESS and the answer of an extension. */
    if (answer == 6 || answer == 29)
        printf("ESCAPED: %s\n", way);
    close(fd);
}

static void connects(const char *path, const char *way)
{
    int fd = reach(path);
    tried++;
    if (fd >= 0)
        printf("ESCAPED: %s: %s\n", way, path);
    close(fd);
}

int main(int argc, char **argv)
{
    static const uint8_t lock[] = {22, 0, 0, 0, 1, 'x'}, unlock[] = {23, 0, 0, 0, 1, 'x'}, list[] = {11};
    static const uint8_t query[] = {27, 0, 0, 0, 5, 'q', 'u', 'e', 'r', 'y'};
    char above[4096], link[] = "/tmp/link-to-the-host";
    struct stat seen;
    if (argc != 3)
        return 2;
    request(argv[1], "list", list, sizeof list);
    request(argv[1], "lock", lock, sizeof lock);
    request(argv[1], "unlock", unlock, sizeof unlock);
    request(argv[1], "an extension", query, sizeof query);
    request(argv[1], "remove all", (const uint8_t[]){19}, 1);
    connects(argv[2], "a socket of the host");
    snprintf(above, sizeof above, "/../../../../../..%s", argv[2]);
    connects(above, "a socket of the host by ..");
    snprintf(above, sizeof above, "/proc/self/root%s", argv[2]);
    connects(above, "a socket of the host by /proc");
    symlink(argv[2], link);
    connects(link, "a socket of the host by a link");
    unlink(link);
    tried += 3;
    if (lstat(argv[1], &seen) == 0 && (unlink(argv[1]) == 0 || rename(argv[1], link) == 0))
        printf("ESCAPED: the socket is moved\n");
    if (symlink(argv[2], argv[1]) == 0)
        printf("ESCAPED: the socket is replaced\n");
    if (chmod(argv[1], 0777) == 0)
        printf("ESCAPED: the socket is everybody's\n");
    printf("tried %d\n", tried);
    return 0;
}
