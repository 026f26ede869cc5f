/* Started in /: attacks VICTIM [port=N] [tries=N] [least=MS] [NAME..]: tries the named attacks, or all, each in a process of its own; one line for each,
 * `NAME held`, `NAME got` or `NAME hung`, and `done N`. What VICTIM holds is said in attacks/victim.h; attacks that leave a trace there,
 * or a process, print `held`, and whoever prepared it looks. tests/escape/attacks.rs names the fence of each. */
#include "attacks/victim.h"
#include "attacks/races.h"
#include "attacks/processes.h"
#include "attacks/calls.h"
#include "attacks/sockets.h"

#define ATTACK(name) {#name, name}
static const struct attack others_of_all[] = {
    ATTACK(moved_open), ATTACK(moved_stat),
    ATTACK(reaper_maps), ATTACK(reaper_auxv), ATTACK(reaper_io), ATTACK(reaper_mem), ATTACK(reaper_fd), ATTACK(reaper_root),
    ATTACK(reaper_cwd), ATTACK(self_root), ATTACK(thread_root), ATTACK(self_cwd), ATTACK(task_root), ATTACK(self_fd), ATTACK(dev_fd),
    ATTACK(link_to_root), ATTACK(descriptor_names), ATTACK(map_names),
    ATTACK(signal_kill), ATTACK(signal_tkill), ATTACK(signal_tgkill), ATTACK(signal_group), ATTACK(signal_queue), ATTACK(signal_pidfd),
    ATTACK(trace), ATTACK(vm_read), ATTACK(vm_write), ATTACK(take_descriptor), ATTACK(compare),
    ATTACK(reaper_limit), ATTACK(reaper_affinity), ATTACK(reaper_policy), ATTACK(reaper_attributes), ATTACK(reaper_priority),
    ATTACK(reaper_io_priority), ATTACK(retag_setrlimit), ATTACK(retag_prlimit), ATTACK(exec_swap),
    ATTACK(fstat_swap), ATTACK(survive_session), ATTACK(survive_stopped), ATTACK(survive_forking),
    ATTACK(unshare_user), ATTACK(mount_in_namespace), ATTACK(chroot_in_namespace), ATTACK(fsopen_in_namespace),
    ATTACK(hostname_in_namespace), ATTACK(clone_user), ATTACK(clone_user_high), ATTACK(clone3_user),
    ATTACK(uring), ATTACK(fault_handler), ATTACK(fanotify), ATTACK(keyring), ATTACK(key), ATTACK(perf),
    ATTACK(queue), ATTACK(mounts_of_the_host), ATTACK(handle), ATTACK(device),
    ATTACK(set_flags), ATTACK(set_flags_high), ATTACK(set_version), ATTACK(set_project), ATTACK(typing), ATTACK(int80),
    ATTACK(shared_memory), ATTACK(semaphores), ATTACK(messages),
    ATTACK(netlink_events), ATTACK(netlink_audit), ATTACK(netlink_high), ATTACK(mptcp), ATTACK(vsock),
    ATTACK(abstract_stream), ATTACK(abstract_datagram), ATTACK(pair_to_path), ATTACK(swap_connect), ATTACK(swap_bind),
    ATTACK(sent_descriptor),
};

/* Only where the step has no network. */
static const struct attack without_network[] = {
    ATTACK(net_connect), ATTACK(net_fastopen), ATTACK(net_datagram), ATTACK(net_listen), ATTACK(net_six),
};

static int tried;

static void attempt(const char *name, enum outcome (*attack)(const void *), const void *data)
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        _exit(attack(data) == GOT ? RAN : 0);
    }
    waitpid(pid, &status, 0);
    int hung = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
    int got = WIFEXITED(status) && WEXITSTATUS(status) == RAN;
    int held = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    printf("%s %s\n", name, got ? "got" : held ? "held" : hung ? "hung" : "died");
    tried++;
}

static enum outcome plain(const void *data) { return ((const struct attack *)data)->run(); }
static enum outcome symlink_race(const void *data) { return by_symlink(data); }
static enum outcome text_race(const void *data) { return by_text(data); }

static int asked(int argc, char **argv, const char *name)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return 1;
    return argc == 0;
}

#define EACH(list, i) for (size_t i = 0; i < sizeof(list) / sizeof *(list); i++)

int main(int argc, char **argv)
{
    char name[64];
    if (argc == 1 && strcmp(argv[0], swap_args[0]) == 0)
        return geteuid() == 0 ? RAN : 0;
    if (argc == 1)
        return RAN; /* as the victim's program */
    victim = argv[1];
    reaper = getppid();
    int first = 2;
    for (; first < argc && strchr(argv[first], '=') != NULL; first++) {
        if (strncmp(argv[first], "port=", 5) == 0)
            port = atoi(argv[first] + 5);
        if (strncmp(argv[first], "tries=", 6) == 0)
            tries = atoi(argv[first] + 6);
        if (strncmp(argv[first], "least=", 6) == 0)
            least = atoi(argv[first] + 6);
    }
    argc -= first;
    argv += first;
    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(0);
    EACH(races, i) {
        snprintf(name, sizeof name, "race_%s", races[i].name);
        if (asked(argc, argv, name))
            attempt(name, symlink_race, &races[i]);
    }
    EACH(texts, i) {
        snprintf(name, sizeof name, "text_%s", texts[i].name);
        if (asked(argc, argv, name))
            attempt(name, text_race, &texts[i]);
    }
    EACH(others_of_all, i)
        if (asked(argc, argv, others_of_all[i].name))
            attempt(others_of_all[i].name, plain, &others_of_all[i]);
    EACH(without_network, i)
        if (port != 0 && asked(argc, argv, without_network[i].name))
            attempt(without_network[i].name, plain, &without_network[i]);
    printf("done %d\n", tried);
    return 0;
}
