/* paths FIRST COUNT LENGTH [KEPT]: COUNT random sequences of LENGTH operations on paths, each in a directory of its own, and what is there
 * afterwards. One line for each operation: its number, its name, its answer. An operation is made of the sequence's number and its own
 * place only, so that KEPT (a string of 0 and 1, one for each place) leaves the others as they are. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static uint64_t state;

static unsigned pick(unsigned below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 20) % below;
}

static const char *const names[] = {"a", "b", "c"};
#define FDS 4
static int fds[FDS], opened[FDS];
static char base[64];

/* A path of one to four components; now and then absolute, with dots, doubled or trailing slashes. */
static const char *path(int slot)
{
    static char paths[2][256];
    char *to = paths[slot];
    unsigned parts = 1 + (pick(2) ? 0 : pick(3));
    *to = 0;
    if (pick(8) == 0)
        sprintf(to, "%s/", base);
    for (unsigned i = 0; i < parts; i++) {
        unsigned kind = pick(16);
        if (i > 0)
            strcat(to, pick(16) == 0 ? "//" : "/");
        /* Never above the sequence's own directory by name: only beneath something. */
        strcat(to, kind == 0 && i > 0 ? ".." : kind == 1 ? "." : names[pick(3)]);
    }
    if (pick(12) == 0)
        strcat(to, "/");
    return to;
}

static int place;
static char line[512];

static void say(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(line + strlen(line), sizeof line - strlen(line), format, list);
    va_end(list);
}

static void answer(long result)
{
    if (result < 0)
        printf("%d %s = %s\n", place, line, strerrorname_np(errno));
    else
        printf("%d %s = ok\n", place, line);
}

static void show(const struct stat *st)
{
    printf(" %o %u:%u %lu", st->st_mode, st->st_uid, st->st_gid, S_ISDIR(st->st_mode) ? 0 : (unsigned long)st->st_nlink);
    if (S_ISREG(st->st_mode))
        printf(" %ld", (long)st->st_size);
}

static void look(const char *name, int dir, int flags)
{
    struct stat st;
    if (fstatat(dir, name, &st, flags) != 0) {
        answer(-1);
        return;
    }
    printf("%d %s =", place, line);
    show(&st);
    printf("\n");
}

/* A directory to begin at: the working directory or a descriptor that an earlier operation got. */
static int where(void)
{
    unsigned at = pick(FDS * 3);
    if (at >= FDS || (!opened[at] && pick(30) != 0))
        return AT_FDCWD;
    say("@%u ", at);
    return fds[at];
}

static const int open_flags[] = {
    O_RDONLY, O_RDONLY | O_DIRECTORY, O_PATH, O_PATH | O_NOFOLLOW, O_WRONLY | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_WRONLY | O_TRUNC,
    O_WRONLY | O_APPEND, O_RDONLY | O_NOFOLLOW, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, O_RDWR,
};
static const mode_t modes[] = {0644, 0755, 0600, 0, 0777, 04755, 02775, 01777, 0444};

static const char *const attributes[] = {"user.a", "user.b", "trusted.c", "security.d", "e"};
static const unsigned ids[] = {0, 0, 1000, 1234, (unsigned)-1};

static void on_names(unsigned op)
{
    int from = where(), to = op == 6 || op == 7 ? where() : AT_FDCWD;
    const char *p = path(0), *q = path(1);
    mode_t mode = modes[pick(9)];
    unsigned flags = pick(8);
    switch (op) {
    case 0: say("mkdir %s %o", p, mode); answer(mkdirat(from, p, mode)); break;
    case 1: say("unlink %s", p); answer(unlinkat(from, p, 0)); break;
    case 2: say("rmdir %s", p); answer(unlinkat(from, p, AT_REMOVEDIR)); break;
    case 3: say("symlink %s %s", p, q); answer(symlinkat(p, from, q)); break;
    case 4: say("mkfifo %s %o", p, mode); answer(mknodat(from, p, S_IFIFO | mode, 0)); break;
    case 5: say("mknod %s %o", p, mode); answer(mknodat(from, p, (flags & 1 ? S_IFREG : S_IFCHR) | mode, 0x103)); break;
    case 6:
        flags = flags > 2 ? 0 : flags;
        say("rename %s %s %u", p, q, flags);
        answer(syscall(SYS_renameat2, from, p, to, q, flags));
        break;
    default:
        flags = flags & 1 ? AT_SYMLINK_FOLLOW : 0;
        say("link %s %s %u", p, q, flags);
        answer(linkat(from, p, to, q, (int)flags));
    }
}

