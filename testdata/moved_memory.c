/* Contents of memory while threads write it: no page is lost, none is old, pages never written are zero. */
#include "victim.h"
enum { WORDS = 2 << 20, THREADS = 3 }; /* 16 MiB each, sparse */
static unsigned long *area[THREADS];
static void *thread(void *p)
{
	unsigned long *a = area[(long)p], x = (long)p + 1, round = 0;
	static __thread unsigned char has[WORDS / 512];
	static __thread unsigned long last[WORDS / 512];
	do {
		for (int i = 0; i < 2000; i++) {
			x = x * 6364136223846793005UL + 1442695040888963407UL;
			long page = (x >> 33) % (WORDS / 512) & ~(x >> 60 & 3);
			unsigned long *w = a + page * 512 + page % 512;
			SAME(*w, has[page] ? last[page] : 0);
			*w = last[page] = x, has[page] = 1;
		}
		if (++round % 10 == 0)
			for (long page = 0; page < WORDS / 512; page++) {
				SAME(a[page * 512 + page % 512], has[page] ? last[page] : 0);
				SAME(a[page * 512 + (page + 100) % 512], 0);
			}
	} while (going());
	return NULL;
}
int main(void)
{
	for (int i = 0; i < THREADS; i++) {
		area[i] = mmap(NULL, WORDS * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (i == 1)
			madvise(area[i], WORDS * 8, MADV_HUGEPAGE);
	}
	threads(THREADS, thread);
	return held("memory");
}
