package linux

/*
#include <signal.h>
#include <stddef.h>
#include <string.h>

static void homing_kicked(int sig) { (void)sig; }

// homing_kick_init gives SIGRTMAX-2 a handler without SA_RESTART, so that it
// makes a blocking wait4 return EINTR. The Go runtime never uses that signal.
static int homing_kick_init(void) {
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = homing_kicked;
	sa.sa_flags = SA_ONSTACK;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMAX - 2);
	if (sigaction(SIGRTMAX - 2, &sa, NULL) != 0) return -1;
	return 0;
}
static int homing_kick_signal(void) { return SIGRTMAX - 2; }
*/
import "C"

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

var kickOnce = sync.OnceValue(func() error {
	if C.homing_kick_init() != 0 {
		return errors.New("cannot install the wake-up signal's handler")
	}
	return nil
})

// InitKick prepares Kick. It must be called before the first Kick.
func InitKick() error { return kickOnce() }

var kickSignal = int(C.homing_kick_signal())

// Kick makes a system call in which thread tid of this process is blocked
// return EINTR. A kick that arrives between two calls is lost: the caller must
// repeat it until it sees the effect.
func Kick(tid int) {
	_ = unix.Tgkill(unix.Getpid(), tid, unix.Signal(kickSignal)) // ESRCH: the thread has ended, nothing to wake
}
