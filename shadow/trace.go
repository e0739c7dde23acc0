package shadow

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"time"

	"homing/syscallfwd"
)

// traceLog is the strace-like log of `homing run --trace`.
type traceLog struct {
	mu sync.Mutex
	f  *os.File
	w  *bufio.Writer
}

func openTrace(name string) (*traceLog, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("trace file: %w", err)
	}
	return &traceLog{f: f, w: bufio.NewWriter(f)}, nil
}

func (t *traceLog) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.w.Flush() // a full disk must not end the job
	_ = t.f.Close()
}

// call logs one call served at home: time, thread, where, call, result, duration.
func (t *traceLog) call(call *syscallfwd.Call, args [6]uint64, reply *syscallfwd.Reply, start time.Time) {
	if t == nil {
		return
	}
	took := time.Since(start)
	name := "?"
	if e := syscallfwd.Lookup(call.NR); e != nil {
		name = e.Name
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.w, "%s %d home %s", start.Format("15:04:05.000000"), call.TID, name)
	fmt.Fprintf(t.w, "(%#x, %#x, %#x, %#x, %#x, %#x) = %d <%.6f>\n",
		args[0], args[1], args[2], args[3], args[4], args[5], reply.Ret, took.Seconds())
	_ = t.w.Flush() // a full disk must not end the job
}
