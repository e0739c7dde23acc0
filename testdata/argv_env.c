/* Arguments and environment of every size: 128 KiB strings, many strings, too long ones (E2BIG). */
#include "victim.h"
extern char **environ;
int main(int argc, char **argv)
{
	if (argc > 1) {
		unsigned long h = 5381, n = 0;
		for (int i = 0; i < argc; i++)
			for (char *p = i ? argv[i] : ""; *p; p++, n++)
				h = h * 33 + *p;
		printf("argc %d, %lu bytes, hash %lx\n", argc, n, h);
		h = n = 0;
		for (char **e = environ; *e; e++)
			h += strlen(*e), n++;
		printf("%lu variables, %lu bytes\n", n, h);
		return 0;
	}
	static char longest[131072], toolong[131073];
	memset(longest, 'L', sizeof longest - 1);
	memset(toolong, 'T', sizeof toolong - 1);
	char self[4096];
	snprintf(self, sizeof self, "%s", argv[0]);
	char *args[] = {self, longest, "", "x", NULL}, *env[] = {longest, "A=b", NULL};
	pid_t pid = MUST(fork());
	if (pid == 0) {
		execve(self, args, env);
		_exit(9);
	}
	reap("longest", pid);
	args[1] = toolong;
	SHOW(execve(self, args, env));
	static char *many[5002];
	many[0] = self;
	for (int i = 1; i < 5001; i++)
		asprintf(&many[i], "argument number %d", i) < 0 ? abort() : (void)0;
	pid = MUST(fork());
	if (pid == 0) {
		execve(self, many, env);
		_exit(9);
	}
	reap("many", pid);
	static char *huge[40];
	huge[0] = self;
	for (int i = 1; i < 30; i++)
		huge[i] = longest;
	SHOW(execve(self, huge, env)); /* beyond a quarter of the stack limit */
	return 0;
}
