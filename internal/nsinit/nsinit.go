// Package nsinit is what must happen before the Go runtime starts, in a C
// constructor:
//
//  1. A process whose argv[0] is PodName never reaches Go: it becomes the first
//     process of a pod (see nsinit.c) and sleeps until its tracer drives it.
//  2. In all others the signal dispositions and mask that the caller handed
//     down are recorded, because the runtime overwrites them: `homing run` must
//     pass them on unchanged to the program it executes (nohup, shells'
//     background jobs).
package nsinit

/*
#include <stdint.h>
extern uint64_t homing_sigignored, homing_sigmask;
*/
import "C"

import (
	"fmt"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// PodName is the argv[0] that turns this executable into a pod's first process.
const PodName = "homing-pod"

// SupervisorName is the argv[0] that makes this executable detach first.
const SupervisorName = "homing-supervisor"

// RestoreSignals gives the calling thread the signal mask, and the process the
// ignored signals, which were inherited. Call it right before execve.
func RestoreSignals() error {
	for sig := 1; sig <= 64; sig++ {
		if uint64(C.homing_sigignored)&(1<<(sig-1)) == 0 || sig == int(unix.SIGKILL) || sig == int(unix.SIGSTOP) {
			continue
		}
		if err := linux.IgnoreSignal(sig); err != nil {
			return fmt.Errorf("ignore signal %d as inherited: %w", sig, err)
		}
	}
	return linux.SetOwnSigmask(uint64(C.homing_sigmask))
}
