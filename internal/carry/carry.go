// Package carry moves processes from one machine to another over one
// connection: it joins the descriptions of processes (protocol.ProcImage) with
// the transfer of their memory (package transfer). Both ends are the same whether
// they are at home or on a node; what only those can do (stop a process, make
// mappings in it) they pass as functions.
//
//  1. The sender chooses a strategy and describes the running process (a sketch);
//     with pre-copy it sends rounds of its memory. The receiver builds a body from
//     the sketch and changes it as the sketch changes.
//  2. The sender stops the processes. For each it sends the final description
//     and what of its memory the receiver lacks.
//  3. When Send and Receive have returned, everything is in place, or named and
//     still to come (post-copy): then Sent.Serve runs at the source.
//
// A group moves as one: its processes follow each other, and none of them is sent
// before all stand still. There are no locks here: a Sender and a Receiver are
// used by one goroutine each.
//
// Trust: a description comes from the peer; it is validated here, before the
// receiver's functions see it. When the other end dies, Send and Receive return:
// whoever called them lets the processes go on, or drops what has come.
package carry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"homing/checkpoint"
	"homing/checkpoint/transfer"
	"homing/internal/fault"
	"homing/internal/linux"
	"homing/internal/protocol"
)

// label goes with the first frame of a round.
type label struct {
	Index, Count int // of the process; Count is 0 while it is not known
	Final        bool
	Proc         protocol.ProcImage
}

// maxProcesses bounds a group that moves together.
const maxProcesses = 1 << 14

// Frozen is a process that stands still.
type Frozen struct {
	PID   int // on this machine
	Proc  *protocol.ProcImage
	Eager []linux.Range // what must not come late
}

// Sender is the source of a move. All of its processes are those that Freeze
// returns; the first is the one that the move was ordered for.
type Sender struct {
	Want       transfer.Strategy
	Conditions transfer.Conditions
	Options    transfer.Options
	Aim        transfer.Aim

	// Alone: no other process shares memory with it, so that it can be copied
	// while it runs, or completed after it has left.
	Alone bool
	// Ahead: the receiver builds before the process stands still, with any strategy.
	Ahead     bool
	PID       int
	Hidden    []linux.Range                       // ours in its address space
	Userfault func() (transfer.Userfault, error)  // for pre-copy
	Sketch    func() (*protocol.ProcImage, error) // of the running process
	Freeze    func(context.Context) ([]Frozen, error)

	conn net.Conn
}

// Sent is what a sender has done.
type Sent struct {
	Strategy  transfer.Strategy
	Note      string // why another strategy was used than wanted
	Rounds    []transfer.Round
	Bandwidth float64 // bytes a second, 0: not measured
	// Serve is set if memory is left behind: it must run until it returns,
	// while the processes run at their destination.
	Serve func(context.Context) (transfer.Round, error)
}

// Send moves the processes' memory. After an error nothing has changed but that
// the processes stand still if Freeze was reached.
func (s *Sender) Send(ctx context.Context, conn net.Conn) (*Sent, error) {
	s.conn = conn
	out := &Sent{}
	if !s.Alone {
		s.Conditions.Track = errGroup
		s.Conditions.Fault = errGroup
	}
	out.Strategy, out.Note = transfer.Choose(s.Want, s.Conditions)
	first := transfer.NewSource(conn, s.PID, s.Options)
	var tracker *transfer.Tracker
	lazy := out.Strategy == transfer.Post
	if out.Strategy == transfer.Pre || out.Strategy == transfer.Hybrid {
		var err error
		if tracker, err = s.track(); err != nil {
			c := s.Conditions
			c.Track = err
			out.Strategy, out.Note = transfer.Choose(s.Want, c)
			lazy = out.Strategy == transfer.Post
		} else {
			defer tracker.Disarm()
			outcome, err := first.Precopy(ctx, tracker, s.sketch, s.Aim)
			if err != nil {
				first.Close()
				return nil, err
			}
			out.Rounds, out.Bandwidth = outcome.Rounds, outcome.Bandwidth
			lazy = outcome.Lazy(s.Want, s.Conditions)
			if !lazy && !outcome.Converged && s.Want != transfer.Pre {
				out.Note = outcome.Why
			}
			if lazy {
				out.Strategy = transfer.Hybrid
			}
		}
	}
	if tracker == nil && s.Ahead && s.Alone {
		// What cannot be described is refused when it stands still, with the reason.
		if b, _, err := s.sketch(); err == nil {
			if err := first.Announce(ctx, b); err != nil {
				first.Close()
				return nil, err
			}
		}
	}
	frozen, err := s.Freeze(ctx)
	if err != nil {
		first.Close()
		return nil, err
	}
	for i, f := range frozen {
		src := first
		if i > 0 {
			src = transfer.NewSource(conn, f.PID, s.Options)
		}
		r, err := s.final(ctx, src, f, i, len(frozen), tracker, lazy && len(frozen) == 1)
		if err != nil {
			src.Close()
			return nil, err
		}
		tracker = nil // of the first only
		out.Rounds = append(out.Rounds, r.Round)
		if r.Declined != "" {
			out.Note = r.Declined
			out.Strategy = transfer.Stop
			if len(out.Rounds) > 1 {
				out.Strategy = transfer.Pre
			}
		}
		if r.Lazy > 0 {
			out.Serve = func(ctx context.Context) (transfer.Round, error) {
				defer src.Close()
				if err := fault.Point("send.serve", conn); err != nil {
					return transfer.Round{}, err
				}
				return src.Serve(ctx)
			}
		} else {
			src.Close()
		}
	}
	return out, nil
}

var errGroup = errors.New("it shares memory with other processes: they move in one freeze")

