package shadow

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/syscallfwd"
)

// System V shared memory is shared as files are (shared.go), with differences:
//
//   - The shadow attaches each segment that its guest does, out of the way, in
//     the gap between stub and arena. So the kernel's count of attachments is
//     right, forks and ends included, and segments live as long as they should.
//   - There are no calls that read or write it: the copies are made alike when
//     its mappers come home, detach or end.
//   - Nobody tells who attaches it: the count of attachments does, from time to time.

const (
	// segmentsAt is where in the gap shadows attach what their guests use. What
	// lies below is for the rebuilding of a process.
	segmentsAt = gapSize / 2

	shmHuge = 0o4000   // SHM_HUGETLB, in a segment's mode
	shmExec = 0o100000 // SHM_EXEC
)

func segmentFile(id int, d *unix.SysvShmDesc) checkpoint.File {
	return checkpoint.File{
		Path: fmt.Sprintf("/SYSV%08x%s", uint32(d.Perm.Key), deletedMark), Dev: checkpoint.SegmentDev, Ino: uint64(id), Size: int64(d.Segsz), Live: true,
	}
}

// isSegment tells whether a mapping is of a segment.
func isSegment(m linux.Mapping) bool { return m.Shared && strings.HasPrefix(m.Path, "/SYSV") }

// serveAttach serves shmat: the shadow attaches the segment, the node maps the
// one copy.
func (s *Supervisor) serveAttach(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	const why = "shmat of a segment that others can use"
	id, flags := int(int32(call.Args[0])), call.Args[2]&(unix.SHM_RDONLY|shmExec)
	key := fileID{checkpoint.SegmentDev, uint64(id)}
	at := th.proc.site()
	var d unix.SysvShmDesc
	_, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d)
	own := s.ownIPC(th.proc.pid)
	if own && (err == unix.EINVAL || err == unix.EIDRM) {
		s.fail(call, err.(unix.Errno), reply)
		return
	}
	if err != nil || !own || d.Perm.Mode&shmHuge != 0 || d.Segsz > segmentsAt/2 {
		s.repatriate(call, reply, "shmat")
		return
	}
	if o := s.awayFile(key); o != nil && o.elsewhere(at) {
		th.proc.wantsSegment.Store(int64(id) + 1) // see bringSharers
		s.repatriate(call, reply, why)
		return
	}
	s.shared.taking.Lock()
	defer s.shared.taking.Unlock()
	place, err := gapPlace(th.proc, d.Segsz)
	if err != nil {
		s.repatriate(call, reply, "shmat")
		return
	}
	ret, gone := s.simple(th, unix.SYS_SHMAT, uint64(id), place, flags)
	if gone {
		*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyGone, Outs: reply.Outs[:0]}
		return
	}
	if ret == -int64(unix.ENOMEM) {
		s.repatriate(call, reply, "shmat within a limit on address space")
		return
	}
	if ret < 0 {
		s.fail(call, unix.Errno(-ret), reply)
		return
	}
	f := s.grantSegment(id, at, flags&unix.SHM_RDONLY != 0)
	if f == nil {
		s.simple(th, unix.SYS_SHMDT, place)
		s.repatriate(call, reply, why)
		return
	}
	s.replyFile(call, *f, reply)
}

// grantSegment allows a node to map a segment which one of its shadows has just
// attached, if it is the job's alone. taking is held.
func (s *Supervisor) grantSegment(id int, at *site, readOnly bool) *checkpoint.File {
	o := s.awayFile(fileID{checkpoint.SegmentDev, uint64(id)})
	if o == nil {
		if o = s.newSegment(id, nil); o == nil {
			return nil
		}
		o.at = at
		s.register(o)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.at != at {
		return nil
	}
	o.grants++
	f := o.file
	f.ReadOnly = readOnly
	return &f
}

// newSegment describes a segment that nobody uses but processes that are away,
// and a family that leaves.
func (s *Supervisor) newSegment(id int, family []int) *sharedFile {
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err != nil || d.Nattch != s.attachments(id, family) {
		return nil
	}
	s.watchSegments()
	return &sharedFile{id: fileID{checkpoint.SegmentDev, uint64(id)}, file: segmentFile(id, &d), fd: -1, writable: true, wd: -1}
}

// attachments counts how often the job's processes that are away, and a family
// that leaves, have attached a segment: each mapping counts.
func (s *Supervisor) attachments(id int, family []int) uint64 {
	s.mu.RLock()
	pids := append([]int(nil), family...)
	for pid, p := range s.procs {
		if p.getState() != home {
			pids = append(pids, pid)
		}
	}
	s.mu.RUnlock()
	n := uint64(0)
	for _, pid := range pids {
		maps, err := linux.Mappings(pid)
		if err != nil {
			continue // it has ended
		}
		for _, m := range maps {
			if isSegment(m) && m.Ino == uint64(id) {
				n++
			}
		}
	}
	return n
}

// ownIPC tells whether a process sees the same segments as we do.
func (s *Supervisor) ownIPC(pid int) bool {
	own := readlink(os.Getpid(), "ns/ipc")
	return own != "" && own == readlink(pid, "ns/ipc")
}

// gapPlace finds room for a segment in the gap between stub and arena.
func gapPlace(p *process, size uint64) (uint64, error) {
	maps, err := linux.Mappings(p.pid)
	if err != nil {
		return 0, err
	}
	at := p.stub + segmentsAt
	for _, m := range maps {
		if m.Start >= p.arena {
			break
		}
		if m.End > at && m.Start < at+size {
			at = m.End
		}
	}
	if at+size > p.arena {
		return 0, unix.ENOMEM
	}
	return at, nil
}

// serveDetach serves shmdt of segment Args[0]. What was stored is written back
// first: this may be the last look at it.
func (s *Supervisor) serveDetach(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	id := call.Args[0]
	maps, err := linux.Mappings(th.proc.pid)
	if err != nil {
		*reply = syscallfwd.Reply{Seq: call.Seq, Flags: protocol.ReplyGone, Outs: reply.Outs[:0]}
		return
	}
	for _, m := range maps {
		if !isSegment(m) || m.Ino != id || m.Start < th.proc.stub || m.Start >= th.proc.arena {
			continue
		}
		if o := s.awayFile(fileID{checkpoint.SegmentDev, id}); o != nil {
			if _, err := s.exchange(o, false); err != nil {
				s.log.Error("shared memory not written back", "path", o.file.Path, "err", err)
			}
		}
		ret, gone := s.simple(th, unix.SYS_SHMDT, m.Start)
		s.sweepSoon()
		s.answer(th, call, ret, gone, reply)
		return
	}
	s.fail(call, unix.EINVAL, reply)
}

// segment returns the number of the segment that a shared file is.
func (o *sharedFile) segment() (id int, ok bool) {
	return int(o.id.ino), o.id.dev == checkpoint.SegmentDev
}

// attach makes the content of a segment reachable for an exchange.
func (o *sharedFile) attach() (mem []byte, detach func(), err error) {
	id, ok := o.segment()
	if !ok {
		return nil, func() {}, nil
	}
	mem, err = unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("attach %s: %w", o.file.Path, err)
	}
	return mem, func() { _ = unix.SysvShmDetach(mem) }, nil
}

