/* The auxiliary vector describes this process, at its addresses. */
#include "victim.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
extern char etext;
int main(int argc, char **argv)
{
	(void)argc;
	SHOW(getauxval(AT_PAGESZ));
	SHOW(getauxval(AT_CLKTCK));
	SHOW(getauxval(AT_UID) == getuid());
	SHOW(getauxval(AT_EGID) == getegid());
	SHOW(getauxval(AT_SECURE));
	SHOW(getauxval(AT_PHENT));
	SHOW(getauxval(AT_HWCAP));
	SHOW(getauxval(AT_FLAGS));
	printf("%s\n", (char *)getauxval(AT_PLATFORM));
	TRUE(strcmp((char *)getauxval(AT_EXECFN), argv[0]) == 0);
	TRUE(getauxval(AT_ENTRY) < (unsigned long)&etext);
	TRUE(getauxval(AT_BASE) != 0);
	TRUE(*(unsigned *)getauxval(AT_BASE) == *(unsigned *)ELFMAG);
	TRUE(*(unsigned *)getauxval(AT_SYSINFO_EHDR) == *(unsigned *)ELFMAG);
	unsigned char *r = (void *)getauxval(AT_RANDOM), zero[16] = {0};
	TRUE(memcmp(r, zero, 16) != 0);
	/* the same as /proc/self/auxv tells */
	unsigned long v[128];
	int fd = MUST(open("/proc/self/auxv", O_RDONLY));
	long n = MUST(read(fd, v, sizeof v)) / 16, same = 1;
	for (long i = 0; i < n && v[2 * i]; i++)
		if (v[2 * i] != AT_HWCAP && getauxval(v[2 * i]) != v[2 * i + 1]) /* the C library edits that one */
			same = 0, printf("type %ld differs\n", v[2 * i]);
	TRUE(n > 15 && same);
	return 0;
}
