/* A memfd mapped by parent and children: futexes, process-shared mutexes and semaphores in it; read and write see what is stored,
 * and the other way round; its size; memory behind its end; unmapping and mapping it again; it goes over a socket. */
#include "victim.h"
#include <semaphore.h>
#include <setjmp.h>
struct shared { pthread_mutex_t m; pthread_cond_t c; sem_t sem; int turn, sum; char text[64]; };
static int fd;
static int adder(void *p)
{
	struct shared *s = p;
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&s->m);
		s->sum++;
		pthread_mutex_unlock(&s->m);
	}
	sem_post(&s->sem);
	return 0;
}
static int player(void *p)
{
	struct shared *s = p;
	for (int i = 0; i < 200; i++) {
		pthread_mutex_lock(&s->m);
		while (s->turn != 1)
			pthread_cond_wait(&s->c, &s->m);
		s->turn = 0;
		pthread_cond_broadcast(&s->c);
		pthread_mutex_unlock(&s->m);
	}
	return 0;
}
static int reader(void *p)
{
	struct shared *s = p;
	char b[64] = "";
	MUST(pread(fd, b, 64, offsetof(struct shared, text)));
	printf("child reads: %s, maps: %s\n", b, s->text);
	strcpy(s->text, "stored by the child");
	return 0;
}
static int receiver(void *p)
{
	char b, c[CMSG_SPACE(sizeof(int))];
	struct iovec v = {&b, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
	MUST(recvmsg(*(int *)p, &m, 0));
	int got;
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof got);
	struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, got, 0);
	TRUE(s != MAP_FAILED);
	printf("receiver sees: %s\n", s->text);
	strcpy(s->text, "from the receiver");
	return 0;
}
static sigjmp_buf jump;
static void bus(int sig, siginfo_t *si, void *u) { siglongjmp(jump, 1); }
int main(void)
{
	fd = MUST(memfd_create("victim", MFD_CLOEXEC));
	MUST(ftruncate(fd, 4096));
	struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE(s != MAP_FAILED);
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	pthread_mutexattr_init(&ma), pthread_mutexattr_setpshared(&ma, 1), pthread_mutex_init(&s->m, &ma);
	pthread_condattr_init(&ca), pthread_condattr_setpshared(&ca, 1), pthread_cond_init(&s->c, &ca);
	sem_init(&s->sem, 1, 0);
	pid_t kids[4];
	for (int i = 0; i < 4; i++)
		kids[i] = spawn(adder, s);
	for (int i = 0; i < 4; i++)
		sem_wait(&s->sem);
	printf("sum %d\n", s->sum);
	for (int i = 0; i < 4; i++)
		reap("adder", kids[i]);
	pid_t k = spawn(player, s);
	for (int i = 0; i < 200; i++) {
		pthread_mutex_lock(&s->m);
		while (s->turn != 0)
			pthread_cond_wait(&s->c, &s->m);
		s->turn = 1;
		pthread_cond_broadcast(&s->c);
		pthread_mutex_unlock(&s->m);
	}
	reap("player", k);
	strcpy(s->text, "stored");
	char b[64] = "";
	SHOW(pread(fd, b, 64, offsetof(struct shared, text)));
	printf("%s\n", b);
	MUST(pwrite(fd, "written", 8, offsetof(struct shared, text)));
	printf("%s\n", s->text);
	s->text[0] = 'W';
	SHOW(lseek(fd, offsetof(struct shared, text), SEEK_SET));
	SHOW(write(fd, "w", 1));
	SHOW(read(fd, b, 3));
	b[3] = 0;
	printf("%s %s\n", b, s->text);
	reap("reader", spawn(reader, s));
	printf("%s\n", s->text);
	SHOW(msync(s, 4096, MS_SYNC));
	SHOW(munmap(s, 4096));
	MUST(pread(fd, b, 64, offsetof(struct shared, text)));
	printf("%s\n", b);
	SHOW(ftruncate(fd, 3 * 4096));
	s = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE(s != MAP_FAILED);
	printf("%s\n", s->text);
	volatile char *end = (char *)s + 2 * 4096;
	*end = 'e';
	handle(SIGBUS, bus, SA_NODEFER);
	if (sigsetjmp(jump, 1) == 0) {
		end[4096] = 1;
		printf("no SIGBUS\n");
	} else {
		printf("SIGBUS behind the end\n");
	}
	SHOW(ftruncate(fd, 4096));
	if (sigsetjmp(jump, 1) == 0) {
		*end = 1;
		printf("no SIGBUS\n");
	} else {
		printf("SIGBUS in what was cut off\n");
	}
	SHOW(ftruncate(fd, 4 * 4096));
	TRUE(*end == 0);
	SHOW(fallocate(fd, 0, 0, 5 * 4096));
	struct stat st;
	MUST(fstat(fd, &st));
	printf("size %ld, %s\n", (long)st.st_size, s->text);
	MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
	end[0] = 'h';
	SHOW(madvise((void *)end, 4096, MADV_REMOVE));
	TRUE(*end == 0);
	MUST(pread(fd, b, 1, 2 * 4096));
	TRUE(b[0] == 0);
	int pair[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	k = spawn(receiver, &pair[1]);
	int other = MUST(memfd_create("passed", 0));
	MUST(ftruncate(other, 4096));
	struct shared *o = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
	strcpy(o->text, "from the sender");
	char c[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {"x", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
	*CMSG_FIRSTHDR(&m) = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &other, sizeof other);
	MUST(sendmsg(pair[0], &m, 0));
	reap("receiver", k);
	printf("%s\n", o->text);
	return 0;
}
