package shadow

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// spinner decides whether waiting for the other side of a slot may spin before
// it sleeps. Waking a sleeping thread on another processor costs 20 µs and
// more; looking at a word for that long costs nothing if the processor would
// idle. It would not if more threads want to run than there are processors.
type spinner struct {
	stub atomic.Uint32 // turns that the stub looks for the next request
	wait atomic.Int32  // turns that a lane looks for the result
}

const (
	// One turn of the stub is a pause instruction, 20-60 ns: 2000 turns cover
	// the time to the next call of a guest that makes one after the other over
	// a local network.
	stubTurns = 2000
	waitTurns = 4000 // of a plain load each: the time of a short system call

	spinInterval = 20 * time.Millisecond
)

// watch looks at the number of runnable threads as long as calls come.
func (sp *spinner) watch(calls *atomic.Uint64, stop <-chan struct{}) {
	if runtime.NumCPU() < 2 {
		return
	}
	f, err := os.Open("/proc/loadavg")
	if err != nil {
		return
	}
	defer f.Close()
	tick := time.NewTicker(spinInterval)
	defer tick.Stop()
	last, busy := uint64(0), 0
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := calls.Load()
		if now == last {
			sp.stub.Store(0)
			sp.wait.Store(0)
			continue
		}
		last = now
		if running, ok := runnable(f); ok && running > runtime.NumCPU() {
			busy = 10 // stay away for a while: the count is of one instant
		} else if busy > 0 {
			busy--
		}
		if busy == 0 {
			sp.stub.Store(stubTurns)
			sp.wait.Store(waitTurns)
		} else {
			sp.stub.Store(0)
			sp.wait.Store(0)
		}
	}
}

// runnable reads the number of runnable threads, see proc_loadavg(5).
func runnable(f *os.File) (int, bool) {
	var buf [128]byte
	n, err := f.ReadAt(buf[:], 0)
	if n == 0 && err != nil {
		return 0, false
	}
	fields := bytes.Fields(buf[:n])
	if len(fields) < 4 {
		return 0, false
	}
	v, _, ok := bytes.Cut(fields[3], []byte{'/'})
	if !ok {
		return 0, false
	}
	r, err := strconv.Atoi(string(v))
	return r, err == nil
}
