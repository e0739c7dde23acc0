/* vmsplice: pages given to a pipe.
 * oracle: mayhome */
#include "victim.h"
int main(void)
{
	static char buf[20000], back[20000];
	int p[2];
	for (unsigned i = 0; i < sizeof buf; i++)
		buf[i] = i * 7 + i / 251;
	MUST(pipe(p));
	struct iovec v[3] = {{buf, 10}, {buf + 100, 0}, {buf + 5000, 6000}};
	SHOW(vmsplice(p[1], v, 3, 0));
	SHOW(read(p[0], back, sizeof back));
	TRUE(memcmp(back, buf, 10) == 0 && memcmp(back + 10, buf + 5000, 6000) == 0);
	return 0;
}
