package guest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"homing/guest/filter"
	"homing/internal/linux"
	"homing/internal/nsinit"
	"homing/internal/protocol"
	"homing/internal/stub"
	"homing/internal/tracer"
	"homing/kkc"
)

const (
	// The stub, its call table and scratch memory lie here in every body.
	// Programs do not place mappings of their own in the middle of the address
	// space; an image that does is refused.
	stubAddr    = 0x1f00_0000_0000
	stubSize    = 4096
	tableSize   = 64 << 10
	scratchSize = 64 << 10
	stubEnd     = stubAddr + stubSize + tableSize + scratchSize

	traceOptions = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE |
		unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL

	// Capabilities which the first process needs in its own namespaces until
	// it has set them up; it keeps only the last.
	capSetpcap, capSysAdmin, capSysResource, capCheckpointRestore = 8, 21, 24, 40

	maxClockSkew = 2 * time.Second
)

// pod is the set of namespaces that holds all guests of one supervisor.
type pod struct {
	host *Host
	log  *slog.Logger
	sess *kkc.Session
	tr   *tracer.Tracer
	out  *protocol.Outbox

	ahead    int64 // home's CLOCK_MONOTONIC against this node's, ns
	init     int   // first process, as numbered here
	listener int
	vdso     []linux.Mapping
	acct     accounts
	shared   sharedFiles

	// order repeats, for the race detector, what the kernel orders: a thread's
	// next trapped call comes after the answer to the last, or its release.
	order atomic.Uint32

	mu      sync.RWMutex
	threads map[int]*thread          // by number here
	home    map[int]*thread          // by number at home
	procs   map[int]*proc            // by pid at home
	moves   map[uint64]*transferring // by their numbers at home
	takes   map[uint64]context.CancelFunc
	lanes   []*lane                  // of ended threads, to be used again
	early   []protocol.SignalMessage // for processes not here yet
	signals takenSignals
	dead    ended

	standing map[uint64]bool // tracer's thread: processes stopped by job control, by generation
	parked   bool            // tracer's thread: who is born, or arrives, is to stand still, see Evict

	isOpen   bool
	closing  bool
	notified chan struct{} // the notification loop has ended
}

func newPod(h *Host, sess *kkc.Session) (*pod, error) {
	p := &pod{
		host: h, log: h.cfg.Log, sess: sess, listener: -1,
		threads: map[int]*thread{}, home: map[int]*thread{}, procs: map[int]*proc{},
		standing: map[uint64]bool{}, moves: map[uint64]*transferring{}, takes: map[uint64]context.CancelFunc{},
		notified: make(chan struct{}),
	}
	var err error
	if p.tr, err = tracer.New(p, p.log); err != nil {
		return nil, err
	}
	p.out = protocol.NewOutbox(sess, p.log)
	return p, nil
}

// clock tells this node's clocks, for home to compare with its own.
func (p *pod) clock(context.Context, protocol.Empty) (any, error) {
	return protocol.ClockReply{
		Monotonic: linux.Clock(unix.CLOCK_MONOTONIC), Boottime: linux.Clock(unix.CLOCK_BOOTTIME), Realtime: linux.Clock(unix.CLOCK_REALTIME),
	}, nil
}

// open makes the namespaces and the first process, with the home node's clocks.
func (p *pod) open(_ context.Context, req protocol.PodOpenRequest) (any, error) {
	if skew := time.Duration(req.Realtime); skew > maxClockSkew || skew < -maxClockSkew {
		return nil, fmt.Errorf("the clocks of home and this node differ by %v (limit %v); synchronise them (chrony, systemd-timesyncd)", skew, maxClockSkew)
	}
	if err := p.host.admit(1); err != nil {
		return nil, err
	}
	p.mu.Lock()
	if p.isOpen || p.closing {
		p.mu.Unlock()
		return nil, errors.New("this session has a pod already")
	}
	p.isOpen = true
	p.ahead = req.Monotonic
	p.mu.Unlock()
	var startErr error
	if err := p.tr.Do(func() { startErr = p.startInit(req) }); err != nil {
		return nil, err
	}
	if startErr != nil {
		return nil, fmt.Errorf("make a pod: %w (`homing doctor` on the node tells what its kernel lacks)", startErr)
	}
	return protocol.PodOpenReply{VDSO: p.vdso}, nil
}

