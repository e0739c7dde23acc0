/* What was advised about memory is still known: huge pages, no copy to children, wiped in children, not in core files, mergeable, random,
 * sequential; cold and free pages; names. */
#include "victim.h"
#include <sys/prctl.h>
#define SIZE (4 << 20)
static const struct { int advice; char *flag; } all[] = {
	{MADV_DONTFORK, "dc"}, {MADV_WIPEONFORK, "wf"}, {MADV_DONTDUMP, "dd"}, {MADV_HUGEPAGE, "hg"},
	{MADV_NOHUGEPAGE, "nh"}, {MADV_RANDOM, "rr"}, {MADV_SEQUENTIAL, "sr"}, {MADV_MERGEABLE, "mg"}};
enum { N = sizeof all / sizeof *all };
static char *at[N];
static int have[N];
static int flagged(char *at, const char *flag)
{
	char line[512], want[8];
	FILE *f = fopen("/proc/self/smaps", "r");
	int in = 0, found = -1;
	snprintf(want, sizeof want, " %s", flag);
	while (found < 0 && fgets(line, sizeof line, f)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			in = from <= (unsigned long)at && (unsigned long)at < to;
		if (in && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, want) != NULL;
	}
	fclose(f);
	return found;
}
/* A file of /proc is read in parts: what one reads may be of a moment when the process left. */
static int seen(char *at, const char *flag, int want)
{
	int is = flagged(at, flag);
	for (int i = 0; i < 20 && is != want; i++)
		is = flagged(at, flag);
	return is;
}
static int child(void *p)
{
	(void)p;
	unsigned char v;
	GAVE(mincore(at[0], 4096, &v), -1, ENOMEM); /* not there */
	EXPECT(at[1][5] == 0 && at[1][SIZE - 1] == 0);
	for (int i = 2; i < N; i++)
		EXPECT(at[i][5] == 'a' + i && at[i][SIZE - 4096] == 'z');
	return victim_faults;
}
int main(void)
{
	for (int i = 0; i < N; i++) {
		at[i] = mmap(NULL, SIZE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		MUST(munmap(at[i] + SIZE, 4096)); /* does not join its neighbours */
		at[i][5] = (char)('a' + i), at[i][SIZE - 4096] = 'z';
		have[i] = madvise(at[i], SIZE, all[i].advice) == 0;
	}
	int named = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at[5], SIZE, "named by the program") == 0;
	do {
		for (int i = 0; i < N; i++)
			if (have[i])
				for (int k = 0; k < N; k++)
					if (have[k])
						SAME(seen(at[i], all[k].flag, i == k) * 100 + i * 10 + k, (i == k) * 100 + i * 10 + k);
		pid_t pid = spawn(child, NULL);
		int st;
		MUST(waitpid(pid, &st, 0));
		SAME(st, 0);
		if (named) {
			static char maps[65536];
			int fd = MUST(open("/proc/self/maps", O_RDONLY)), n = 0, k;
			while ((k = MUST(read(fd, maps + n, sizeof maps - 1 - n))) > 0)
				n += k;
			maps[n] = 0;
			close(fd);
			EXPECT(strstr(maps, "named by the program"));
		}
		at[3][SIZE / 2]++;
	} while (going());
	return held("advice");
}
