/* Options of prctl that few programs use, and one that does not exist.
 * oracle: mayhome */
#include "victim.h"
#include <sys/prctl.h>
int main(void)
{
	int tsc = 0;
	SHOW(prctl(PR_GET_TSC, &tsc));
	SHOW(tsc);
	SHOW(prctl(PR_GET_FP_MODE));
	SHOW(prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) >= -1);
	SHOW(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	SHOW(prctl(12345));
	return 0;
}
