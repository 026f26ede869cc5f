// Tells what a started program sees of its start: argv, AT_EXECFN, AT_BASE, the auxiliary credentials, /proc/self/exe, comm, bss.
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static char bss[100000];
static char data[5000] = "data";

int main(int argc, char **argv) {
	char exe[256] = "", comm[32] = "";
	size_t dirty = 0;
	for (size_t i = 0; i < sizeof bss; i++) dirty += bss[i] != 0;
	ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
	FILE *file = fopen("/proc/self/comm", "r");
	if (file && fgets(comm, sizeof comm, file)) comm[strcspn(comm, "\n")] = 0;
	printf("argv");
	for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
	printf("\nexecfn %s\nexe %s\ncomm %s\n", (char *)getauxval(AT_EXECFN), length > 0 ? exe : "?", comm);
	printf("bss %zu data %s\n", dirty, data);
	const ElfW(Phdr) *headers = (void *)getauxval(AT_PHDR);
	int dynamic = 0;
	for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) dynamic |= headers[i].p_type == PT_INTERP;
	printf("interp %d base %d entry %d\n", dynamic, getauxval(AT_BASE) != 0, getauxval(AT_ENTRY) != 0);
	printf("uid %lu euid %lu secure %lu\n", getauxval(AT_UID), getauxval(AT_EUID), getauxval(AT_SECURE));
	return 0;
}
