/* io_uring: set up, a no-op submitted and completed.
 * oracle: home io_uring */
#include "victim.h"
#include <linux/io_uring.h>
int main(void)
{
	struct io_uring_params p = {0};
	int fd = syscall(SYS_io_uring_setup, 4, &p);
	if (fd == -1) {
		printf("%s\n", strerrorname_np(errno));
		return 0;
	}
	char *sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, 3, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), 3, MAP_SHARED, fd, IORING_OFF_CQ_RING);
	struct io_uring_sqe *e = mmap(NULL, p.sq_entries * sizeof *e, 3, MAP_SHARED, fd, IORING_OFF_SQES);
	memset(e, 0, sizeof *e);
	e->opcode = IORING_OP_NOP, e->user_data = 4711;
	*(unsigned *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	SHOW(syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	struct io_uring_cqe *c = (void *)(cq + p.cq_off.cqes);
	printf("%ld %d\n", (long)c->user_data, c->res);
	return 0;
}
