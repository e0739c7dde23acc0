// Package guest is the execution side: pods, the bodies in them, and the
// serving of what bodies cannot do alone.
//
//  1. A pod (pod.go) is the set of namespaces for all guests of one
//     supervisor. Its first process installs the seccomp filter and is then
//     stopped for good; bodies are cloned from it on command and inherit the
//     filter.
//  2. A body (load.go) is rebuilt from an image: memory and threads, no
//     descriptors, the pid and tids it has at home.
//  3. Calls that the filter traps reach one reader (notify.go) which forwards
//     them over the thread's lane; the lane's reader answers them.
//  4. Signals come from home and are queued to the body (signal.go); its own
//     kernel delivers them; default actions are home's.
//  5. fork and exec (fork.go) are done at home first, then here.
//  6. Processes leave at home's order, for home or another node (take.go), and
//     arrive (transfer.go, arrive.go), perhaps before all their memory has
//     (pull.go). They stand still until home says that they run here.
//  7. What the table calls repatriate brings the process home (return.go), and so
//     does the node's owner (evict.go).
//
// Lock order: pod.mu, then thread.mu; sharedFile.mu, then sharedFiles.mu. proc.mu,
// transferring.mu, Host.mu, cache.mu and those of accounts are leaves. The tracer's
// thread takes them, but never waits for the network.
//
// Trust: the body is hostile to the node's owner; it has no capability but
// CHECKPOINT_RESTORE in its own namespace, no file, no network, an empty
// root. Images and messages from home, and processes from other nodes, are
// validated; they decide only what happens inside the pod. If home is lost the pod
// is killed.
package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/kkc"
)

// HostConfig describes what a node lends.
type HostConfig struct {
	CacheDir string // for file contents; empty: in memory
	Log      *slog.Logger

	// Admit says whether a guest may come where so many are; nil: always. Its
	// error is shown to the user at home.
	Admit func(present int) error

	// DialPeer makes a transfer connection to another node, which must hold the
	// key pin and have made the ticket for the key of this one, Fingerprint.
	DialPeer    func(ctx context.Context, addr, pin, ticket string) (net.Conn, error)
	Fingerprint string
}

// Host runs the pods of a node.
type Host struct {
	cfg   HostConfig
	cache *cache

	calls atomic.Uint64

	mu    sync.Mutex
	stats Stats
	pods  map[*pod]struct{}
}

// Stats counts what a node did.
type Stats struct {
	Guests     int
	CPUSeconds float64
	Calls      uint64
	CameHome   map[string]int
}

// NewHost prepares to serve sessions.
func NewHost(cfg HostConfig) (*Host, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	tracer.SpareProcs()
	c, err := newCache(cfg.CacheDir, cfg.Log)
	if err != nil {
		return nil, err
	}
	return &Host{cfg: cfg, cache: c, stats: Stats{CameHome: map[string]int{}}, pods: map[*pod]struct{}{}}, nil
}

// Stats returns the counts so far.
func (h *Host) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Calls = h.calls.Load()
	s.CameHome = map[string]int{}
	for k, v := range h.stats.CameHome {
		s.CameHome[k] = v
	}
	return s
}

// Serve runs the pod of one session until the session ends and all is gone.
func (h *Host) Serve(sess *kkc.Session) {
	p, err := newPod(h, sess)
	if err != nil {
		sess.Close("this node cannot trace: " + err.Error())
		return
	}
	h.addPod(p)
	defer h.removePod(p)
	transaction(sess, protocol.Clock, p.clock)
	transaction(sess, protocol.PodOpen, p.open)
	transaction(sess, protocol.ProcStart, p.startProcess)
	transaction(sess, protocol.ProcUsage, p.usage)
	transaction(sess, protocol.SharedSync, p.syncShared)
	async(sess, protocol.Signal, p.takeSignal)
	async(sess, protocol.Kill, p.onKill)
	async(sess, protocol.Stop, p.onStop)
	async(sess, protocol.Continue, p.onContinue)
	async(sess, protocol.Core, p.onCore)
	transaction(sess, protocol.MoveOpen, p.openMove)
	transaction(sess, protocol.MoveDrop, p.dropMove)
	transaction(sess, protocol.Weigh, p.weigh)
	transaction(sess, protocol.Take, p.take)
	transaction(sess, protocol.Thaw, p.thawed)
	transaction(sess, protocol.Gone, p.gone)
	transaction(sess, protocol.Arrive, p.arrive)
	transaction(sess, protocol.Run, p.run)
	sess.Start()
	go p.report()
	<-sess.Done()
	p.close()
}

func transaction[T any](s *kkc.Session, typ string, f func(context.Context, T) (any, error)) {
	s.Handle(typ, func(ctx context.Context, body json.RawMessage) (any, error) {
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			return nil, fmt.Errorf("malformed %s: %w", typ, err)
		}
		return f(ctx, v)
	})
}

func async[T any](s *kkc.Session, typ string, f func(T)) {
	s.HandleAsync(typ, func(body json.RawMessage) {
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			s.Close(fmt.Sprintf("malformed %s: %v", typ, err))
			return
		}
		f(v)
	})
}
