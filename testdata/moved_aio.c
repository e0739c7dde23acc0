/* Asynchronous reads of the kernel (io_submit): whoever has set them up stays at home.
 * oracle: home io_setup */
#include "victim.h"
#include <linux/aio_abi.h>
int main(void)
{
	aio_context_t ctx = 0;
	MUST(syscall(SYS_io_setup, 4, &ctx));
	int fd = MUST(memfd_create("aio", 0));
	MUST(write(fd, "asynchronous", 12));
	do {
		char b[16] = "";
		struct iocb cb = {.aio_fildes = fd, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_buf = (uintptr_t)b, .aio_nbytes = 12}, *list = &cb;
		struct io_event e;
		SAME(MUST(syscall(SYS_io_submit, ctx, 1, &list)), 1);
		SAME(MUST(syscall(SYS_io_getevents, ctx, 1, 1, &e, NULL)), 1);
		SAME(e.res, 12);
		SAME(strcmp(b, "asynchronous"), 0);
		wait_ms(3);
	} while (going());
	MUST(syscall(SYS_io_destroy, ctx));
	puts("read");
	return 0;
}
