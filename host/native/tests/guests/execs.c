// Programs, scripts and what stays across an exec. Started with the argument `tell` it says how it was started. Not told: the name in /proc/self/comm, which
// is that of the file that is executed in the end, not of a link or script that led to it.
#include "guest.h"
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

extern char **environ;
static char *const TELL[] = {"name", "tell", "x y", "", NULL};
static char *const ENV[] = {"A=1", "B=", NULL};

static void tell(int argc, char **argv) {
    char text[PATH_MAX] = "";
    printf("  argc %d:", argc);
    for (int i = 0; i < argc; i++) printf(" [%s]", argv[i]);
    ssize_t length = readlink("/proc/self/exe", text, sizeof text - 1);
    printf("\n  exe %.*s", (int)(length < 0 ? 0 : length), text);
    printf(", ids %d %d", getuid(), geteuid());
    for (char **at = environ; *at; at++) printf(", %s", *at);
    for (int fd = 10; fd < 13; fd++) printf(", %d %s", fd, fcntl(fd, F_GETFD) < 0 ? "closed" : "open");
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    struct sigaction action;
    sigaction(SIGUSR2, NULL, &action);
    printf(", USR1 %s, USR2 %s\n", sigismember(&mask, SIGUSR1) ? "blocked" : "free",
           action.sa_handler == SIG_IGN ? "ignored" : action.sa_handler == SIG_DFL ? "default" : "handled");
    fflush(stdout);
}

static void handler(int signal) { (void)signal; }

// Runs an exec in a process of its own; what it answers is told, or what the new program tells.
#define X(call) do { \
        printf("%s\n", #call); \
        fflush(stdout); \
        pid_t child_ = fork(); \
        if (!child_) { \
            errno = 0; \
            call; \
            printf("  failed: %s\n", strerrorname_np(errno)); \
            fflush(stdout); \
            _exit(9); \
        } \
        int status_ = 0; \
        waitpid(child_, &status_, 0); \
        printf("  status %x\n", status_); \
    } while (0)

static void script(const char *path, const char *text, mode_t mode) {
    put(path, text);
    if (chmod(path, mode)) perror("chmod");
}

static void *execute(void *unused) {
    (void)unused;
    execve("/prog", TELL, ENV);
    return NULL;
}

static void from_a_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, execute, NULL);
    pause();
}

static void from_vfork(void) {
    pid_t child = vfork();
    if (!child) {
        execve("/prog", TELL, ENV);
        _exit(8);
    }
    waitpid(child, NULL, 0);
    _exit(0);
}

static void spawned(const char *path) {
    pid_t child;
    int error = posix_spawn(&child, path, NULL, NULL, TELL, ENV);
    if (error) printf("  posix_spawn: %s\n", strerrorname_np(error));
    else waitpid(child, NULL, 0);
    fflush(stdout);
    _exit(0);
}

static int self_copy(const char *name, int how) {
    int in = open("/prog", O_RDONLY | O_CLOEXEC);
    int out = how < 0 ? memfd_create(name, 0) : open(name, O_RDWR | O_CREAT | O_TRUNC, how);
    struct stat s;
    fstat(in, &s);
    off_t at = 0;
    while (at < s.st_size && sendfile(out, in, &at, s.st_size - at) > 0) {}
    close(in);
    return out;
}

