package shadow

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

// traceLog is the strace-like log of `homing run --trace`: one line for each
// call that home has to do with, and for what happens to threads and processes
// in between.
//
//	TIME THREAD WHERE CALL(ARGUMENTS) = RESULT <SECONDS>
//
// WHERE is home (executed by the shadow alone), both (by the shadow, then by
// the guest's own kernel) or away (by the guest's kernel, home was only asked).
// Lines are written by a goroutine of its own: the tracer's thread never waits
// for a file. Lock order: mu is a leaf.
type traceLog struct {
	f    *os.File
	done chan struct{}

	mu      sync.Mutex
	changed *sync.Cond
	buf     []byte // lines not yet written
	image   []byte // scratch
	closed  bool
}

// maxTraceBuf is how far calls may be ahead of the file.
const maxTraceBuf = 1 << 20

func openTrace(name string) (*traceLog, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("trace file: %w", err)
	}
	t := &traceLog{f: f, done: make(chan struct{})}
	t.changed = sync.NewCond(&t.mu)
	go t.write()
	return t, nil
}

// close writes what is left.
func (t *traceLog) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.closed = true
	t.changed.Broadcast()
	t.mu.Unlock()
	<-t.done
	_ = t.f.Close() // a full disk must not end the job
}

func (t *traceLog) write() {
	defer close(t.done)
	var out []byte
	for {
		t.mu.Lock()
		for len(t.buf) == 0 && !t.closed {
			t.changed.Wait()
		}
		out, t.buf = t.buf, out[:0]
		t.changed.Broadcast()
		t.mu.Unlock()
		if len(out) == 0 {
			return
		}
		_, _ = t.f.Write(out) // likewise
	}
}

// begin appends the head of a line. mu is held.
func (t *traceLog) begin(at time.Time, tid int, where string) {
	t.buf = at.AppendFormat(t.buf, "15:04:05.000000")
	t.buf = fmt.Appendf(t.buf, " %d %s ", tid, where)
}

// note logs what is no call. It never waits.
func (t *traceLog) note(tid int, format string, args ...any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(time.Now(), tid, "home")
	t.buf = fmt.Appendf(t.buf, format, args...)
	t.buf = append(t.buf, '\n')
	t.changed.Broadcast()
}

// signal logs a signal that the home kernel has accepted.
func (t *traceLog) signal(tid int, info *signals.Info) {
	if t == nil {
		return
	}
	sig := signals.Signo(info)
	name := unix.SignalName(unix.Signal(sig))
	if name == "" {
		name = fmt.Sprintf("SIGRT_%d", sig-32)
	}
	t.note(tid, "--- %s {si_code=%d} ---", name, signals.Code(info))
}

// ended logs the end of a thread.
func (t *traceLog) ended(tid int, ws unix.WaitStatus) {
	if t == nil {
		return
	}
	if ws.Signaled() {
		core := ""
		if ws.CoreDump() {
			core = " (core dumped)"
		}
		t.note(tid, "+++ killed by %s%s +++", unix.SignalName(ws.Signal()), core)
		return
	}
	t.note(tid, "+++ exited with %d +++", ws.ExitStatus())
}

// traced serves a call like serveCall and logs it.
func (s *Supervisor) traced(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) (answered bool) {
	t := s.traceLog
	if t == nil {
		return s.serveCall(th, call, reply)
	}
	began := *call // serving changes the arguments of some
	start := time.Now()
	if call.NR == unix.SYS_EXIT || call.NR == unix.SYS_EXIT_GROUP {
		t.call(&began, nil, start) // afterwards nobody may be left to log it
		return s.serveCall(th, call, reply)
	}
	answered = s.serveCall(th, call, reply)
	t.call(&began, reply, start)
	return answered
}

// call logs one call; without a reply, one that does not return.
func (t *traceLog) call(call *syscallfwd.Call, reply *syscallfwd.Reply, start time.Time) {
	took := time.Since(start)
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.buf) > maxTraceBuf && !t.closed {
		t.changed.Wait()
	}
	t.begin(start, int(call.TID), place(call, reply))
	switch call.NR {
	case unix.SYS_RT_SIGACTION:
		t.buf = appendSigaction(t.buf, call)
	case protocol.CallFill:
		t.buf = fmt.Appendf(t.buf, "[text of the /proc file, %d bytes](%d)", len(call.Data), int32(call.Args[0]))
	default:
		if reply != nil {
			t.image = call.Rebuild(reply, t.image)
		}
		t.buf = syscallfwd.AppendTraceCall(t.buf, call, result(reply), t.image)
	}
	t.buf = appendOutcome(t.buf, reply)
	if reply != nil {
		t.buf = fmt.Appendf(t.buf, " <%.6f>", took.Seconds())
	}
	t.buf = append(t.buf, '\n')
	t.changed.Broadcast()
}

func result(reply *syscallfwd.Reply) int64 {
	if reply == nil || reply.Flags != 0 {
		return 0
	}
	return reply.Ret
}

// place says which kernels execute a call.
func place(call *syscallfwd.Call, reply *syscallfwd.Reply) string {
	if reply != nil && reply.Flags&protocol.ReplyFile != 0 {
		return "away"
	}
	switch call.NR {
	case unix.SYS_CLONE, unix.SYS_RT_SIGACTION, unix.SYS_EXIT, unix.SYS_EXIT_GROUP:
		return "both"
	}
	return "home"
}

// appendSigaction shows what home is told of a disposition, see serveSigaction.
func appendSigaction(b []byte, call *syscallfwd.Call) []byte {
	kind := [...]string{"SIG_DFL", "SIG_IGN", "caught"}[min(call.Args[1], 2)]
	name := unix.SignalName(unix.Signal(call.Args[0]))
	if name == "" {
		name = fmt.Sprint(call.Args[0])
	}
	return fmt.Appendf(b, "rt_sigaction(%s, {%s, sa_flags=%#x})", name, kind, call.Args[2])
}

// appendOutcome appends the result, or what has happened instead.
func appendOutcome(b []byte, reply *syscallfwd.Reply) []byte {
	switch {
	case reply == nil:
		return append(b, " = ?"...)
	case reply.Flags&protocol.ReplyGone != 0:
		return append(b, " = ? (ended)"...)
	case reply.Flags&protocol.ReplyRepatriate != 0:
		return fmt.Appendf(b, " = ? (comes home: %s)", reply.Outs)
	case reply.Flags&protocol.ReplyHome != 0:
		return fmt.Appendf(b, " = 0 (at home: %s)", reply.Outs)
	case reply.Flags&protocol.ReplyFile != 0:
		var f checkpoint.File
		_ = json.Unmarshal(reply.Outs, &f) // our own words
		return fmt.Appendf(b, " = ? (content of %s)", f.Path)
	}
	return syscallfwd.AppendResult(b, reply.Ret)
}