static void on_attributes(unsigned op)
{
    int dir = where();
    const char *p = path(0), *name = attributes[pick(5)];
    mode_t mode = modes[pick(9)];
    unsigned uid = ids[pick(5)], gid = ids[pick(5)], flags = pick(2) ? AT_SYMLINK_NOFOLLOW : 0;
    struct timespec times[2] = {{(long)pick(1000), 5}, {(long)pick(1000), pick(4) ? 7 : UTIME_OMIT}};
    char value[64];
    ssize_t length;
    switch (op) {
    case 0: say("chmod %s %o", p, mode); answer(fchmodat(dir, p, mode, 0)); break;
    case 1: say("chown %s %d %d %u", p, (int)uid, (int)gid, flags); answer(fchownat(dir, p, uid, gid, (int)flags)); break;
    case 2: say("utimes %s %ld %ld %u", p, times[0].tv_sec, times[1].tv_sec, flags); answer(utimensat(dir, p, times, (int)flags)); break;
    case 3: say("truncate %s %ld", p, times[0].tv_sec); answer(truncate(p, times[0].tv_sec)); break;
    case 4: say("setxattr %s %s %u", p, name, flags); answer(flags ? lsetxattr(p, name, "v", 1, 0) : setxattr(p, name, "w", 1, (int)pick(3))); break;
    case 5:
        say("getxattr %s %s", p, name);
        length = getxattr(p, name, value, sizeof value);
        if (length >= 0)
            say(" %.*s", (int)length, value);
        answer(length);
        break;
    case 6: say("removexattr %s %s", p, name); answer(removexattr(p, name)); break;
    case 7: say("stat %s %u", p, flags); look(p, dir, (int)flags); break;
    case 8: say("access %s %u", p, (unsigned)mode & 7); answer(faccessat(dir, p, mode & 7, flags ? AT_EACCESS : 0)); break;
    default:
        say("readlink %s", p);
        length = readlinkat(dir, p, value, sizeof value);
        if (length >= 0)
            say(" %.*s", (int)length, value);
        answer(length);
    }
}

