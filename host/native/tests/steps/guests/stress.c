// Guest programs that a naive broker fails; each first passes natively. Usage: stress NAME [ROUNDS]; 0 on success.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static int rounds = 100;

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s: %s\n", __func__, __LINE__, #condition, strerror(errno)); \
			exit(1); \
		} \
	} while (0)

static int in_parallel(int processes, int (*work)(int)) {
	for (int i = 0; i < processes; i++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) _exit(work(i));
	}
	int failures = 0, status;
	while (wait(&status) > 0) failures += status != 0;
	return failures != 0;
}

// The smallest static program: exit(0).
static const unsigned char EXIT[] = {
	0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0, 0,
	64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0,
	0x81, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
	0x31, 0xff, 0xb8, 231, 0, 0, 0, 0x0f, 0x05};

static int write_close_exec_one(int which) {
	char name[32];
	snprintf(name, sizeof name, "wce-%d", which);
	for (int i = 0; i < rounds; i++) {
		int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);
		CHECK(fd >= 0 && write(fd, EXIT, sizeof EXIT) == sizeof EXIT && close(fd) == 0);
		pid_t child = vfork();
		CHECK(child >= 0);
		if (child == 0) {
			execl(name, name, NULL);
			_exit(errno == ETXTBSY ? 26 : 1);
		}
		int status;
		CHECK(waitpid(child, &status, 0) == child);
		if (status != 0) {
			fprintf(stderr, "round %d: %s\n", i, WEXITSTATUS(status) == 26 ? "ETXTBSY" : "failed");
			return 1;
		}
		CHECK(unlink(name) == 0);
	}
	return 0;
}

static int write_close_exec(void) { return in_parallel(4, write_close_exec_one); }

static int flock_one(int which) {
	char name[32];
	snprintf(name, sizeof name, "lock-%d", which);
	for (int i = 0; i < rounds; i++) {
		int fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
		CHECK(fd >= 0);
		CHECK(flock(fd, LOCK_EX | LOCK_NB) == 0);
		CHECK(close(fd) == 0);
	}
	return 0;
}

static int flocks(void) { return in_parallel(4, flock_one); }

static void *chdirs(void *unused) {
	for (int i = 0; i < rounds; i++) {
		char cwd[256];
		CHECK(chdir(i % 2 ? "left" : "right") == 0);
		CHECK(getcwd(cwd, sizeof cwd) && strcmp(strrchr(cwd, '/'), i % 2 ? "/left" : "/right") == 0);
		CHECK(chdir("..") == 0);
	}
	return unused;
}

static void *umasks(void *unused) {
	for (int i = 0; i < rounds; i++) {
		umask(i % 2 ? 022 : 077);
		CHECK(umask(i % 2 ? 022 : 077) == (mode_t)(i % 2 ? 022 : 077));
	}
	return unused;
}

static int chdir_against_umask(void) {
	CHECK(mkdir("left", 0755) == 0 && mkdir("right", 0755) == 0);
	pthread_t a, b;
	CHECK(pthread_create(&a, NULL, chdirs, NULL) == 0 && pthread_create(&b, NULL, umasks, NULL) == 0);
	CHECK(pthread_join(a, NULL) == 0 && pthread_join(b, NULL) == 0);
	return 0;
}

