/* A memfd that was mapped shared: sealed while mapped and after, executed once nobody can write to it. */
#include "victim.h"
int main(int argc, char **argv)
{
	if (argc > 1) {
		printf("executed\n");
		return 7;
	}
	int fd = MUST(memfd_create("sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC));
	MUST(ftruncate(fd, 8192));
	char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	strcpy(m, "sealed text");
	SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	SHOW(ftruncate(fd, 4096));
	SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	SHOW(munmap(m, 8192));
	SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	SHOW(write(fd, "x", 1));
	SHOW(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	m = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	TRUE(m != MAP_FAILED && strcmp(m, "sealed text") == 0);
	SHOW(mprotect(m, 8192, PROT_READ | PROT_WRITE));
	SHOW(fcntl(fd, F_GET_SEALS));
	int exe = MUST(open("/proc/self/exe", O_RDONLY)), copy = MUST(memfd_create("program", 0));
	struct stat st;
	MUST(fstat(exe, &st));
	MUST(ftruncate(copy, st.st_size));
	char *from = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, exe, 0);
	char *to = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
	memcpy(to, from, st.st_size);
	char path[40];
	sprintf(path, "/proc/self/fd/%d", copy);
	int ro = MUST(open(path, O_RDONLY));
	munmap(to, st.st_size);
	close(copy);
	pid_t k = MUST(fork());
	if (k == 0) {
		char *args[] = {"copy", "x", NULL};
		fexecve(ro, args, environ);
		printf("%s\n", strerrorname_np(errno));
		_exit(1);
	}
	reap("program", k);
	return 0;
}
