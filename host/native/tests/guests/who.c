// Who a process is: ids across fork and exec, capabilities, limits, and what prctl says.
#include "guest.h"
#include <linux/capability.h>

static void who(void) {
    unsigned r, e, s;
    getresuid(&r, &e, &s);
    printf("  u %u %u %u %u %u", getuid(), geteuid(), r, e, s);
    getresgid(&r, &e, &s);
    printf(" g %u %u %u %u %u G", getgid(), getegid(), r, e, s);
    gid_t groups[32];
    int count = getgroups(32, groups);
    for (int i = 0; i < count; i++) printf(" %u", groups[i]);
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    syscall(SYS_capget, &head, data);
    printf(" c %x %x %x\n", data[0].effective, data[0].permitted, data[0].inheritable);
    fflush(stdout);
}

static void status(void) {
    char line[200];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "Uid", 3) || !strncmp(line, "Gid", 3) || !strncmp(line, "Cap", 3) || !strncmp(line, "Umask", 5))
            printf("  %s", line);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        printf("-- %s\n", argv[1]);
        who();
        if (!strcmp(argv[1], "after exec as root")) status();
        return 0;
    }
    who();
    status();
    gid_t groups[] = {30, 10, 20};
    T(setgroups(3, groups));
    T(getgroups(0, NULL));
    T(getgroups(2, groups));
    T(syscall(SYS_getgroups, -1, groups));
    T(setgroups(70000, groups));
    who();
    struct __user_cap_header_struct head = {0x12345678, 0};
    T(syscall(SYS_capget, &head, NULL));
    T(head.version == _LINUX_CAPABILITY_VERSION_3);
    head.pid = 999999;
    struct __user_cap_data_struct data[2];
    T(syscall(SYS_capget, &head, data));
    head.version = 0;
    T(syscall(SYS_capget, &head, data));
    T(prctl(PR_GET_DUMPABLE));
    T(prctl(PR_SET_DUMPABLE, 0));
    T(prctl(PR_SET_DUMPABLE, 1));
    T(prctl(PR_SET_DUMPABLE, 7));
    T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    T(prctl(PR_GET_KEEPCAPS));
    T(prctl(PR_CAPBSET_READ, 0));
    T(prctl(PR_CAPBSET_READ, 21));
    T(prctl(PR_CAPBSET_READ, 99));
    T(setfsuid(1000));
    T(setfsuid(-1));
    put("as-1000", "x");
    S("as-1000");
    T(setfsuid(0));

    struct rlimit limit;
    T(getrlimit(RLIMIT_LOCKS, &limit));
    T(limit.rlim_cur == RLIM_INFINITY);
    limit.rlim_cur = 5;
    T(setrlimit(RLIMIT_LOCKS, &limit));
    T(prlimit(0, RLIMIT_LOCKS, NULL, &limit));
    T(limit.rlim_cur);
    T(prlimit(getpid(), RLIMIT_LOCKS, NULL, &limit));
    limit.rlim_max = 4;
    T(setrlimit(RLIMIT_LOCKS, &limit));
    limit = (struct rlimit){100, 200};
    T(setrlimit(RLIMIT_NOFILE, &limit));
    T(prlimit(getpid(), RLIMIT_NOFILE, NULL, &limit));
    T(limit.rlim_cur);
    T(prlimit(1 << 22, RLIMIT_NOFILE, NULL, &limit));
    T(prlimit(-1, RLIMIT_NOFILE, NULL, &limit));
    T(prlimit(INT_MIN, RLIMIT_LOCKS, NULL, &limit));
    head = (struct __user_cap_header_struct){_LINUX_CAPABILITY_VERSION_3, -1};
    T(syscall(SYS_capget, &head, data));
    T(syscall(SYS_capset, &head, data));
    // Another process of ours, and one of somebody else's.
    int gate[2];
    T(pipe(gate));
    pid_t other = fork();
    if (!other) {
        char byte;
        close(gate[1]);
        _exit(read(gate[0], &byte, 1) != 0);
    }
    limit = (struct rlimit){50, 60};
    T(prlimit(other, RLIMIT_NOFILE, &limit, NULL));
    limit.rlim_cur = 0;
    T(prlimit(other, RLIMIT_NOFILE, NULL, &limit));
    T(limit.rlim_cur);
    T(prlimit(other, RLIMIT_LOCKS, NULL, &limit));
    T(limit.rlim_cur);
    AS(1000, {
        T(prlimit(other, RLIMIT_NOFILE, NULL, &limit));
        T(prlimit(other, RLIMIT_LOCKS, NULL, &limit));
    });
    close(gate[1]);
    T(waitpid(other, NULL, 0) == other);
    T(syscall(SYS_prlimit64, 0, 99, NULL, &limit));
    T(syscall(SYS_getrlimit, RLIMIT_NOFILE, &limit));

    // execs
    T(chmod("/prog", 0755));
    fflush(stdout);
    if (!fork()) execl("/prog", "prog", "after exec as root", NULL), _exit(1);
    wait(NULL);
    AS(1000, {
        who();
        status();
        T(setuid(0));
        T(setgroups(0, NULL));
        T(setresgid(0, 0, 0));
        T(prctl(PR_CAPBSET_DROP, 0));
        fflush(stdout);
        if (!fork()) execl("/prog", "prog", "a user's exec", NULL), _exit(1);
        wait(NULL);
    });
    T(chmod("/prog", 04755));
    AS(1000, {
        fflush(stdout);
        if (!fork()) execl("/prog", "prog", "set-uid root", NULL), _exit(1);
        wait(NULL);
        T(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
        fflush(stdout);
        if (!fork()) execl("/prog", "prog", "set-uid root without new privileges", NULL), _exit(1);
        wait(NULL);
    });
    T(chown("/prog", 33, 33));
    T(chmod("/prog", 06755));
    fflush(stdout);
    if (!fork()) execl("/prog", "prog", "set-id 33", NULL), _exit(1);
    wait(NULL);
    T(chown("/prog", 0, 0));
    T(chmod("/prog", 0755));
    unsigned caps[5] = {0x02000001, 1 << 7 | 1 << 6, 0, 0, 0};
    T(setxattr("/prog", "security.capability", caps, sizeof caps, 0));
    AS(1000, {
        fflush(stdout);
        if (!fork()) execl("/prog", "prog", "file capabilities", NULL), _exit(1);
        wait(NULL);
    });
    T(removexattr("/prog", "security.capability"));
    T(chmod("/prog", 0700));
    AS(1000, {
        T(execl("/prog", "prog", "not ours", NULL));
        T(access("/prog", X_OK));
    });
    T(chmod("/prog", 0644));
    T(execl("/prog", "prog", "no x bit", NULL));
    T(access("/prog", X_OK));
    T(access("/prog", R_OK | W_OK));
    T(chmod("/prog", 0755));
    return 0;
}