static int open_descriptors(void) {
	int count = 0;
	for (int fd = 0; fd < 256; fd++) count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

// A failed exec must give the old registers, signals and descriptors back.
static int exec_too_big(void) {
	size_t count = 40000;
	char **args = calloc(count + 1, sizeof *args), *filler = malloc(500);
	memset(filler, 'x', 499);
	filler[499] = 0;
	for (size_t i = 0; i < count; i++) args[i] = filler;
	sigset_t before, after;
	CHECK(sigprocmask(SIG_SETMASK, NULL, &before) == 0);
	int descriptors = open_descriptors();
	for (int i = 0; i < 20; i++) {
		register long kept asm("r12") = 0x1234567;
		errno = 0;
		CHECK(execve("/bin/busybox", args, environ) == -1 && errno == E2BIG);
		asm volatile("" : "+r"(kept));
		CHECK(kept == 0x1234567);
		// The raw call keeps every register but rax, rcx and r11.
		register const char *path asm("rdi") = "/bin/busybox";
		register char **argv asm("rsi") = args, **envp asm("rdx") = environ;
		register long r10 asm("r10") = 10, r8 asm("r8") = 8, r9 asm("r9") = 9;
		long result = SYS_execve;
		asm volatile("syscall" : "+a"(result), "+r"(path), "+r"(argv), "+r"(envp), "+r"(r10), "+r"(r8), "+r"(r9)::"rcx", "r11", "memory");
		CHECK(result == -E2BIG && argv == args && envp == environ && r10 == 10 && r8 == 8 && r9 == 9 && *path == '/');
	}
	CHECK(sigprocmask(SIG_SETMASK, NULL, &after) == 0 && memcmp(&before, &after, 8) == 0);
	CHECK(open_descriptors() == descriptors);
	return 0;
}

static int many_arguments(void) {
	static char *args[100003];
	args[0] = "busybox";
	args[1] = "true";
	for (int i = 2; i < 100002; i++) args[i] = "a";
	pid_t child;
	int status;
	CHECK(posix_spawn(&child, "/bin/busybox", NULL, NULL, args, environ) == 0);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	return 0;
}

// A child that shared its parent's memory until its exec makes path calls with strings of its own memory.
static int spawned_reads(void) {
	for (int i = 0; i < rounds; i++) {
		char *args[] = {"busybox", "sh", "-c", "cd / && [ -f bin/busybox ] && ls / > /dev/null", NULL};
		pid_t child;
		int status;
		CHECK(posix_spawn(&child, "/bin/busybox", NULL, NULL, args, environ) == 0);
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	return 0;
}

static void *spawns(void *unused) {
	for (int i = 0; i < rounds; i++) {
		pid_t child;
		int status;
		char *args[] = {"busybox", "true", NULL};
		int error = posix_spawn(&child, "/bin/busybox", NULL, NULL, args, environ);
		errno = error;
		CHECK(error == 0);
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	return unused;
}

static int threads_spawn(void) {
	pthread_t threads[8];
	for (int i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, spawns, NULL) == 0);
	for (int i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
	return 0;
}

static void nothing(int signal) { (void)signal; }

// vfork and exec while signals rain on the parent and its children.
static int spawn_in_a_signal_storm(void) {
	struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	pid_t me = getpid(), storm = fork();
	CHECK(storm >= 0);
	if (storm == 0) {
		while (kill(me, SIGUSR1) == 0) usleep(50);
		_exit(0);
	}
	for (int i = 0; i < rounds; i++) {
		int status;
		pid_t child = vfork();
		CHECK(child >= 0);
		if (child == 0) {
			execl("/bin/busybox", "busybox", "true", NULL);
			_exit(errno);
		}
		CHECK(waitpid(child, &status, 0) == child);
		CHECK(status == 0);
		struct stat stat_of;
		CHECK(stat("/bin/busybox", &stat_of) == 0);
	}
	CHECK(kill(storm, SIGKILL) == 0 && waitpid(storm, NULL, 0) == storm);
	return 0;
}

static void *exec_from_thread(void *unused) {
	execl("/bin/busybox", "busybox", "true", NULL);
	perror("exec");
	exit(1);
	return unused;
}

static int thread_execs(void) {
	for (int i = 0; i < rounds; i++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			pthread_t threads[3];
			for (int t = 0; t < 3; t++) pthread_create(&threads[t], NULL, exec_from_thread, NULL);
			for (;;) pause();
		}
		int status;
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	return 0;
}

// Objects are shared by key between processes and can be removed.
static int system_v(void) {
	int memory = shmget(4711, 4096, IPC_CREAT | IPC_EXCL | 0600), sem = semget(4711, 1, IPC_CREAT | 0600), queue = msgget(4711, IPC_CREAT | 0600);
	CHECK(memory >= 0 && sem >= 0 && queue >= 0);
	CHECK(shmget(4711, 4096, IPC_CREAT | IPC_EXCL | 0600) == -1 && errno == EEXIST);
	CHECK(shmget(4712, 4096, 0600) == -1 && errno == ENOENT);
	pid_t child = fork();
	CHECK(child >= 0);
	struct { long type; char text[8]; } message = {1, "hello"};
	if (child == 0) {
		char *at = shmat(shmget(4711, 4096, 0), NULL, 0);
		CHECK(at != (void *)-1);
		strcpy(at, "shared");
		CHECK(msgsnd(msgget(4711, 0), &message, sizeof message.text, 0) == 0);
		struct sembuf up = {0, 1, 0};
		CHECK(semop(semget(4711, 1, 0), &up, 1) == 0);
		_exit(0);
	}
	struct sembuf down = {0, -1, 0};
	CHECK(semop(sem, &down, 1) == 0);
	memset(&message, 0, sizeof message);
	CHECK(msgrcv(queue, &message, sizeof message.text, 0, 0) == sizeof message.text && strcmp(message.text, "hello") == 0);
	char *at = shmat(memory, NULL, 0);
	CHECK(at != (void *)-1 && strcmp(at, "shared") == 0);
	struct shmid_ds ds;
	CHECK(shmctl(memory, IPC_STAT, &ds) == 0 && ds.shm_segsz == 4096);
	CHECK(shmctl(memory, IPC_RMID, NULL) == 0 && semctl(sem, 0, IPC_RMID) == 0 && msgctl(queue, IPC_RMID, NULL) == 0);
	CHECK(shmget(4711, 4096, 0) == -1 && errno == ENOENT);
	CHECK(strcmp(at, "shared") == 0);
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	return 0;
}

// Forks without end until something outside ends it.
static int fork_storm(void) {
	struct rlimit limit = {200, 200};
	CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
	puts("storm");
	fflush(stdout);
	for (;;) {
		pid_t child = fork();
		if (child < 0) usleep(1000);
		if (child == 0 && getpid() % 3 == 0) _exit(0);
		while (waitpid(-1, NULL, WNOHANG) > 0) {}
	}
}

int main(int argc, char **argv) {
	static const struct { const char *name; int (*run)(void); } programs[] = {
		{"write_close_exec", write_close_exec}, {"flocks", flocks}, {"chdir_against_umask", chdir_against_umask},
		{"exec_too_big", exec_too_big}, {"many_arguments", many_arguments}, {"threads_spawn", threads_spawn},
		{"spawn_in_a_signal_storm", spawn_in_a_signal_storm}, {"thread_execs", thread_execs}, {"system_v", system_v}, {"spawned_reads", spawned_reads}, {"fork_storm", fork_storm}};
	if (argc > 2) rounds = atoi(argv[2]);
	for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
		if (argc > 1 && strcmp(argv[1], programs[i].name) == 0) return programs[i].run();
	fprintf(stderr, "no such program\n");
	return 2;
}
