package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"homing/kkc"

	"github.com/coreos/go-systemd/v22/daemon"
)

// maxClockError is by how much a home's clock may differ from ours. There is no
// namespace for CLOCK_REALTIME: a guest sees this machine's, and files that it
// writes at home get home's. Larger than what a slow line adds.
const maxClockError = 2 * time.Second

// stopLimit is how long the daemon waits at its end for guests to go.
const stopLimit = 4 * time.Second

// A GuestServer runs the programs of homes: *guest.Host.
type GuestServer interface {
	// Serve runs one home's programs until its session ends and all are gone.
	// It calls Start.
	Serve(*kkc.Session)
	// Stats says what was done since the start.
	Stats() GuestStats
	// Present lists the guests that are here.
	Present() []Guest
	// Evict stops all guests and sends them home. progress may be called from
	// any goroutine until it returns. Name and Until are not its business.
	Evict(ctx context.Context, progress func(string)) (Eviction, error)
}

// GuestStats is what a GuestServer did.
type GuestStats struct {
	Guests     int            // processes that ran here
	CPUSeconds float64        // user and system time that they used
	Calls      uint64         // calls forwarded to homes
	CameHome   map[string]int // processes that went home, by reason
}

// Config describes a daemon.
type Config struct {
	Listen   string // HOST:PORT, or "fd" for the socket passed by sd_listen_fds(3)
	Name     string // what homes call this node; empty: the host's name
	State    string // state directory
	Version  string // of the program
	ReportFD int    // descriptor for the report, 0: none
	// ControlFD is the owner's socket, listening; 0: it is made in State.
	ControlFD int
	Guests    GuestServer
	Lending   *Lending // asked by Guests; nil: everybody may come
	Peers     *Peers   // used by Guests; may be nil
	Log       *slog.Logger
}

// daemonInfo is daemon.json: what commands may tell about the running daemon.
type daemonInfo struct {
	Name string `json:"name"`
	Addr string `json:"addr"` // where homes can reach it
}

type nodeDaemon struct {
	cfg    Config
	trust  trustStore
	addr   string // where homes can reach it
	server *kkc.Server
	report *reporter

	mu       sync.Mutex
	sessions map[*kkc.Session]struct{}
	serving  sync.WaitGroup
}

// Run lends this machine until ctx ends. reload tells it to look again at who
// is admitted.
func Run(ctx context.Context, cfg Config, reload <-chan os.Signal) error {
	if cfg.Name == "" {
		cfg.Name = defaultName()
	}
	cfg.Name = cleanName(cfg.Name)
	if cfg.Lending == nil {
		cfg.Lending = NewLending(cfg.Name, 0)
	}
	lock, err := lockState(cfg.State)
	if err != nil {
		return err
	}
	defer lock.Close()
	id, err := kkc.LoadIdentity(cfg.State)
	if err != nil {
		return err
	}
	l, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	rep, err := newReporter(cfg.ReportFD)
	if err != nil {
		l.Close()
		return err
	}
	counted := &countingListener{Listener: l}
	d := &nodeDaemon{cfg: cfg, trust: newTrustStore(cfg.State), report: rep, sessions: map[*kkc.Session]struct{}{}}
	d.server = &kkc.Server{Identity: id, Version: cfg.Version, Hello: d.hello, Handle: d.handle, Log: cfg.Log}
	return d.run(ctx, counted, reload)
}

func (d *nodeDaemon) run(ctx context.Context, l *countingListener, reload <-chan os.Signal) error {
	d.addr = reachableAddr(l.Addr())
	info := filepath.Join(d.cfg.State, daemonFile)
	if err := writeJSON(info, daemonInfo{Name: d.cfg.Name, Addr: d.addr}); err != nil {
		l.Close()
		return err
	}
	defer os.Remove(info)
	owner, err := listenControl(d.cfg.State, d.cfg.ControlFD)
	if err != nil {
		l.Close()
		return err
	}
	control := &controller{d: d, l: owner}
	control.ctx, control.end = context.WithCancel(ctx)
	go control.serve()
	defer control.stop()

	failed := make(chan error, 1)
	go func() { failed <- d.server.Serve(l) }()
	d.cfg.Log.Info("lending this machine", "node", d.cfg.Name, "addr", d.addr, "state", d.cfg.State, "key", d.server.Identity.Fingerprint)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	if err := d.report.ready(); err != nil {
		return err
	}
	for {
		select {
		case err := <-failed:
			d.server.Close("node failed")
			return fmt.Errorf("accept connections: %w", err)
		case <-reload:
			d.endRevoked()
		case <-ctx.Done():
			_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
			d.stop()
			return d.report.write(d.newReport(l))
		}
	}
}

