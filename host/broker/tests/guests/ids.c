// Becomes other users as a script says and prints who it is after each step. Run as root on Linux it records what the
// kernel does; the model of identity/ is compared with that record.
//
// usage: ids SCRIPT DIR [OFFSET]     DIR holds copies of this program as DIR/0, DIR/1, .. with set-id bits and file
// capabilities; "exec K" becomes DIR/K, which goes on at the script's OFFSET.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef unsigned long long u64;

static long arg(char **p) { return strtol(*p, p, 0); }

static void state(void) {
    unsigned r, e, s;
    syscall(SYS_getresuid, &r, &e, &s);
    printf(" u %u %u %u %u", r, e, s, (unsigned)syscall(SYS_setfsuid, -1));
    syscall(SYS_getresgid, &r, &e, &s);
    printf(" g %u %u %u %u", r, e, s, (unsigned)syscall(SYS_setfsgid, -1));
    unsigned groups[64];
    long n = syscall(SYS_getgroups, 64, groups);
    printf(" G");
    for (long i = 0; i < n; i++) printf(" %u", groups[i]);
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    syscall(SYS_capget, &head, data);
    u64 b = 0, a = 0;
    for (int i = 0; i <= 40; i++) {
        if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1) b |= 1ull << i;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1) a |= 1ull << i;
    }
    printf(" c %llx %llx %llx %llx %llx", data[0].effective | (u64)data[1].effective << 32,
           data[0].permitted | (u64)data[1].permitted << 32, data[0].inheritable | (u64)data[1].inheritable << 32, b, a);
    printf(" s %x k %d n %d x %lu\n", prctl(PR_GET_SECUREBITS), prctl(PR_GET_KEEPCAPS), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
           getauxval(AT_SECURE));
    fflush(stdout);
}

static long run(char *line) {
    char *p = strchr(line, ' ');
    if (!p) p = line + strlen(line);
    else *p++ = 0;
    if (!strcmp(line, "setuid")) return syscall(SYS_setuid, arg(&p));
    if (!strcmp(line, "setgid")) return syscall(SYS_setgid, arg(&p));
    if (!strcmp(line, "setfsuid")) return syscall(SYS_setfsuid, arg(&p));
    if (!strcmp(line, "setfsgid")) return syscall(SYS_setfsgid, arg(&p));
    long v[5] = {0};
    int n = 0;
    for (char *q = p; n < 5 && *q; n++) v[n] = arg(&q);
    if (!strcmp(line, "setreuid")) return syscall(SYS_setreuid, v[0], v[1]);
    if (!strcmp(line, "setregid")) return syscall(SYS_setregid, v[0], v[1]);
    if (!strcmp(line, "setresuid")) return syscall(SYS_setresuid, v[0], v[1], v[2]);
    if (!strcmp(line, "setresgid")) return syscall(SYS_setresgid, v[0], v[1], v[2]);
    if (!strcmp(line, "setgroups")) {
        unsigned groups[5];
        for (int i = 0; i < n; i++) groups[i] = v[i];
        return syscall(SYS_setgroups, n, groups);
    }
    if (!strcmp(line, "capset")) {
        struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
        struct __user_cap_data_struct data[2];
        for (int i = 0; i < 2; i++) {
            data[i].effective = v[0] >> 32 * i;
            data[i].permitted = v[1] >> 32 * i;
            data[i].inheritable = v[2] >> 32 * i;
        }
        return syscall(SYS_capset, &head, data);
    }
    if (!strcmp(line, "prctl")) return prctl(v[0], v[1], v[2], v[3], v[4]);
    fprintf(stderr, "unknown: %s\n", line);
    exit(2);
}

int main(int argc, char **argv) {
    char line[256];
    FILE *script = fopen(argv[1], "re");
    if (!script) return perror(argv[1]), 2;
    int continued = argc > 3;
    if (continued) {
        fseek(script, atol(argv[3]), SEEK_SET);
        printf("0 0");
        state();
    }
    while (fgets(line, sizeof line, script)) {
        line[strcspn(line, "\n")] = 0;
        if (!strcmp(line, "end")) {
            fflush(stdout);
            if (continued) _exit(0);
            continue;
        }
        if (!strcmp(line, "begin")) {
            fflush(stdout);
            pid_t child = fork();
            if (child) {
                waitpid(child, NULL, 0);
                while (fgets(line, sizeof line, script) && strcmp(line, "end\n")) {}
                continue;
            }
            continued = 1;
            // The child has its own place in the script, by a descriptor of its own.
            long at = ftell(script);
            script = fopen(argv[1], "re");
            fseek(script, at, SEEK_SET);
            printf("begin\n");
            continue;
        }
        if (!strncmp(line, "exec ", 5)) {
            char path[256], at[32];
            snprintf(path, sizeof path, "%s/%s", argv[2], line + 5);
            snprintf(at, sizeof at, "%ld", ftell(script));
            fflush(stdout);
            execl(path, path, argv[1], argv[2], at, NULL);
            printf("-1 %d", errno);
            state();
            continue;
        }
        errno = 0;
        long got = run(line);
        printf("%ld %d", got, got == -1 ? errno : 0);
        state();
    }
    return 0;
}
