// Many processes that change who and where they are, fork, and must find themselves as they were.
#include "guest.h"
#include <pthread.h>
#include <sys/file.h>

static int wrong(int uid, int mask, const char *cwd) {
    char now[PATH_MAX];
    int is_mask = umask(mask);
    return (int)getuid() != uid || is_mask != mask || !getcwd(now, sizeof now) || strcmp(now, cwd) != 0;
}

// Walks through many directories; a child at each checks what it inherited, and leaves a grandchild that checks later.
static int walk(int me, int rounds) {
    int bad = 0;
    char name[64];
    for (int i = 0; i < rounds; i++) {
        snprintf(name, sizeof name, "/tmp/t/w%d/d%d", me, i % 100);
        if (chdir(name)) bad++;
        int mask = (me * 64 + i) & 0777;
        umask(mask);
        if (i % 10) continue;
        pid_t child = fork();
        if (!child) {
            if (fork() == 0) {
                usleep(1000 * (i % 30));
                _exit(wrong(0, mask, name) ? 9 : 0);
            }
            int inner = wrong(0, mask, name), status;
            if (setresuid(1000 + i, 1000 + i, 1000 + i)) inner++;
            inner += wrong(1000 + i, mask, name);
            wait(&status);
            _exit(inner || status);
        }
        int status;
        waitpid(child, &status, 0);
        if (status) bad++;
    }
    return bad;
}

static pthread_barrier_t start_line;
static int threads_bad;

// One thread moves while the other changes the mask: neither may undo the other's.
static void *mover(void *unused) {
    pthread_barrier_wait(&start_line);
    for (int i = 0; i < 2000; i++) {
        char now[PATH_MAX];
        const char *to = i % 2 ? "/tmp/t/a" : "/tmp/t/b";
        if (chdir(to) || !getcwd(now, sizeof now) || strcmp(now, to)) threads_bad++;
    }
    return unused;
}

// A lock goes with the descriptor: once it is closed, who is told so finds the file free. The descriptors are read-only, which a
// broker may close later than the guest does.
static int lock(const char *name, int rounds) {
    int told[2], done[2];
    if (pipe(told) || pipe(done)) return -1;
    pid_t peer = fork();
    if (!peer) {
        int refused = 0, own = open(name, O_RDONLY);
        char byte;
        close(told[1]);
        while (read(told[0], &byte, 1) == 1) {
            if (byte == 'f' && flock(own, LOCK_EX | LOCK_NB)) refused++;
            if (byte == 'f') flock(own, LOCK_UN);
            struct flock whole = {.l_type = F_RDLCK};
            if (byte == 'o' && fcntl(own, F_OFD_SETLK, &whole)) refused++;
            whole.l_type = F_UNLCK;
            if (byte == 'o') fcntl(own, F_OFD_SETLK, &whole);
            if (write(done[1], "d", 1) != 1) refused++;
        }
        _exit(refused != 0);
    }
    char byte;
    int refused = 0, status;
    for (int i = 0; i < rounds; i++) {
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        if (flock(fd, LOCK_EX | LOCK_NB)) refused++;
        close(fd);
        if (write(told[1], "f", 1) != 1 || read(done[0], &byte, 1) != 1) refused++;
    }
    for (int i = 0; i < rounds; i++) {
        struct flock whole = {.l_type = F_WRLCK};
        int fd = open(name, O_RDWR | O_CLOEXEC);
        if (fcntl(fd, F_OFD_SETLK, &whole)) refused++;
        close(fd);
        if (write(told[1], "o", 1) != 1 || read(done[0], &byte, 1) != 1) refused++;
    }
    close(told[1]);
    waitpid(peer, &status, 0);
    return refused + (status != 0);
}

int main(void) {
    umask(0);
    for (int me = 0; me < 4; me++) {
        char name[64];
        snprintf(name, sizeof name, "w%d", me);
        if (mkdir(name, 0755)) perror(name);
        for (int i = 0; i < 100; i++) {
            snprintf(name, sizeof name, "w%d/d%d", me, i);
            if (mkdir(name, 0777)) perror(name);
        }
    }
    T(mkdir("a", 0755));
    T(mkdir("b", 0755));
    fflush(stdout);
    for (int me = 0; me < 4; me++)
        if (!fork()) _exit(walk(me, 600) != 0);
    int failed = 0, status;
    while (wait(&status) > 0) failed += status != 0;
    T(failed);

    pthread_t thread;
    int masks = 0;
    pthread_barrier_init(&start_line, NULL, 2);
    pthread_create(&thread, NULL, mover, NULL);
    pthread_barrier_wait(&start_line);
    int last = umask(0);
    last = 0;
    for (int i = 1; i <= 2000; i++) {
        if ((int)umask(i & 0777) != last) masks++;
        last = i & 0777;
    }
    pthread_join(thread, NULL);
    T(threads_bad);
    T(masks);

    fflush(stdout);
    for (int me = 0; me < 4; me++)
        if (!fork()) {
            char name[64];
            snprintf(name, sizeof name, "/tmp/t/lock%d", me);
            put(name, "");
            _exit(lock(name, 1500) != 0);
        }
    failed = 0;
    while (wait(&status) > 0) failed += status != 0;
    T(failed);
    return 0;
}