// stop says bye to all homes and waits until their guests are gone.
func (d *nodeDaemon) stop() {
	d.cfg.Log.Info("stopping", "node", d.cfg.Name)
	d.server.Close(fmt.Sprintf("node %s is being stopped", d.cfg.Name))
	gone := make(chan struct{})
	go func() { d.serving.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(stopLimit):
		d.cfg.Log.Warn("guests are still being ended; the kernel ends them with this process", "node", d.cfg.Name)
	}
}

// hello admits a home or refuses it; the error is shown to its user.
func (d *nodeDaemon) hello(peer kkc.Peer, h kkc.Hello) (kkc.Hello, error) {
	mine := NewHello(kkc.RoleNode, d.cfg.Name, d.cfg.Version)
	if err := compatible(mine, h); err != nil {
		return mine, err
	}
	if err := d.trust.admit(peer, h); err != nil {
		return mine, err
	}
	d.cfg.Log.Info("home admitted", "home", cleanName(h.Name), "key", peer.Fingerprint, "addr", peer.Addr)
	return mine, nil
}

// compatible refuses a home whose programs could not run here as they do there.
func compatible(mine, h kkc.Hello) error {
	if h.Role != kkc.RoleHome {
		return fmt.Errorf("a node admits homes only, not role %q", cleanName(h.Role))
	}
	if h.Arch != "" && h.Arch != mine.Arch {
		return fmt.Errorf("this node is %s, home is %s: its programs cannot run here", mine.Arch, cleanName(h.Arch))
	}
	if h.Clock != 0 {
		if off := time.Duration(mine.Clock - h.Clock).Abs(); off > maxClockError {
			return fmt.Errorf("the clocks of home and node differ by %v: set both by NTP (timedatectl set-ntp true), or file times would go wrong", off.Round(100*time.Millisecond))
		}
	}
	return nil
}

// handle serves one session until its end.
func (d *nodeDaemon) handle(sess *kkc.Session) {
	if sess.RemoteHello.Facts[factPurpose] == purposeJoin { // homing join: it only wanted to be admitted
		sess.Start()
		<-sess.Done()
		return
	}
	d.mu.Lock()
	d.sessions[sess] = struct{}{}
	d.serving.Add(1)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.sessions, sess)
		d.mu.Unlock()
		d.serving.Done()
	}()
	d.cfg.Guests.Serve(sess)
	log := d.cfg.Log.With("home", cleanName(sess.RemoteHello.Name))
	select {
	case <-sess.Done():
		log.Info("session over", "why", sess.Err())
	default:
		sess.Close("node has ended this session")
	}
}

// endRevoked ends the sessions of homes which are not admitted any more.
func (d *nodeDaemon) endRevoked() {
	d.mu.Lock()
	var open []*kkc.Session
	for sess := range d.sessions {
		open = append(open, sess)
	}
	d.mu.Unlock()
	for _, sess := range open {
		if d.trust.known(sess.Peer.Fingerprint) != nil {
			d.cfg.Log.Info("home revoked", "home", cleanName(sess.RemoteHello.Name), "key", sess.Peer.Fingerprint)
			go sess.Close("the node's owner has revoked your access")
		}
	}
}

// runningDaemon reads what the daemon of a state directory says about itself.
func runningDaemon(dir string) (daemonInfo, error) {
	var info daemonInfo
	pid, err := daemonPID(dir)
	if err != nil {
		return info, err
	}
	if pid == 0 {
		return info, fmt.Errorf("no homing node runs with state directory %s: start `homing node` first, or name the address homes shall use with --addr HOST:PORT", dir)
	}
	if err := readJSON(filepath.Join(dir, daemonFile), &info); err != nil {
		return info, fmt.Errorf("ask the running node (pid %d): %w", pid, err)
	}
	return info, nil
}

var errNoSocket = errors.New("--listen fd: no socket was passed (LISTEN_FDS is not set for this process); use systemd socket activation, or --listen ADDR")