// startInit runs on the tracer's thread, which is the parent of the first
// process: that one dies with it.
func (p *pod) startInit(req protocol.PodOpenRequest) error {
	status, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer status.Close()
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // never the node's root
		uid, gid = 65534, 65534
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{nsinit.PodName, "3", strconv.FormatUint(stubAddr, 16), strconv.Itoa(stubSize), strconv.Itoa(tableSize + scratchSize)}
	cmd.Env = []string{"GLIBC_TUNABLES=glibc.pthread.rseq=0"}
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: req.UID, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: req.GID, HostID: gid, Size: 1}},
		Credential:  &syscall.Credential{Uid: uint32(req.UID), Gid: uint32(req.GID), NoSetGroups: true},
		AmbientCaps: []uintptr{capSetpcap, capSysAdmin, capSysResource, capCheckpointRestore},
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start the first process in new namespaces: %w", err)
	}
	p.init = cmd.Process.Pid
	_ = cmd.Process.Release() // its end is the tracer's to see, and its descriptor nobody's
	line, err := io.ReadAll(io.LimitReader(status, 256))
	if err != nil || string(line) != "ok" {
		p.killInit()
		return fmt.Errorf("first process: %q", line)
	}
	offsets := fmt.Sprintf("monotonic %d %d\nboottime %d %d\n", floorDiv(req.Monotonic), floorMod(req.Monotonic), floorDiv(req.Boottime), floorMod(req.Boottime))
	if err := os.WriteFile("/proc/"+strconv.Itoa(p.init)+"/timens_offsets", []byte(offsets), 0); err != nil {
		p.killInit()
		return fmt.Errorf("set the clocks of the time namespace: %w", err)
	}
	if err := p.takeInit(); err != nil {
		p.killInit()
		return err
	}
	return nil
}

func floorDiv(ns int64) int64 { return (ns - floorMod(ns)) / 1e9 }
func floorMod(ns int64) int64 { return ((ns % 1e9) + 1e9) % 1e9 }

// takeInit attaches to the first process, gives it the stub and has it install
// the filter.
func (p *pod) takeInit() error {
	if err := linux.Seize(p.init, traceOptions); err != nil {
		return fmt.Errorf("trace the first process: %w", err)
	}
	if err := linux.Interrupt(p.init); err != nil {
		return fmt.Errorf("stop the first process: %w", err)
	}
	if err := p.waitStop(p.init); err != nil {
		return err
	}
	if _, err := tracer.BlockSignals(p.init); err != nil {
		return err
	}
	mem, err := os.OpenFile("/proc/"+strconv.Itoa(p.init)+"/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	if _, err := mem.WriteAt(stub.Code(), stubAddr); err != nil {
		return fmt.Errorf("write the stub: %w", err)
	}
	prog, err := filter.Build()
	if err != nil {
		return err
	}
	body := p.body()
	scratch := body.Table + uint64(body.Size)
	if err := body.WriteScratch(p.init, append(prog.Fprog(scratch+16), prog...)); err != nil {
		return err
	}
	const setModeFilter = 1
	res, err := body.Inject(p.init, []tracer.Call{
		tracer.C(unix.SYS_SECCOMP, setModeFilter, linux.FilterNewListener|linux.FilterWaitKillable, scratch),
	})
	if err != nil {
		return fmt.Errorf("install the filter (user notification with WAIT_KILLABLE_RECV, Linux 5.19): %w", err)
	}
	theirFD := int(res[0])
	pfd, err := unix.PidfdOpen(p.init, 0)
	if err != nil {
		return err
	}
	p.listener, err = unix.PidfdGetfd(pfd, theirFD, 0)
	unix.Close(pfd)
	if err != nil {
		return fmt.Errorf("get the notification descriptor: %w", err)
	}
	if err := linux.NotifSyncWakeUp(p.listener); err != nil {
		p.log.Info("no SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6): calls will be slower", "err", err)
	}
	go p.notifyLoop()
	if _, err := body.Inject(p.init, []tracer.Call{tracer.C(unix.SYS_CLOSE, uint64(theirFD))}); err != nil {
		return err
	}
	maps, err := linux.Mappings(p.init)
	if err != nil {
		return err
	}
	p.vdso = vdsoOf(maps)
	p.acct.noteStart(p.init)
	return nil
}

func vdsoOf(maps []linux.Mapping) []linux.Mapping {
	var out []linux.Mapping
	for _, m := range maps {
		switch m.Path {
		case "[vvar]", "[vvar_vclock]", "[vdso]":
			out = append(out, m)
		}
	}
	return out
}

// waitStop waits until a thread that was interrupted stands. Tracer's thread.
func (p *pod) waitStop(tid int) error {
	for {
		ws, err := p.tr.Wait(tid)
		if err != nil {
			return err
		}
		if linux.Event(ws) == linux.EventStop {
			return nil
		}
		if err := linux.Cont(tid, 0); err != nil { // that was an event of its last injected call
			return err
		}
	}
}

func (p *pod) body() *tracer.Body {
	return &tracer.Body{Stub: stubAddr, Table: stubAddr + stubSize, Size: tableSize, Tracer: p.tr}
}

func (p *pod) killInit() {
	if p.init == 0 {
		return
	}
	_ = unix.Kill(p.init, unix.SIGKILL) // ESRCH: gone already
}

// close kills the pod: with its first process the kernel ends all others.
func (p *pod) close() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.dropMoves()
	_ = p.tr.Do(func() { // ErrClosed cannot be: only we close it
		p.killInit()
		for p.init != 0 {
			var ws unix.WaitStatus
			var ru unix.Rusage
			tid, err := linux.Wait(-1, &ws, 0, &ru)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				break
			}
			if ws.Exited() || ws.Signaled() {
				if tid == p.init {
					p.init = 0
				} else {
					p.threadEnded(tid, ws, &ru)
				}
			}
		}
	})
	p.tr.Close()
	<-p.tr.Done()
	if p.listener >= 0 {
		<-p.notified
		unix.Close(p.listener)
	}
	p.closeShared()
}

func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
