/* What the attacks share: the victim outside of the tree, and how a success is known. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <time.h>
#include <unistd.h>

#define MARK "secret of the host"
/* A program that ends with this has been executed where it must not be. */
#define RAN 77

enum outcome { HELD = 0, GOT = 1 };

struct attack {
    const char *name;
    enum outcome (*run)(void);
};

/* The victim's directory, an absolute path of the host that no tree has:
 *   secret, file, link (to secret), doomed, empty/, dir/, prog (exits RAN), sock and dgram (listening), all open to everybody. */
static const char *victim;
/* How often a race is tried at least, and for how many milliseconds. */
static int tries = 150, least;

static long milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* For the loop of a race: whether it goes on in this round. */
static int goes_on(int round)
{
    static long start;
    if (round == 0)
        start = milliseconds();
    return round < tries || milliseconds() - start < least;
}

static enum outcome holds_secret(int fd)
{
    char text[256] = {0};
    if (fd < 0)
        return HELD;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 && strstr(text, MARK) != NULL;
}

static const char *at_victim(const char *leaf)
{
    static _Thread_local char path[4096];
    snprintf(path, sizeof path, "%s/%s", victim, leaf);
    return path;
}

static enum outcome opened(long fd)
{
    if (fd < 0)
        return HELD;
    close((int)fd);
    return GOT;
}

/* What a child makes of itself: GOT if it ends with RAN. */
static enum outcome in_child(void (*act)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        act();
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == RAN;
}
