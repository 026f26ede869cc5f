// A guest that wants its broker to crash, to hang or to run out of something. Usage: hostile NAME [MOST [SECONDS]], or
// hostile arguments CHILDREN CALLS SEED NUMBER..; 0 if the calls of
// an honest process are answered all the same.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s: %s\n", __func__, __LINE__, #condition, strerror(errno)); \
			exit(1); \
		} \
	} while (0)

static void rest(long milliseconds) {
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
	nanosleep(&time, NULL);
}

// What `act` of a child comes to; -1 where it has not ended after so many seconds.
static int outcome_of(int (*act)(void), int seconds) {
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) _exit(act());
	for (int i = 0; i < seconds * 100; i++) {
		int status;
		if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
		rest(10);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return -1;
}

// One call of several families.
static int honest(void) {
	char name[64], text[64];
	struct stat stat;
	snprintf(name, sizeof name, "/tmp/honest-%d", getpid());
	int fd = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &stat) != 0 || lstat(name, &stat) != 0 || getcwd(text, sizeof text) == NULL) return 1;
	if (chmod(name, 0640) != 0 || readlink(name, text, sizeof text) != -1 || errno != EINVAL || unlink(name) != 0) return 2;
	int path = open("/tmp", O_PATH | O_CLOEXEC);
	return path < 0 || fstat(path, &stat) != 0 || !S_ISDIR(stat.st_mode) || getuid() != geteuid() ? 3 : 0;
}

static int patience = 20;

static void must_answer(const char *what) {
	int got = outcome_of(honest, patience);
	if (got != 0) {
		fprintf(stderr, "%s: an honest process %s %d\n", what, got < 0 ? "is not answered" : "came to", got);
		exit(1);
	}
}

// ---- random arguments ----

static uint64_t seed;

static uint64_t next_random(void) {
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static char *page; // one page of text, behind which nothing is mapped
static char paths[8][64];

static uint64_t value(void) {
	uint64_t random = next_random();
	switch (random % 20) {
	case 0: return 0;
	case 1: return UINT64_MAX;
	case 2: return (uint64_t)-100; // AT_FDCWD
	case 3: return random >> 8 & 0xff;
	case 4: return random >> 8 & 0xffff;
	case 5: return next_random();
	case 6: return 1ULL << (random >> 8 & 63);
	case 7: return (uint64_t)page + 4096 - (random >> 8 & 15); // ends midway
	case 8: return (uint64_t)page + 4096;
	case 9: return 0xffffffff80000000; // the kernel's
	case 10: return 1ULL << 63;
	case 11: return 0x7fffffff;
	case 12: return (uint64_t)"";
	case 13: return (uint64_t)page + (random >> 8 & 0xff);
	case 14: return random >> 8 & 0x1fff; // flags
	case 15: return 3 + (random >> 8) % 6; // a descriptor
	default: return (uint64_t)paths[random >> 8 & 7];
	}
}

static int rounds, numbers[512], count;

// Never comes back to a place that tells: its parent looks.
static int random_calls(void) {
	char work[64];
	// Errors of the C library's own are of no use here, nor is what a call writes to a terminal.
	signal(SIGSEGV, SIG_DFL);
	snprintf(work, sizeof work, "/tmp/work-%d", getpid());
	mkdir(work, 0777);
	CHECK(chdir(work) == 0);
	if (getpid() % 2 == 0) {
		// Root does not take the honest one's directory away.
		strcpy(paths[5], "d/e");
		strcpy(paths[6], "d");
	} else {
		CHECK(chown(".", 1234, 1234) == 0 && setgid(1234) == 0 && setuid(1234) == 0);
	}
	CHECK(open("/proc/self", O_RDONLY | O_DIRECTORY) >= 0 && open("/tmp", O_PATH) >= 0 && open("/dev/null", O_RDWR) >= 0);
	CHECK(socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && open("a", O_CREAT | O_RDWR, 0666) >= 0 && open(".", O_RDONLY) >= 0);
	alarm(5);
	for (int i = 0; i < rounds; i++) {
		uint64_t a[6];
		for (int j = 0; j < 6; j++) a[j] = value();
		int number = numbers[next_random() % count];
		// The high half of the arguments is rubbish in one call of eight.
		if (next_random() % 8 == 0)
			for (int j = 0; j < 6; j++) a[j] |= next_random() << 32;
		syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (next_random() % 4 == 0)
			for (int j = 0; j < 64; j++) page[4096 - 1 - next_random() % 128] = "/ax.0\0\xff"[next_random() % 7];
	}
	return 0;
}

static int arguments(int argc, char **argv) {
	int children = atoi(argv[0]);
	rounds = atoi(argv[1]);
	uint64_t first = strtoull(argv[2], NULL, 10);
	for (int i = 3; i < argc && count < 512; i++) numbers[count++] = atoi(argv[i]);
	CHECK(count > 0);
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED && munmap(page + 4096, 4096) == 0);
	memset(page, 'x', 4096);
	const char *names[] = {"a", "b", "a/b/../c", "/proc/self/fd/3", "/dev/null", "/tmp", "..", "/bin/true"};
	for (int i = 0; i < 8; i++) strcpy(paths[i], names[i]);
	for (int i = 0; i < children; i++) {
		seed = (first + (uint64_t)i) * 0x9e3779b97f4a7c15 | 1;
		fflush(NULL);
		outcome_of(random_calls, 10);
		if (i % 8 == 7) must_answer("after random arguments");
	}
	must_answer("after random arguments");
	return 0;
}

