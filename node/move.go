package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// AtHome stands in the place of a node's name for the machine that a process
// belongs to.
const AtHome = "home"

// A MoveRequest says which processes are to go where.
type MoveRequest struct {
	PIDs     []int  `json:"pids,omitempty"`
	Tree     bool   `json:"tree,omitempty"`     // their descendants, too
	All      bool   `json:"all,omitempty"`      // instead of PIDs: all that are away
	To       string `json:"to"`                 // AtHome, or a node's name
	From     string `json:"from,omitempty"`     // only those that are on this node
	Strategy string `json:"strategy,omitempty"` // auto, stop, pre, post, hybrid; empty: auto
	Rate     int64  `json:"rate,omitempty"`     // bytes a second while the program runs; 0: no limit
}

// Strategies are the ways in which memory can go; see docs/architecture.md.
var Strategies = []string{"auto", "stop", "pre", "post", "hybrid"}

// A MoveEvent tells how far a move is.
type MoveEvent struct {
	PIDs  []int  `json:"pids"`
	Phase string `json:"phase"` // what is being done, in a word or two
	Round int    `json:"round,omitempty"`
	Pages uint64 `json:"pages,omitempty"` // sent so far
	Bytes uint64 `json:"bytes,omitempty"` // sent so far
	Total uint64 `json:"total,omitempty"` // bytes to be sent, if that is known
}

// A MoveRound is one passage through the memory.
type MoveRound struct {
	Pages    uint64        `json:"pages"`
	Bytes    uint64        `json:"bytes"` // on the wire
	Zero     uint64        `json:"zero"`  // pages of zeroes, not sent
	Duration time.Duration `json:"duration_ns"`
}

// A MoveReport tells what a move was.
type MoveReport struct {
	PIDs     []int         `json:"pids"` // all that went in the same freeze
	From     string        `json:"from"`
	To       string        `json:"to"`
	Strategy string        `json:"strategy"`
	Note     string        `json:"note,omitempty"` // e.g. why another strategy was used than asked for
	Via      string        `json:"via,omitempty"`  // AtHome if the pages went through home; empty: directly
	Rounds   []MoveRound   `json:"rounds,omitempty"`
	Pages    uint64        `json:"pages"`
	Bytes    uint64        `json:"bytes"`
	Freeze   time.Duration `json:"freeze_ns"` // during which the program did not run
	Total    time.Duration `json:"total_ns"`
}

// A MoveFailure tells which processes stay where they are, and why.
type MoveFailure struct {
	PIDs    []int  `json:"pids,omitempty"`
	Why     string `json:"error"`
	NotHeld bool   `json:"not_held,omitempty"` // no job has such a process
}

// A MoveError is why one process has not moved.
type MoveError struct {
	PID int
	Err error
}

func (e *MoveError) Error() string { return fmt.Sprintf("process %d: %v", e.PID, e.Err) }

// Unwrap gives the cause.
func (e *MoveError) Unwrap() error { return e.Err }

// A MoveLine is one line of a supervisor's answer to "move" and "release"; one
// field is set.
type MoveLine struct {
	Event   *MoveEvent   `json:"event,omitempty"`
	Report  *MoveReport  `json:"report,omitempty"`
	Failure *MoveFailure `json:"failure,omitempty"`
	Done    bool         `json:"done,omitempty"` // nothing follows
}

// A MoveResult is what came of a request.
type MoveResult struct {
	Moved  []MoveReport  `json:"moved"`
	Failed []MoveFailure `json:"failed"`
}

func (r *MoveResult) fail(why error, pids ...int) {
	r.Failed = append(r.Failed, MoveFailure{PIDs: pids, Why: why.Error()})
}

// Move asks the supervisors of a state directory to move processes, one job
// after the other. Progress is called in between, may be nil. When ctx ends the
// move that is under way is taken back if it can still be, and no other begins;
// Move waits for that. The error is about the request as a whole.
func Move(ctx context.Context, dir string, req MoveRequest, progress func(MoveEvent)) (MoveResult, error) {
	return ask(ctx, dir, "move", req, progress)
}

