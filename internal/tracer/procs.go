package tracer

import (
	"os"
	"runtime"
)

// SpareProcs gives the Go scheduler more processors than there are. A thread in
// wait4, a futex wait or a notification call holds one until the runtime's
// monitor takes it back, 20 to 100 µs later: with no other to spare, a packet
// that arrives meanwhile waits that long. A GOMAXPROCS of the environment is
// respected.
func SpareProcs() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(4, runtime.NumCPU()+2))
	}
}
