/* measure COMMAND...: runs it and prints what it took, with all its descendants, orphans too, on the last line of
 * standard error: `measure: wall_us=N cpu_us=N peak_kib=N`. The exit code is the command's. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long micros(struct timeval t)
{
    return t.tv_sec * 1000000LL + t.tv_usec;
}

int main(int argc, char **argv)
{
    struct timespec start, end;
    struct rusage usage;
    int status, other;
    pid_t child, ended;

    if (argc < 2)
        return 2;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    clock_gettime(CLOCK_MONOTONIC, &start);
    child = fork();
    if (child < 0) {
        perror("measure: fork");
        return 127;
    }
    if (child == 0) {
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    while ((ended = waitpid(-1, &other, 0)) != child)
        if (ended < 0)
            return 127;
    status = other;
    clock_gettime(CLOCK_MONOTONIC, &end);
    /* Orphans count too: they come to this process, and what is still ending gets a second. */
    for (int i = 0; i < 1000 && (ended = waitpid(-1, &other, WNOHANG)) >= 0; i++)
        if (ended == 0)
            usleep(1000);
    getrusage(RUSAGE_CHILDREN, &usage);
    fprintf(stderr, "measure: wall_us=%lld cpu_us=%lld peak_kib=%ld\n",
            (end.tv_sec - start.tv_sec) * 1000000LL + (end.tv_nsec - start.tv_nsec) / 1000,
            micros(usage.ru_utime) + micros(usage.ru_stime), usage.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