// ---- calls that block ----

static int wait_in_fifo(void) {
	return open("/tmp/fifo", O_RDONLY);
}

static int wait_in_backlog(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/tmp/backlog"};
	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

static int blocked(int (*act)(void)) {
	pid_t children[64];
	for (int i = 0; i < 64; i++) {
		CHECK((children[i] = fork()) >= 0);
		if (children[i] == 0) _exit(act());
	}
	rest(300);
	must_answer("while others are blocked");
	for (int i = 0; i < 64; i++) kill(children[i], SIGKILL);
	for (int i = 0; i < 64; i++) CHECK(waitpid(children[i], NULL, 0) == children[i]);
	must_answer("after others were blocked");
	return 0;
}

static int fifos(void) {
	CHECK(mkfifo("/tmp/fifo", 0666) == 0);
	return blocked(wait_in_fifo);
}

static int backlog(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/tmp/backlog"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 0) == 0);
	return blocked(wait_in_backlog);
}

// ---- exhaustion ----

static int most;

// Descriptors behind which the broker keeps one of its own.
static int take_handles(void) {
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < most; i++)
		if (open("/tmp", O_PATH | O_CLOEXEC) < 0) return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? 0 : errno;
	return 0;
}

static int handles(void) {
	for (int i = 0; i < 4; i++) {
		int got = outcome_of(take_handles, 60);
		if (got != 0) {
			fprintf(stderr, "handles: %d\n", got);
			return 1;
		}
		must_answer("after somebody took every handle");
	}
	return 0;
}

static int take_directories(void) {
	// Each process keeps a directory of its own; the broker keeps it too.
	for (int i = 0; i < most / 100; i++) {
		char name[64];
		pid_t child = fork();
		if (child < 0) return 0;
		if (child > 0) continue;
		snprintf(name, sizeof name, "/tmp/directory-%d", i);
		mkdir(name, 0777);
		if (chdir(name) != 0) _exit(0);
		for (;;) pause();
	}
	rest(200);
	return 0;
}

static int directories(void) {
	CHECK(outcome_of(take_directories, 60) == 0);
	must_answer("while many directories are held");
	return 0;
}

static int a_storm(void) {
	// Processes that die in the middle of their calls, whose numbers others get.
	for (int i = 0; i < most / 20; i++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			struct stat stat;
			if (i % 2 == 0 && (setgid(1234) != 0 || setuid(1234) != 0)) _exit(1);
			for (;;) {
				close(open(i % 2 == 0 ? "/secret/by-user" : "/tmp/by-root", O_CREAT | O_WRONLY, 0600));
				lstat("/bin/true", &stat);
			}
		}
		rest(i % 7);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	return access("/secret/by-user", F_OK) == 0;
}

static int storm(void) {
	CHECK(mkdir("/secret", 0700) == 0);
	CHECK(outcome_of(a_storm, 100) == 0);
	must_answer("after a storm");
	return 0;
}

// Names are made in directories that move meanwhile: a full walk of the tree at the end of the step finds whatever its journal put elsewhere.
static int move_about(void) {
	for (int i = 0; i < most; i++) {
		rename("/tmp/moves/a", "/tmp/moves/c");
		rename("/tmp/moves/b", "/tmp/moves/a");
		rename("/tmp/moves/c", "/tmp/moves/b");
		rename("/tmp/moves/a/in", "/tmp/moves/b/out");
		rename("/tmp/moves/b/out", "/tmp/moves/a/in");
	}
	return 0;
}

