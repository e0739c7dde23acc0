/* Waiting for a futex: with relative and absolute time of both clocks, with a bit set, several at once, for a lock with priority
 * inheritance; ended by time, or by a wake-up that is counted. */
#include "victim.h"
#include <linux/futex.h>
#include <semaphore.h>
static int word[16];
static volatile int pi, ended;
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static sem_t sem;
static long futex(int *w, int op, int v, const struct timespec *t, int v3) { return syscall(SYS_futex, w, op | FUTEX_PRIVATE_FLAG, v, t, NULL, v3); }
static struct timespec after(clockid_t clock, long ns)
{
	struct timespec t;
	clock_gettime(clock, &t);
	t.tv_nsec += ns;
	t.tv_sec += t.tv_nsec / 1000000000, t.tv_nsec %= 1000000000;
	return t;
}
static void *thread(void *p)
{
	long k = (long)p;
	do {
		struct timespec rel = {0, 150000000}, t;
		struct { uint64_t val, uaddr; uint32_t flags, reserved; } v[2] = {{0, (long)&word[8], 2 | 128}, {0, (long)&word[9], 2 | 128}};
		switch (k) {
		case 0: TIMED(0.15, futex(&word[0], FUTEX_WAIT, 0, &rel, 0), -1, ETIMEDOUT); break;
		case 1: t = after(CLOCK_MONOTONIC, 150000000); TIMED(0.1499, futex(&word[1], FUTEX_WAIT_BITSET, 0, &t, -1), -1, ETIMEDOUT); break;
		case 2: t = after(CLOCK_REALTIME, 150000000); TIMED(0.149, futex(&word[2], FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &t, -1), -1, ETIMEDOUT); break;
		case 3: t = after(CLOCK_MONOTONIC, 150000000); TIMED(0.1499, syscall(SYS_futex_waitv, v, 2, 0, &t, CLOCK_MONOTONIC), -1, ETIMEDOUT); break;
		case 4: t = after(CLOCK_REALTIME, 150000000); TIMED(0.149, futex((int *)&pi, FUTEX_LOCK_PI, 0, &t, 0), -1, ETIMEDOUT); break;
		case 5: t = after(CLOCK_REALTIME, 150000000); GAVE(sem_timedwait(&sem, &t), -1, ETIMEDOUT); break;
		case 6:
			t = after(CLOCK_REALTIME, 150000000);
			pthread_mutex_lock(&m);
			SAME(pthread_cond_timedwait(&c, &m, &t), ETIMEDOUT);
			pthread_mutex_unlock(&m);
			break;
		case 7: case 8: { /* woken: by number */
			long n = __atomic_load_n(&word[k + 3], __ATOMIC_SEQ_CST);
			t = (struct timespec){60, 0};
			long r = futex(&word[k + 3], FUTEX_WAIT, n, k == 7 ? NULL : &t, 0);
			EXPECT(r == 0 || (r == -1 && (errno == EAGAIN || errno == EINTR)));
			break;
		}
		case 9:
			wait_ms(20);
			for (int i = 10; i < 12; i++) {
				__sync_fetch_and_add(&word[i], 1);
				EXPECT(futex(&word[i], FUTEX_WAKE, 1, NULL, 0) <= 1);
			}
		}
	} while (going());
	if (k == 9) /* once more for those who looked later */
		while (ended < 2) {
			for (int i = 10; i < 12; i++) {
				__sync_fetch_and_add(&word[i], 1);
				futex(&word[i], FUTEX_WAKE, 1, NULL, 0);
			}
			wait_ms(5);
		}
	if (k == 7 || k == 8)
		__sync_fetch_and_add(&ended, 1);
	return NULL;
}
int main(void)
{
	sem_init(&sem, 0, 0);
	pi = gettid(); /* we have it and keep it */
	threads(10, thread);
	return held("futexes");
}
