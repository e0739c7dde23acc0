package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/node"
)

// mover moves the processes of a job and lets go of them.
type mover interface {
	// Move moves one process, with Tree its descendants, and all that cannot be
	// parted from them. The report names those who moved: nobody, if they were
	// there already. The error joins a *node.MoveError for each that did not.
	// When ctx ends, a move that has not been committed is undone.
	Move(ctx context.Context, req node.MoveRequest, progress func(node.MoveEvent)) (node.MoveReport, error)
	// Release lets go of processes that are at home.
	Release(pids []int, tree bool) error
}

// jobServer answers at the job's socket, STATE/jobs/PID.sock. Whoever can open
// it is the job's user: the directory is for him alone.
type jobServer struct {
	log   *slog.Logger
	info  func() node.JobReply
	mover mover

	l       net.Listener
	once    sync.Once
	answers sync.WaitGroup // under way
}

// hide makes the job unknown. It removes the socket's file, once: another job
// may then have a socket of that name.
func (j *jobServer) hide() {
	j.once.Do(func() { _ = j.l.Close() })
}

// Close hides the job and waits until all answers have been given.
func (j *jobServer) Close() error {
	j.hide()
	j.answers.Wait()
	return nil
}

// errHeld says that a job of that number is there already.
var errHeld = errors.New("it belongs to a job of homing already; see `homing ps`")

// serveJob opens the socket of a job.
func serveJob(state string, pid int, srv *jobServer) (io.Closer, error) {
	var err error
	if srv.l, err = listenOnce(filepath.Join(state, "jobs"), strconv.Itoa(pid)+".sock"); err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := srv.l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of descriptors, for a while
				srv.log.Warn("job socket", "err", err)
				time.Sleep(10 * time.Millisecond)
				continue
			}
			srv.answers.Go(func() { srv.answer(c) })
		}
	}()
	return srv, nil
}

// listenOnce makes a socket unless somebody listens at one of that name. One that
// a killed supervisor has left is replaced.
func listenOnce(dir, name string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w; set HOMING_STATE to a place you can write", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	defer d.Close() // and with it the lock
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	path := filepath.Join(dir, name)
	if limit := len(unix.RawSockaddrUnix{}.Path); len(path) >= limit {
		return nil, fmt.Errorf("job socket: %s is longer than an address may be (%d bytes); give --state DIR or set HOMING_STATE to a shorter path", path, limit-1)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, errHeld
	}
	_ = os.Remove(path) // mostly there is none
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("job socket: %w", err)
	}
	return l, nil
}

// answer serves one request.
func (j *jobServer) answer(c net.Conn) {
	defer c.Close()
	var req node.JobRequest
	if err := json.NewDecoder(io.LimitReader(c, 1<<20)).Decode(&req); err != nil {
		return
	}
	if (req.Op == "move" || req.Op == "release") && req.Move != nil {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			_, _ = io.Copy(io.Discard, c)
			cancel() // the client has gone, or wants no more of it
		}()
		out := newLineWriter(c, j.log)
		j.move(ctx, req.Op, *req.Move, out)
		if req.Op == "release" && len(j.info().Processes) == 0 {
			j.hide() // before the answer: who is told so may adopt them anew
		}
		out.close()
		return
	}
	reply := node.JobReply{Error: "unknown request " + strconv.Quote(req.Op)}
	if req.Op == "ps" {
		reply = j.info()
	}
	if err := json.NewEncoder(c).Encode(reply); err != nil {
		j.log.Debug("job request not answered", "err", err)
	}
}