int main(int argc, char **argv) {
    // Whatever it was started with: it never begins anew.
    if (getenv("A") || argc != 1 || strcmp(argv[0], "/prog") != 0) {
        tell(argc, argv);
        return argc;
    }
    close_range(3, ~0U, 0);
    X(execve("/prog", TELL, ENV));
    T(symlink("/prog", "link"));
    X(execve("link", TELL, ENV));
    X(execve("./link", TELL, ENV));
    X(execve("missing", TELL, ENV));
    X(execve("", TELL, ENV));
    X(execve("/tmp", TELL, ENV));
    X(execve("/prog/", TELL, ENV));
    X(syscall(SYS_execve, 8L, TELL, ENV));
    X(syscall(SYS_execve, "/prog", 8L, ENV));
    X(syscall(SYS_execve, "/prog", TELL, 8L));
    X(syscall(SYS_execve, "/prog", NULL, ENV));
    int prog = open("/prog", O_PATH | O_CLOEXEC), root = open("/", O_PATH | O_CLOEXEC), here = open(".", O_RDONLY | O_CLOEXEC);
    X(syscall(SYS_execveat, root, "prog", TELL, ENV, 0));
    X(syscall(SYS_execveat, here, "link", TELL, ENV, 0));
    X(syscall(SYS_execveat, here, "link", TELL, ENV, AT_SYMLINK_NOFOLLOW));
    X(syscall(SYS_execveat, prog, "", TELL, ENV, 0));
    X(syscall(SYS_execveat, 77, "prog", TELL, ENV, 0));
    X(syscall(SYS_execveat, prog, "x", TELL, ENV, 0));
    X(syscall(SYS_execveat, here, "", TELL, ENV, AT_EMPTY_PATH));
    X(syscall(SYS_execveat, root, "prog", TELL, ENV, 0x4000));
    // What is no program.
    script("empty", "", 0755);
    X(execve("empty", TELL, ENV));
    script("garbage", "hello there\n", 0755);
    X(execve("garbage", TELL, ENV));
    script("short", "\177ELF", 0755);
    X(execve("short", TELL, ENV));
    script("plain", "#!/prog tell\n", 0644);
    X(execve("plain", TELL, ENV));
    T(mkfifo("fifo", 0755));
    X(execve("fifo", TELL, ENV));
    // Scripts.
    script("script", "#!/prog\n", 0755);
    X(execve("script", TELL, ENV));
    X(execve("./script", TELL, ENV));
    script("script-1", "#! \t/prog  -a  b c \t\nrest\n", 0755);
    X(execve("script-1", TELL, ENV));
    script("script-2", "#!script-1 two\n", 0755);
    X(execve("script-2", TELL, ENV));
    script("script-3", "#!/tmp/t/script-2\n", 0755);
    X(execve("script-3", TELL, ENV));
    script("script-4", "#!/tmp/t/script-3\n", 0755);
    X(execve("script-4", TELL, ENV));
    script("script-5", "#!/tmp/t/script-4\n", 0755);
    X(execve("script-5", TELL, ENV));
    script("script-6", "#!/tmp/t/script-5\n", 0755);
    X(execve("script-6", TELL, ENV));
    script("script-self", "#!/tmp/t/script-self\n", 0755);
    X(execve("script-self", TELL, ENV));
    script("script-none", "#!/missing\n", 0755);
    X(execve("script-none", TELL, ENV));
    script("script-bare", "#!\n", 0755);
    X(execve("script-bare", TELL, ENV));
    script("script-dir", "#!/tmp\n", 0755);
    X(execve("script-dir", TELL, ENV));
    script("script-no-x", "#!/tmp/t/plain\n", 0755);
    X(execve("script-no-x", TELL, ENV));
    script("script-no-end", "#!/prog -last", 0755);
    X(execve("script-no-end", TELL, ENV));
    int text = open("script", O_RDONLY), closing = open("script", O_RDONLY | O_CLOEXEC);
    X(syscall(SYS_execveat, closing, "", TELL, ENV, AT_EMPTY_PATH));
    X(syscall(SYS_execveat, here, "script", TELL, ENV, 0));
    close(text);
    // Written, it is busy; closed, it is not.
    int busy = self_copy("busy", 0755);
    X(execve("busy", TELL, ENV));
    close(busy);
    X(execve("busy", TELL, ENV));
    // What stays.
    dup2(here, 10);
    dup3(here, 11, O_CLOEXEC);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGUSR2, SIG_IGN);
    X(execve("/prog", TELL, ENV));
    signal(SIGUSR2, handler);
    X(execve("/prog", TELL, ENV));
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
    X(from_a_thread());
    X(from_vfork());
    X(spawned("/prog"));
    X(spawned("missing"));
    X(spawned("script-1"));
    // Other users' programs, and programs with other users' ids.
    T(chmod("busy", 0700));
    AS(1000, X(execve("busy", TELL, ENV)); X(execve("/prog", TELL, ENV)); X(execve("script-1", TELL, ENV)));
    T(chmod("busy", 04755));
    AS(1000, X(execve("busy", TELL, ENV)));
    T(chown("busy", 1001, 1002));
    T(chmod("busy", 06755));
    AS(1000, X(execve("busy", TELL, ENV)));
    X(execve("busy", TELL, ENV));
    T(mkdir("closed", 0700));
    T(rename("busy", "closed/busy"));
    AS(1000, X(execve("closed/busy", TELL, ENV)));
    script("script-suid", "#!/prog\n", 04755);
    AS(1000, X(execve("script-suid", TELL, ENV)));
    // Too much.
    static char *many[40000];
    char *big = malloc(131073 + 1);
    memset(big, 'x', 131073);
    big[131073] = 0;
    char *one[] = {"name", big, NULL};
    X(execve("/prog", one, ENV));
    big[131071 - 1] = 0;
    for (int i = 0; i < 39999; i++) many[i] = i == 0 ? "name" : i < 100 ? big : "x";
    X(execve("/prog", many, ENV));
    return 0;
}