static int make_names(void) {
	const char *places[] = {"/tmp/moves/a", "/tmp/moves/b", "/tmp/moves/a/in", "/tmp/moves/b/in"};
	for (int i = 0; i < most; i++) {
		char name[64], other[96];
		int dir = open(places[i % 4], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		snprintf(name, sizeof name, "n-%d-%d", getpid(), i);
		snprintf(other, sizeof other, "%s/%s", places[next_random() % 4], name);
		close(openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		if (i % 3 == 0) linkat(dir, name, AT_FDCWD, other, 0);
		if (i % 5 == 0) unlinkat(dir, name, 0);
		if (i % 7 == 0) mkdir(other, 0700);
		if (i % 11 == 0) renameat(dir, name, AT_FDCWD, other);
		if (i % 13 == 0) chmod(other, 0640);
		close(dir);
	}
	return 0;
}

static int moves(void) {
	CHECK(mkdir("/tmp/moves", 0777) == 0 && mkdir("/tmp/moves/a", 0777) == 0 && mkdir("/tmp/moves/b", 0777) == 0);
	CHECK(mkdir("/tmp/moves/a/in", 0777) == 0 && mkdir("/tmp/moves/b/in", 0777) == 0);
	pid_t children[4];
	for (int i = 0; i < 4; i++) {
		seed = 77 + (uint64_t)i;
		CHECK((children[i] = fork()) >= 0);
		if (children[i] == 0) _exit(i == 0 ? move_about() : make_names());
	}
	for (int i = 0; i < 4; i++) {
		int status;
		CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
	}
	must_answer("after moves");
	return 0;
}

// A link of 300 components that are such links.
static int links(void) {
	char text[4096], name[64];
	CHECK(mkdir("/tmp/links", 0777) == 0 && chdir("/tmp/links") == 0);
	for (int level = 0; level < 30; level++) {
		text[0] = 0;
		for (int i = 0; i < 300; i++) sprintf(text + strlen(text), "l%d/", level + 1);
		strcat(text, ".");
		snprintf(name, sizeof name, "l%d", level);
		CHECK(symlink(text, name) == 0);
	}
	CHECK(symlink(".", "l30") == 0);
	struct stat stat_out;
	errno = 0;
	CHECK(stat("l0", &stat_out) == -1 && errno == ELOOP);
	CHECK(open("l0/x", O_CREAT | O_WRONLY, 0666) == -1 && errno == ELOOP);
	must_answer("after links to links");
	return 0;
}

// Arguments and paths without an end.
static int endless(void) {
	size_t size = 64 << 20;
	char *text = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(text != MAP_FAILED);
	memset(text, '/', size);
	struct stat stat_out;
	CHECK(stat(text, &stat_out) == -1 && errno == ENAMETOOLONG);
	CHECK(symlink(text, "/tmp/endless") == -1 && errno == ENAMETOOLONG);
	char *argv[] = {"true", text, NULL};
	CHECK(execve("/bin/true", argv, NULL) == -1 && errno == E2BIG);
	// A vector that never ends and whose elements are the same string.
	char **vector = (char **)text;
	for (size_t i = 0; i < size / sizeof *vector; i++) vector[i] = "x";
	CHECK(execve("/bin/true", vector, NULL) == -1 && (errno == E2BIG || errno == EFAULT));
	int script = open("/tmp/script", O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
	CHECK(write(script, "#!/bin/sh -", 11) == 11);
	for (int i = 0; i < 64; i++) CHECK(write(script, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 32) == 32);
	close(script);
	CHECK(execve("/tmp/script", vector, NULL) == -1);
	must_answer("after endless arguments");
	return 0;
}

int main(int argc, char **argv) {
	CHECK(argc > 1);
	const char *name = argv[1];
	most = argc > 2 ? atoi(argv[2]) : 1000;
	if (strcmp(name, "arguments") == 0) return arguments(argc - 2, argv + 2);
	if (argc > 3) patience = atoi(argv[3]);
	if (strcmp(name, "fifos") == 0) return fifos();
	if (strcmp(name, "backlog") == 0) return backlog();
	if (strcmp(name, "handles") == 0) return handles();
	if (strcmp(name, "directories") == 0) return directories();
	if (strcmp(name, "storm") == 0) return storm();
	if (strcmp(name, "moves") == 0) return moves();
	if (strcmp(name, "links") == 0) return links();
	if (strcmp(name, "endless") == 0) return endless();
	return 2;
}