static void on_descriptors(unsigned op)
{
    unsigned slot = pick(FDS), mode = modes[pick(9)], uid = ids[pick(5)];
    while (op > 3 && !opened[slot] && slot + 1 < FDS)
        slot++;
    int fd = fds[slot], dir;
    long size = pick(5000);
    char cwd[4096] = "";
    const char *p;
    switch (op) {
    case 0: case 1: case 2: case 3: {
        unsigned flags = pick(sizeof open_flags / sizeof *open_flags);
        /* What a user writes natively keeps the set-id bits that he created it with. */
        mode &= 01777;
        dir = where();
        p = path(0);
        say("%u = open %s %u %o", slot, p, flags, mode);
        int made = openat(dir, p, open_flags[flags] | O_NONBLOCK | O_CLOEXEC, mode);
        answer(made);
        if (made >= 0) {
            /* Always under the same number. */
            dup3(made, 50 + (int)slot, O_CLOEXEC);
            close(made);
            opened[slot] = 1;
        }
        break;
    }
    case 4: say("write @%u %ld", slot, size % 100); answer(write(fd, base, (size_t)size % 40)); break;
    case 5: say("ftruncate @%u %ld", slot, size); answer(ftruncate(fd, size)); break;
    case 6: say("fchmod @%u %o", slot, mode); answer(fchmod(fd, mode)); break;
    case 7: say("fchown @%u %d", slot, (int)uid); answer(fchown(fd, uid, uid)); break;
    case 8: say("fstat @%u", slot); look("", fd, AT_EMPTY_PATH); break;
    case 9: say("fchdir @%u", slot); answer(fchdir(fd)); break;
    case 10: p = path(0); say("chdir %s", p); answer(chdir(p)); break;
    case 11: answer(getcwd(cwd, sizeof cwd) ? (say("getcwd %s", cwd), 0) : (say("getcwd"), -1)); break;
    case 12: say("umask %o", mode & 077); umask(mode & 077); answer(0); break;
    case 13: say("futimens @%u", slot); answer(futimens(fd, (struct timespec[2]){{3, 0}, {size, 0}})); break;
    case 14: say("close @%u", slot); answer(close(fd)); opened[slot] = 0; break;
    /* Most of a sequence is root's. */
    case 15: say("become %u", uid == 1000 ? 1000U : 0U); answer(syscall(SYS_setresuid, -1, uid == 1000 ? 1000 : 0, -1)); break;
    default: p = path(0); say("chdir back %s", p); answer(chdir(base));
    }
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* What is left, as root sees it. */
static void list(const char *at, int depth)
{
    struct dirent **entries;
    int count = scandir(at, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char whole[4096], target[256] = "", names_of[256];
        struct stat st;
        if (strcmp(entries[i]->d_name, ".") == 0 || strcmp(entries[i]->d_name, "..") == 0)
            continue;
        snprintf(whole, sizeof whole, "%s/%s", at, entries[i]->d_name);
        if (lstat(whole, &st) != 0)
            continue;
        printf("  %s", whole);
        show(&st);
        /* An opened device is the host's own: futimens does not reach its name. */
        if (!S_ISCHR(st.st_mode) && st.st_mtim.tv_sec < 10000)
            printf(" at %ld", (long)st.st_mtim.tv_sec);
        if (S_ISLNK(st.st_mode) && readlink(whole, target, sizeof target - 1) > 0)
            printf(" -> %s", target);
        ssize_t length = llistxattr(whole, names_of, sizeof names_of);
        for (ssize_t from = 0; from < length; from += (ssize_t)strlen(names_of + from) + 1)
            if (strncmp(names_of + from, "user.", 5) == 0)
                printf(" %s", names_of + from);
        printf("\n");
        if (S_ISDIR(st.st_mode) && depth < 24)
            list(whole, depth + 1);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static void sequence(unsigned number, int length, const char *kept)
{
    snprintf(base, sizeof base, "/tmp/%u/v/w/x/y/z", number);
    char top[32];
    umask(022);
    for (char *slash = base + 5; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir(base, 0777);
        chmod(base, 0777);
        *slash = '/';
    }
    if (mkdir(base, 0777) != 0 || chmod(base, 0777) != 0 || chdir(base) != 0)
        exit(3);
    for (int i = 0; i < FDS; i++)
        fds[i] = 50 + i, opened[i] = 0;
    printf("sequence %u\n", number);
    for (place = 0; place < length; place++) {
        if (kept != NULL && kept[place] != '1')
            continue;
        state = ((uint64_t)number << 32 | (uint64_t)place << 8 | 1) * 0x9e3779b97f4a7c15ULL;
        pick(2);
        line[0] = 0;
        unsigned op = place < 6 ? 0 : pick(40);
        if (op < 13)
            on_names(op < 4 ? 0 : op < 8 ? 6 + op % 2 : op - 7);
        else if (op < 24)
            on_attributes(op - 13);
        else
            on_descriptors(op - 24);
    }
    syscall(SYS_setresuid, -1, 0, -1);
    for (int i = 0; i < FDS; i++)
        close(50 + i);
    if (chdir("/") != 0)
        exit(3);
    snprintf(top, sizeof top, "/tmp/%u", number);
    list(top, 0);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    unsigned first = (unsigned)atoi(argv[1]), count = (unsigned)atoi(argv[2]);
    for (unsigned number = first; number < first + count; number++)
        sequence(number, atoi(argv[3]), argc > 4 ? argv[4] : NULL);
    return 0;
}