func (o *sharedFile) elsewhere(at *site) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed && o.at != at
}

// segmentInterval is how often it is looked at who has attached segments.
const segmentInterval = 50 * time.Millisecond

// watchSegments looks from time to time whether others have attached segments
// that are away, until there are none.
func (s *Supervisor) watchSegments() {
	if !s.shared.watching.CompareAndSwap(false, true) {
		return
	}
	go func() {
		last := map[*sharedFile]uint64{}
		for {
			select {
			case <-s.ended:
				return
			case <-time.After(segmentInterval):
			}
			some := false
			for _, o := range s.awayFiles() {
				id, ok := o.segment()
				if !ok {
					continue
				}
				some = true
				if o.leaving.Load() || !o.mu.TryLock() { // an exchange attaches it, too
					continue
				}
				var d unix.SysvShmDesc
				_, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d)
				others := err == nil && d.Nattch != last[o] && d.Nattch > s.attachments(id, nil)
				last[o] = d.Nattch
				o.mu.Unlock()
				if others {
					s.recall(o, "System V shared memory that it uses was attached by another process")
				}
			}
			if !some {
				clear(last)
			}
		}
	}()
}

// segmentCalls map a segment for a process that comes home: they attach it in
// the gap and move what the mapping shows to its place.
func segmentCalls(p *process, maps []linux.Mapping, f checkpoint.File, v *checkpoint.VMA) []tracer.Call {
	flags := uint64(unix.SHM_RDONLY)
	for _, m := range maps {
		if isSegment(m) && m.Ino == f.Ino && m.Prot&unix.PROT_WRITE != 0 {
			flags = 0
		}
	}
	prot := unix.PROT_READ
	if flags == 0 {
		prot |= unix.PROT_WRITE
	}
	if v.Prot&unix.PROT_EXEC != 0 {
		flags |= shmExec
		prot |= unix.PROT_EXEC
	}
	const page = checkpoint.PageSize
	at, size := p.stub+segmentsAt/2, (uint64(f.Size)+page-1)&^(page-1)
	calls := []tracer.Call{
		tracer.C(unix.SYS_SHMAT, f.Ino, at, flags),
		tracer.C(unix.SYS_MREMAP, at+v.Offset, v.End-v.Start, v.End-v.Start, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, v.Start),
		tracer.C(unix.SYS_MUNMAP, at, size),
	}
	if v.Prot != prot {
		calls = append(calls, tracer.C(unix.SYS_MPROTECT, v.Start, v.End-v.Start, uint64(v.Prot)))
	}
	return calls
}

// leavingSegment lets a segment leave with a family: the process, whose stub is
// there already, attaches it in the gap, as often as it has attached it now.
func (s *Supervisor) leavingSegment(p *process, attach func(calls []tracer.Call) error, m linux.Mapping, family []int) (checkpoint.File, error) {
	refuse := func(why string) (checkpoint.File, error) {
		return checkpoint.File{}, fmt.Errorf("%w: System V shared memory %d%s", errOthers, m.Ino, why)
	}
	id := int(m.Ino)
	if !s.ownIPC(p.pid) {
		return refuse(" of another namespace")
	}
	s.shared.taking.Lock()
	defer s.shared.taking.Unlock()
	o := s.awayFile(fileID{checkpoint.SegmentDev, m.Ino})
	switch {
	case o != nil && !o.leaving.Load():
		return refuse(" is used by a process that is away already")
	case o == nil:
		if o = s.newSegment(id, family); o == nil {
			return refuse(" is used by others, too")
		}
		if o.file.Size > segmentsAt/2 {
			return refuse(" is too large")
		}
		o.leaving.Store(true)
		s.register(o)
	}
	if m.Offset == 0 {
		place, err := gapPlace(p, uint64(o.file.Size))
		if err != nil {
			return checkpoint.File{}, err
		}
		flags := uint64(0)
		if m.Prot&unix.PROT_WRITE == 0 {
			flags = unix.SHM_RDONLY
		}
		if err := attach([]tracer.Call{tracer.C(unix.SYS_SHMAT, m.Ino, place, flags)}); err != nil {
			return checkpoint.File{}, fmt.Errorf("attach shared memory %s: %w", strconv.Itoa(id), err)
		}
	}
	return o.file, nil
}
