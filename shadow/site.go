package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/kkc"
	"homing/node"
)

// site is an execution node as the job sees it: the session with it and, at
// its other end, the job's pod there. A job reaches a node when it first needs
// it and stays connected until it ends.
type site struct {
	name string
	addr string
	pin  string
	sess *kkc.Session
	out  *protocol.Outbox
	rate atomic.Uint64 // bytes a second that a move to or from it has reached; 0: not known
	lost atomic.Bool   // processes whose guests were there have been ended
}

// bandwidth is how fast memory goes there, in bytes a second; 0: not known.
func (at *site) bandwidth() float64 { return float64(at.rate.Load()) }

func (at *site) noteBandwidth(b float64) {
	if b > 0 {
		at.rate.Store(uint64(b))
	}
}

// reachLimit bounds how long it may take to connect to a node and open a pod.
const reachLimit = 15 * time.Second

// reach returns the job's site on a node, connecting to it if need be.
func (s *Supervisor) reach(ctx context.Context, name string) (*site, error) {
	known, err := node.Lookup(s.cfg.StateDir, name)
	if err != nil {
		return nil, err
	}
	s.sitesMu.Lock() // also so that nobody else connects to it meanwhile
	defer s.sitesMu.Unlock()
	if at := s.sites[name]; at != nil && at.sess.Err() == nil {
		return at, nil
	}
	if s.arena == nil {
		if s.arena, err = newArena(); err != nil {
			return nil, err
		}
	}
	id, err := kkc.LoadIdentity(s.cfg.StateDir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	sess, err := kkc.Dial(ctx, known.Addr, id, known.Fingerprint, node.HomeHello(s.cfg.Version))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	at := &site{name: name, addr: known.Addr, pin: known.Fingerprint, sess: sess, out: protocol.NewOutbox(sess, s.log)}
	s.handle(at)
	sess.Start()
	if err := at.openPod(ctx); err != nil {
		sess.Close("pod refused")
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	s.sites[name] = at
	go s.serve(at)
	go func() {
		<-sess.Done()
		s.lose(at, lossReason(sess.Err()))
	}()
	return at, nil
}

// handle registers what the node may ask.
func (s *Supervisor) handle(at *site) {
	async(s, at, protocol.Abandon, s.onAbandon)
	async(s, at, protocol.SignalDone, s.onSignalDone)
	async(s, at, protocol.Default, s.onDefault)
	async(s, at, protocol.Died, s.onDied)
	async(s, at, protocol.Refused, s.onRefused)
	async(s, at, protocol.Stopped, s.onStopped)
	async(s, at, protocol.Wanted, s.onWanted)
	async(s, at, protocol.Report, s.onReport)
	async(s, at, protocol.Progress, s.onProgress)
	transaction(at, protocol.FileGet, s.sendFile)
	transaction(at, protocol.SharedGet, s.sendShared)
	transaction(at, protocol.Hold, s.hold)
	transaction(at, protocol.WantHome, s.wantHome)
	transaction(at, protocol.Requeue, s.handBack)
	transaction(at, protocol.Settle, s.settle)
}

func async[T any](s *Supervisor, at *site, typ string, f func(*site, T)) {
	at.sess.HandleAsync(typ, func(body json.RawMessage) {
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			s.log.Error("malformed message from node", "node", at.name, "type", typ, "err", err)
			return
		}
		f(at, v)
	})
}

func transaction[T any](at *site, typ string, f func(*site, context.Context, T) (any, error)) {
	at.sess.Handle(typ, func(ctx context.Context, body json.RawMessage) (any, error) {
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			return nil, fmt.Errorf("malformed %s: %w", typ, err)
		}
		return f(at, ctx, v)
	})
}

// serve accepts the lanes of the guests on a node until the session ends.
func (s *Supervisor) serve(at *site) {
	for {
		lane, err := at.sess.AcceptLane()
		if err != nil {
			return
		}
		go s.serveLane(at, lane)
	}
}

// closeSites ends all sessions: the job is over.
func (s *Supervisor) closeSites(why string) {
	s.sitesMu.Lock()
	defer s.sitesMu.Unlock()
	for _, at := range s.sites {
		at.sess.Close(why)
	}
}

// lose ends the processes whose guests were on a node that is lost.
func (s *Supervisor) lose(at *site, why string) {
	select {
	case <-s.ended:
		return
	default:
	}
	if !at.lost.CompareAndSwap(false, true) {
		return
	}
	_ = s.tr.Do(func() { // ErrClosed: the job has ended
		s.mu.RLock()
		defer s.mu.RUnlock()
		told := false
		for _, p := range s.procs {
			if p.getState() == home || p.site() != at {
				continue
			}
			if !told {
				s.log.Error("processes killed", "node", at.name, "reason", why)
				told = tellUser(p.pid, fmt.Sprintf("homing: node %s lost: %s; the program was killed, start it again (on another node with --on)\r\n", at.name, why))
			}
			if err := unix.Kill(p.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				s.log.Error("cannot kill shadow", "pid", p.pid, "err", err)
			}
		}
	})
}

// gone tells that a node is lost; then nothing may be committed to it. On the
// tracer's thread: what is committed there before is ended by lose.
func (at *site) gone() error {
	if err := at.sess.Err(); err != nil || at.lost.Load() {
		return fmt.Errorf("node %s is lost: %s", at.name, lossReason(err))
	}
	return nil
}

func lossReason(err error) string {
	if err == nil {
		return "connection closed"
	}
	return err.Error()
}

// openPod makes the job's pod on the node.
func (at *site) openPod(ctx context.Context) error {
	req := protocol.PodOpenRequest{Job: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()}
	if err := at.compareClocks(ctx, &req); err != nil {
		return err
	}
	var reply protocol.PodOpenReply
	return at.sess.Request(ctx, protocol.PodOpen, req, &reply)
}

// clockSamples is how often the clocks are compared: the quickest round trip is
// the most exact.
const clockSamples = 5

// compareClocks measures how far home's clocks are ahead of the node's, as of
// the end of a round trip: a guest's clock is never behind home's, or a sleep
// until a moment, made at home, would end before that moment for the guest.
func (at *site) compareClocks(ctx context.Context, req *protocol.PodOpenRequest) error {
	best := int64(1<<63 - 1)
	for range clockSamples {
		start := linux.Clock(unix.CLOCK_MONOTONIC)
		var node protocol.ClockReply
		if err := at.sess.Request(ctx, protocol.Clock, protocol.Empty{}, &node); err != nil {
			return err
		}
		now := protocol.ClockReply{
			Monotonic: linux.Clock(unix.CLOCK_MONOTONIC), Boottime: linux.Clock(unix.CLOCK_BOOTTIME), Realtime: linux.Clock(unix.CLOCK_REALTIME),
		}
		if rtt := now.Monotonic - start; rtt < best {
			best = rtt
			req.Monotonic, req.Boottime, req.Realtime = now.Monotonic-node.Monotonic, now.Boottime-node.Boottime, now.Realtime-node.Realtime
		}
	}
	return nil
}