// move carries out a request, one process after the other. Those that went along
// with an earlier one are done.
func (j *jobServer) move(ctx context.Context, op string, req node.MoveRequest, out *lineWriter) {
	if j.mover == nil {
		out.fail(errors.New("this job's supervisor cannot move processes; start the program again with this version of homing"), req.PIDs...)
		return
	}
	tried := map[int]bool{}
	for {
		pid, ok := j.next(&req, tried)
		if !ok {
			return
		}
		tried[pid] = true
		if ctx.Err() != nil {
			out.fail(errors.New("not begun: cancelled"), pid)
			continue
		}
		one := req
		one.PIDs, one.All = []int{pid}, false
		rep, err := j.mover.Move(ctx, one, out.event)
		if err == nil && op == "release" {
			err = j.mover.Release(one.PIDs, req.Tree)
		}
		if err == nil && len(rep.PIDs) == 0 { // there was nothing to do
			rep.PIDs, rep.From, rep.To = one.PIDs, req.To, req.To
		}
		for _, e := range unjoin(err) {
			at := pid
			var failed *node.MoveError
			if errors.As(e, &failed) {
				at, e = failed.PID, failed.Err
			}
			if errors.Is(e, context.Canceled) && ctx.Err() != nil {
				e = errors.New("cancelled; it runs on where it was")
			}
			if hasEnded(at) {
				e = fmt.Errorf("it has ended (%w)", e)
			}
			j.log.Info("not moved", "pid", at, "to", req.To, "err", e)
			out.fail(e, at)
		}
		if len(rep.PIDs) == 0 {
			continue
		}
		for _, p := range rep.PIDs {
			tried[p] = true
		}
		if rep.From != rep.To {
			j.log.Info("moved", "pids", rep.PIDs, "from", rep.From, "to", rep.To, "strategy", rep.Strategy, "freeze", rep.Freeze, "total", rep.Total)
		}
		out.put(node.MoveLine{Report: &rep})
	}
}

// hasEnded tells whether there is no such process any more.
func hasEnded(pid int) bool {
	st, err := linux.ReadStat("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil { // it may be that we have no descriptor left
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
	}
	return st.State == 'Z' && st.NumThreads <= 1 // with more, only its first thread has ended
}

// next is a process that the request asks for and that has not been tried. All
// means those that are away now: children may have been born meanwhile.
func (j *jobServer) next(req *node.MoveRequest, tried map[int]bool) (int, bool) {
	if !req.All {
		i := slices.IndexFunc(req.PIDs, func(pid int) bool { return !tried[pid] })
		if i < 0 {
			return 0, false
		}
		return req.PIDs[i], true
	}
	for _, p := range j.info().Processes {
		if !tried[p.PID] && p.Away(req.From) {
			return p.PID, true
		}
	}
	return 0, false
}

// unjoin takes the errors out of an errors.Join.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range j.Unwrap() {
			all = append(all, unjoin(e)...)
		}
		return all
	}
	return []error{err}
}

// lineWriter sends the lines of an answer. A move never waits for its reader:
// events that he does not take in time are dropped.
type lineWriter struct {
	lines chan node.MoveLine
	done  sync.WaitGroup
}

func newLineWriter(w io.Writer, log *slog.Logger) *lineWriter {
	l := &lineWriter{lines: make(chan node.MoveLine, 64)}
	l.done.Go(func() {
		enc := json.NewEncoder(w)
		var failed error
		for line := range l.lines {
			if failed != nil {
				continue
			}
			if failed = enc.Encode(line); failed != nil {
				log.Debug("nobody listens to what a move does", "err", failed)
			}
		}
	})
	return l
}

func (l *lineWriter) put(line node.MoveLine) { l.lines <- line }

func (l *lineWriter) event(e node.MoveEvent) {
	select {
	case l.lines <- node.MoveLine{Event: &e}:
	default:
	}
}

func (l *lineWriter) fail(err error, pids ...int) {
	l.put(node.MoveLine{Failure: &node.MoveFailure{PIDs: pids, Why: err.Error()}})
}

// close sends what there is, and the last line.
func (l *lineWriter) close() {
	l.put(node.MoveLine{Done: true})
	close(l.lines)
	l.done.Wait()
}