// Detach brings processes home and has their supervisors let go of them.
func Detach(ctx context.Context, dir string, pids []int, tree bool, progress func(MoveEvent)) (MoveResult, error) {
	return ask(ctx, dir, "release", MoveRequest{PIDs: pids, Tree: tree, To: AtHome}, progress)
}

func ask(ctx context.Context, dir, op string, req MoveRequest, progress func(MoveEvent)) (MoveResult, error) {
	res := MoveResult{Moved: []MoveReport{}, Failed: []MoveFailure{}}
	if progress == nil {
		progress = func(MoveEvent) {}
	}
	if req.To != AtHome {
		if _, err := Lookup(dir, req.To); err != nil {
			return res, err
		}
	}
	procs, jobsErr := Jobs(dir)
	byJob := map[int][]int{}
	var jobs []int
	add := func(job int, pids ...int) {
		if _, ok := byJob[job]; !ok {
			jobs = append(jobs, job)
		}
		byJob[job] = append(byJob[job], pids...)
	}
	if req.All {
		for _, p := range procs {
			if _, ok := byJob[p.Job]; !ok && p.Away(req.From) {
				add(p.Job)
			}
		}
		if jobsErr != nil {
			res.fail(jobsErr)
		}
	}
	for _, pid := range req.PIDs {
		i := slices.IndexFunc(procs, func(p Process) bool { return p.PID == pid })
		switch {
		case i >= 0:
			add(procs[i].Job, pid)
		case jobsErr != nil:
			res.fail(fmt.Errorf("cannot tell whose it is: %w", jobsErr), pid)
		default:
			res.Failed = append(res.Failed, MoveFailure{
				PIDs: []int{pid}, NotHeld: true,
				Why: fmt.Sprintf("not a program of homing; `homing attach %d --to NODE` adopts it", pid),
			})
		}
	}
	for _, job := range jobs {
		one := req
		one.PIDs = byJob[job]
		if ctx.Err() != nil {
			res.fail(errors.New("not begun: cancelled"), one.PIDs...)
			continue
		}
		if err := askMove(ctx, filepath.Join(dir, jobsDir, strconv.Itoa(job)+".sock"), JobRequest{Op: op, Move: &one}, &res, progress); err != nil {
			res.fail(err, one.PIDs...)
		}
	}
	return res, nil
}

// Away tells whether the process is on a node, on this one unless it is "".
func (p *Process) Away(from string) bool {
	return p.Where == "away" && (from == "" || p.Node == from)
}

// errEnded: a supervisor ends with the last process of its job.
var errEnded = errors.New("the job has ended")

// askMove has one supervisor carry out a request.
func askMove(ctx context.Context, sock string, req JobRequest, res *MoveResult, progress func(MoveEvent)) error {
	c, err := net.DialTimeout("unix", sock, jobLimit)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return errEnded
	}
	if err != nil {
		return fmt.Errorf("ask supervisor: %w", err)
	}
	defer c.Close()
	err = json.NewEncoder(c).Encode(req)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return errEnded
	}
	if err != nil {
		return fmt.Errorf("ask supervisor: %w", err)
	}
	// The end of our lines tells the supervisor to take back what it can; it
	// still says what came of it.
	defer context.AfterFunc(ctx, func() { _ = c.(*net.UnixConn).CloseWrite() })()
	in := bufio.NewScanner(c)
	in.Buffer(nil, maxJobReply)
	heard := false
	for in.Scan() {
		heard = true
		var line MoveLine
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return fmt.Errorf("supervisor: %w", err)
		}
		switch {
		case line.Event != nil:
			progress(*line.Event)
		case line.Report != nil:
			res.Moved = append(res.Moved, *line.Report)
		case line.Failure != nil:
			res.Failed = append(res.Failed, *line.Failure)
		case line.Done:
			return nil
		}
	}
	err = in.Err()
	if !heard && (err == nil || errors.Is(err, unix.ECONNRESET)) {
		return errEnded
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the supervisor ended without an answer (%w); its log is in the state directory", err)
}
