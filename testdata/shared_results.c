/* A harness whose children report through a file without a name, mapped shared; one of them executes a program, one dies. */
#include "victim.h"
struct results { int passed, failed, broken; char last[64]; };
int main(int argc, char **argv)
{
	if (argc > 1) {
		int fd = atoi(argv[1]);
		struct results *r = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		TRUE(r != MAP_FAILED);
		__sync_fetch_and_add(&r->passed, 1);
		strcpy(r->last, "by an executed program");
		return 0;
	}
	int fd = MUST(open("results", O_RDWR | O_CREAT | O_EXCL, 0600));
	MUST(ftruncate(fd, 4096));
	MUST(unlink("results"));
	struct results *r = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *again;
	TRUE(r != MAP_FAILED);
	for (int round = 0; round < 3; round++) {
		pid_t kids[8];
		for (int i = 0; i < 8; i++)
			if ((kids[i] = MUST(fork())) == 0) {
				__sync_fetch_and_add(i % 4 == 3 ? &r->failed : &r->passed, 1);
				snprintf(r->last, sizeof r->last, "round %d", round);
				_exit(0);
			}
		for (int i = 0; i < 8; i++)
			MUST(waitpid(kids[i], NULL, 0));
		printf("passed %d failed %d broken %d, last %s\n", r->passed, r->failed, r->broken, r->last);
	}
	pid_t k = MUST(fork());
	if (k == 0) {
		r->broken++;
		raise(SIGKILL);
	}
	reap("child", k);
	printf("broken %d\n", r->broken);
	char name[20];
	snprintf(name, sizeof name, "%d", fd);
	if ((k = MUST(fork())) == 0)
		execl("/proc/self/exe", "child", name, NULL);
	reap("program", k);
	printf("passed %d, last %s\n", r->passed, r->last);
	again = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	TRUE(again->passed == r->passed);
	r->passed = 77;
	TRUE(again->passed == 77);
	char *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	TRUE(((struct results *)own)->passed == 77);
	((struct results *)own)->passed = 1;
	TRUE(r->passed == 77);
	return 0;
}