func (s *Sender) track() (*transfer.Tracker, error) {
	if s.Userfault == nil {
		return nil, errors.New("the process cannot be watched")
	}
	u, err := s.Userfault()
	if err != nil {
		return nil, err
	}
	return transfer.NewTracker(s.PID, u, s.Hidden)
}

func (s *Sender) sketch() ([]byte, *checkpoint.Image, error) {
	if err := fault.Point("send.sketch", s.conn); err != nil {
		return nil, nil, err
	}
	p, err := s.Sketch()
	if err != nil {
		return nil, nil, err
	}
	b, err := json.Marshal(label{Proc: *p})
	return b, &p.Image, err
}

func (s *Sender) final(ctx context.Context, src *transfer.Source, f Frozen, i, n int, t *transfer.Tracker, lazy bool) (transfer.FinalRound, error) {
	if err := fault.Point("send.final", s.conn); err != nil {
		return transfer.FinalRound{}, err
	}
	bare := *f.Proc
	bare.Image.Pages = nil // they are named as they come
	b, err := json.Marshal(label{Index: i, Count: n, Final: true, Proc: bare})
	if err != nil {
		return transfer.FinalRound{}, err
	}
	return src.Final(ctx, transfer.Final{Image: &f.Proc.Image, Layout: b, Tracker: t, Lazy: lazy, Eager: f.Eager})
}

// Body is what a receiver builds for one process.
type Body interface {
	// Build makes the process and its mappings.
	Build(*protocol.ProcImage) (transfer.Placed, error)
	// Change makes its mappings, built for another description of the same
	// process, those of this one.
	Change(to, built *protocol.ProcImage) (transfer.Placed, error)
	// Userfault makes a userfaultfd in the process, see transfer.UserfaultCall.
	Userfault() (transfer.Userfault, error)
	// Drop makes ranges fresh again.
	Drop([]linux.Range) error
}

// Receiver is the destination of a move.
type Receiver struct {
	Options transfer.Options
	NewBody func() Body
}

// Received is a process that has arrived, but for its threads.
type Received struct {
	Body   Body
	Proc   *protocol.ProcImage
	Rounds []transfer.Round
	Puller *transfer.Puller // brings the rest; nil: nothing is missing
}

// Receive takes processes from a connection. After an error those that came, or
// came in part, are returned as well, to be dropped.
func (r *Receiver) Receive(ctx context.Context, conn net.Conn) ([]Received, error) {
	var all []Received
	for {
		all = append(all, Received{Body: r.NewBody()})
		got := &all[len(all)-1]
		n, err := r.one(ctx, conn, got, len(all)-1)
		if err != nil {
			return all, err
		}
		if len(all) == n {
			return all, nil
		}
	}
}

func (r *Receiver) one(ctx context.Context, conn net.Conn, got *Received, index int) (count int, err error) {
	var built *protocol.ProcImage
	layout := func(b []byte) (transfer.Placed, error) {
		var l label
		if err := json.Unmarshal(b, &l); err != nil {
			return transfer.Placed{}, fmt.Errorf("description of a process: %w", err)
		}
		if l.Final && (l.Index != index || l.Count <= index || l.Count > maxProcesses) {
			return transfer.Placed{}, fmt.Errorf("process %d of %d came as number %d", l.Index, l.Count, index)
		}
		check := l.Proc.Image.ValidateSketch
		if l.Final {
			check = l.Proc.Image.Validate
			count = l.Count
		}
		if err := check(); err != nil {
			return transfer.Placed{}, err
		}
		if built != nil && built.Image.PID != l.Proc.Image.PID {
			return transfer.Placed{}, errors.New("descriptions of different processes")
		}
		var p transfer.Placed
		var err error
		if built == nil {
			p, err = got.Body.Build(&l.Proc)
		} else {
			p, err = got.Body.Change(&l.Proc, built)
		}
		if err != nil {
			return p, err
		}
		built = &l.Proc
		if l.Final {
			got.Proc = built
		}
		return p, nil
	}
	d := transfer.NewDestination(conn, transfer.Body{Layout: layout, Userfault: got.Body.Userfault, Drop: got.Body.Drop}, r.Options)
	a, err := d.Receive(ctx)
	got.Rounds, got.Puller = a.Rounds, a.Puller
	d.Close() // the Puller does without
	if err == nil && got.Proc == nil {
		err = errors.New("a process came without its final description")
	}
	return count, err
}

// Eager are the parts of a process's memory that its threads and the kernel
// need at once: stacks where they stand, thread areas.
func Eager(im *checkpoint.Image) []linux.Range {
	var out []linux.Range
	around := func(addr, before, after uint64) {
		if addr != 0 {
			out = append(out, linux.Range{Start: (addr - min(before, addr)) &^ (checkpoint.PageSize - 1), End: (addr + after) &^ (checkpoint.PageSize - 1)})
		}
	}
	for i := range im.Threads {
		t := &im.Threads[i]
		around(t.Regs.Rsp, 2*checkpoint.PageSize, 4*checkpoint.PageSize)
		around(t.Regs.Rip, checkpoint.PageSize, 2*checkpoint.PageSize)
		around(t.Regs.Fs_base, checkpoint.PageSize, 2*checkpoint.PageSize)
		around(t.Rseq.Addr, 0, 2*checkpoint.PageSize)
		around(t.RobustHead, 0, 2*checkpoint.PageSize)
		around(t.ClearTID, 0, 2*checkpoint.PageSize)
	}
	around(im.Layout.ArgStart, 0, im.Layout.EnvEnd-im.Layout.ArgStart+2*checkpoint.PageSize)
	return out
}
