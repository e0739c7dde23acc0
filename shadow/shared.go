package shadow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/protocol"
	"homing/internal/twin"
)

// Shared mappings of files (POSIX shared memory, memfds, files without a name):
//
//  1. A file that nobody but the job can see (private.go) may be away: the node
//     has the one copy that programs map, a memfd, and all that map it are there.
//     Stores, atomics and futexes in it are the node's kernel's. The file at home
//     stays, with its name, its size and its descriptors.
//  2. Calls on it are executed at home as ever. Before one the copies are made
//     alike, and after one that writes, again (package twin): a call sees what was
//     stored before it was made, and who sees its result sees what it wrote. What
//     happens at the same time may come out either way, byte by byte.
//  3. Its size is home's. The answer to a call that changes it waits until the
//     copy has it: behind the end is SIGBUS, as natively.
//  4. Its mappers move together (package guest, family). When they come home the
//     copies are made alike while all stand still, and they map the file itself.
//  5. When somebody else gets hold of it (opens it, receives it, a process of the
//     job that has it open comes home) its mappers are fetched home.
//
// Lock order: sharedFiles.taking, sharedFile.mu, then sharedFiles.mu, then table.mu. An exchange with
// the node is made under sharedFile.mu; the node waits for nobody meanwhile.

// fileID is a file of this machine.
type fileID struct{ dev, ino uint64 }

// sharedFiles are the files whose copies are away.
type sharedFiles struct {
	count  atomic.Int32 // of away: while it is 0 nothing is looked at
	taking sync.Mutex   // held while one is looked at that may leave
	mu     sync.Mutex
	away   map[fileID]*sharedFile
	turns  uint64     // see checkpoint.File
	drops  []leftCopy // see dropCopies
	// known are files that others than the job got hold of.
	known map[fileID]bool
	// watching: see watchSegments; sweeping: see sweepSoon.
	watching, sweeping atomic.Bool
	sweep              int // look for unused ones when there are so many
	watch              openWatch
	guard              openGuard
	// unguarded counts those of away whose opening is noticed only afterwards.
	unguarded atomic.Int32
}

// sharedFile is a file whose copy is away, or about to be.
type sharedFile struct {
	id    fileID
	file  checkpoint.File
	wd    int    // see openWatch
	shown fileID // as maps show it
	// leaving: the group that maps it at home is about to leave.
	leaving atomic.Bool
	guarded bool // nobody else opens it before it is home, see openGuard

	mu       sync.Mutex
	fd       int // ours alone: its offset is nobody else's
	writable bool
	at       *site
	copy     *twin.Copy // nil: the content has not left yet
	touched  bool       // a call may have changed it since the last exchange
	grants   uint64     // mappings allowed since it is at the site
	closed   bool       // it is home
	// before is what was known of the site that its mappers are about to leave.
	before *sharedBefore
}

type sharedBefore struct {
	at     *site
	copy   *twin.Copy
	grants uint64
}

func identity(st *unix.Stat_t) fileID { return fileID{st.Dev, st.Ino} }

// awayFile finds the file behind a descriptor among those whose copies are away.
func (s *Supervisor) awayFile(id fileID) *sharedFile {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	return s.shared.away[id]
}

// liveFile finds the file that an image or a message of a node means: in the
// turn that it means.
func (s *Supervisor) liveFile(f checkpoint.File) *sharedFile {
	o := s.awayFile(fileID{f.Dev, f.Ino})
	if o == nil || o.file.Turn != f.Turn {
		return nil
	}
	return o
}

func (s *Supervisor) awayFiles() []*sharedFile {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	all := make([]*sharedFile, 0, len(s.shared.away))
	for _, o := range s.shared.away {
		all = append(all, o)
	}
	return all
}

// share decides what mapping descriptor own, a copy of one of the thread's,
// means. With a file, the node maps its copy of that; with an error number the
// call fails; with neither it is not a matter of sharing.
func (s *Supervisor) share(th *thread, own, mode int, prot uint64, shared bool) (*checkpoint.File, unix.Errno) {
	var st unix.Stat_t
	if err := unix.Fstat(own, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, 0
	}
	readOnly := mode&unix.O_ACCMODE == unix.O_RDONLY
	at := th.proc.site()
	for range shareAttempts {
		o := s.awayFile(identity(&st))
		switch {
		case o == nil && shared:
			if o = s.takeAway(own, &st, at); o == nil {
				return nil, 0
			}
		case o == nil:
			return nil, 0
		}
		errno := unix.Errno(0)
		if shared {
			errno, readOnly = forbids(own, prot, readOnly)
		}
		if errno != 0 {
			return nil, errno
		}
		f, elsewhere := o.grant(own, at, readOnly)
		if f != nil {
			return f, 0
		}
		if elsewhere && shared {
			return nil, 0 // it comes home, and those who map it before it, see bringSharers
		}
		if elsewhere {
			if _, err := s.exchange(o, false); err != nil { // what it shows now is what is mapped
				s.log.Error("copies of a shared file are not alike", "path", o.file.Path, "err", err)
			}
			return nil, 0
		}
		// It has just come home: look again.
	}
	return nil, 0
}

const shareAttempts = 8

// forbids tells what forbids a shared mapping besides the mode of the
// descriptor: seals, a file system mounted noexec.
func forbids(own int, prot uint64, readOnly bool) (unix.Errno, bool) {
	seals, err := unix.FcntlInt(uintptr(own), unix.F_GET_SEALS, 0)
	if err == nil && seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
		if prot&unix.PROT_WRITE != 0 {
			return unix.EPERM, true
		}
		readOnly = true
	}
	var fs unix.Statfs_t
	if prot&unix.PROT_EXEC != 0 && unix.Fstatfs(own, &fs) == nil && fs.Flags&unix.ST_NOEXEC != 0 {
		return unix.EPERM, readOnly
	}
	return 0, readOnly
}

// grant allows a node one more mapping.
func (o *sharedFile) grant(own int, at *site, readOnly bool) (f *checkpoint.File, elsewhere bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, false
	}
	if o.at != at {
		return nil, true
	}
	if !readOnly && !o.writable {
		fd, err := reopen(own, unix.O_RDWR)
		if err != nil {
			return nil, false
		}
		unix.Close(o.fd)
		o.fd, o.writable = fd, true
		if o.copy != nil {
			o.copy.Use(fd)
		}
	}
	o.grants++
	file := o.file
	file.ReadOnly = readOnly
	return &file, false
}

// reopen opens the file of a descriptor anew: with an offset and locks of its own.
func reopen(fd, mode int) (int, error) {
	return unix.Open("/proc/self/fd/"+strconv.Itoa(fd), mode|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
}

// takeAway lets a file be away at a site, if it belongs to the job alone.
func (s *Supervisor) takeAway(own int, st *unix.Stat_t, at *site) *sharedFile {
	id := identity(st)
	s.shared.mu.Lock()
	known := s.shared.known[id]
	s.shared.mu.Unlock()
	if at == nil || known || !couldBePrivate(own, st) {
		return nil
	}
	s.shared.taking.Lock()
	defer s.shared.taking.Unlock()
	if o := s.awayFile(id); o != nil { // another thread was faster
		return o
	}
	writable := true
	fd, err := reopen(own, unix.O_RDWR)
	if err != nil {
		writable = false
		if fd, err = reopen(own, unix.O_RDONLY); err != nil {
			return nil
		}
	}
	o := &sharedFile{id: id, fd: fd, writable: writable, at: at, wd: -1}
	o.file = checkpoint.File{Path: readlink(unix.Getpid(), "fd/"+strconv.Itoa(own)), Dev: st.Dev, Ino: st.Ino, Live: true}
	if o.shown, err = shownAs(fd); err != nil {
		unix.Close(fd)
		return nil
	}
	// First the watch, then the look: nobody slips between them.
	watched := s.shared.watch.add(s, o)
	o.guarded = st.Nlink > 0 && s.shared.guard.add(s, o)
	if who := s.outsiders(id, o.shown, nil); who != 0 || !watched && st.Nlink > 0 {
		s.log.Debug("file is not the job's alone", "path", o.file.Path, "pid", who)
		s.shared.watch.remove(o)
		s.shared.guard.remove(o)
		unix.Close(fd)
		return nil
	}
	s.register(o)
	return o
}

// register notes that a file is away from now on.
func (s *Supervisor) register(o *sharedFile) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	if s.shared.away == nil {
		s.shared.away = map[fileID]*sharedFile{}
	}
	s.shared.turns++
	o.file.Turn = s.shared.turns
	s.shared.away[o.id] = o
	s.shared.count.Add(1)
	if o.unguarded() {
		s.shared.unguarded.Add(1)
	}
	if n := len(s.shared.away); n >= max(s.shared.sweep, minSweep) {
		s.shared.sweep = 2 * n
		go s.sweepShared()
	}
}

// minSweep is from how many files on it is worth looking for unused ones.
const minSweep = 16

// sweepDelay is how long memory that nobody maps any more may be kept.
const sweepDelay = time.Second

// sweepSoon is told of calls and ends by which a file may have become unused.
func (s *Supervisor) sweepSoon() {
	if s.shared.count.Load() == 0 || !s.shared.sweeping.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(sweepDelay, func() {
		s.sweepShared()
		s.shared.sweeping.Store(false)
	})
}

// sweepShared drops the copies of files that nobody maps any more.
func (s *Supervisor) sweepShared() {
	for _, o := range s.awayFiles() {
		if _, err := s.exchange(o, true); err != nil {
			s.log.Debug("shared file not looked at", "path", o.file.Path, "err", err)
		}
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.sweep = 2 * len(s.shared.away)
}

// sendShared serves SharedGet: a site that has none makes its copy.
func (s *Supervisor) sendShared(at *site, _ context.Context, req protocol.SharedRef) (any, error) {
	o := s.liveFile(req.File)
	if o == nil {
		return protocol.SharedChanges{Gone: true}, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.at != at && !req.Moves {
		return protocol.SharedChanges{Gone: true}, nil
	}
	if o.at != at { // its mappers are on their way there
		if o.at != nil {
			o.before = &sharedBefore{o.at, o.copy, o.grants}
		}
		o.at, o.grants = at, 0
	}
	mem, detach, err := o.attach()
	if err != nil {
		return nil, err
	}
	defer detach()
	size, err := o.size()
	if err != nil {
		return nil, err
	}
	o.copy = twin.New(o.fd, size)
	o.copy.UseMemory(mem)
	data, err := o.copy.Changes()
	o.copy.UseMemory(nil)
	if err != nil {
		return nil, err
	}
	o.touched = true // by a call that is being executed now, perhaps
	reply := protocol.SharedChanges{File: o.file, Size: size}
	go reply.Put(at.sess, data)()
	return reply, nil
}

func (o *sharedFile) size() (int64, error) {
	if _, ok := o.segment(); ok {
		return o.file.Size, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(o.fd, &st); err != nil {
		return 0, fmt.Errorf("size of a shared file: %w", err)
	}
	return st.Size, nil
}

// exchangeLimit bounds how long a node may take to make its copy like home's.
const exchangeLimit = 5 * time.Minute

// exchange makes home's copy and the node's alike. With ask it learns who maps
// the file; if nobody does, the file is home.
func (s *Supervisor) exchange(o *sharedFile, ask bool) (mappers []int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, nil
	}
	if o.copy == nil {
		if o.grants == 0 && !o.leaving.Load() { // nobody has ever been allowed to map it
			s.closeShared(o)
		}
		return nil, nil
	}
	mem, detach, err := o.attach()
	if err != nil {
		return nil, err
	}
	defer detach()
	o.copy.UseMemory(mem)
	defer o.copy.UseMemory(nil)
	m := protocol.SharedChanges{File: o.file, Ask: ask, Grants: o.grants}
	if m.Size, err = o.size(); err != nil {
		return nil, err
	}
	o.copy.Resize(m.Size)
	var data []byte
	if o.touched {
		o.touched = false
		if data, err = o.copy.Changes(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(o.at.sess.Context(), exchangeLimit)
	defer cancel()
	go m.Put(o.at.sess, data)()
	var reply protocol.SharedChanges
	if err := o.at.sess.Request(ctx, protocol.SharedSync, m, &reply); err != nil {
		if o.at.sess.Err() != nil {
			s.log.Error("what programs stored in a shared file is lost with its node", "path", o.file.Path, "node", o.at.name)
			s.closeShared(o)
		}
		return nil, err
	}
	if size, err := o.size(); err == nil {
		o.copy.Resize(size)
	}
	if err := reply.Take(ctx, o.at.sess, o.copy); err != nil {
		s.log.Error("what programs stored in a shared file cannot be written to it", "path", o.file.Path, "err", err)
		return nil, err
	}
	if reply.Dropped {
		s.closeShared(o)
	}
	return reply.Mappers, nil
}

// closeShared notes that a file is home. o.mu is held.
func (s *Supervisor) closeShared(o *sharedFile) {
	if o.closed {
		return
	}
	o.closed = true
	s.shared.mu.Lock()
	if s.shared.away[o.id] == o {
		delete(s.shared.away, o.id)
		s.shared.count.Add(-1)
		if o.unguarded() {
			s.shared.unguarded.Add(-1)
		}
	}
	s.shared.mu.Unlock()
	s.shared.watch.remove(o)
	s.shared.guard.remove(o)
	if o.fd >= 0 {
		unix.Close(o.fd)
	}
	o.fd = -1
}

// recall fetches all home that map a file, and with them its content.
func (s *Supervisor) recall(o *sharedFile, reason string) {
	for range recallAttempts {
		o.mu.Lock()
		o.touched = true // by whoever it is recalled for, perhaps
		o.mu.Unlock()
		mappers, err := s.exchange(o, true)
		if err != nil {
			s.log.Error("shared file not recalled", "path", o.file.Path, "err", err)
			return
		}
		if len(mappers) == 0 {
			o.mu.Lock()
			closed := o.closed
			o.mu.Unlock()
			if closed {
				return
			}
			time.Sleep(recallPause) // a thread is about to map it
			continue
		}
		for _, pid := range mappers {
			if err := s.fetchHome(pid, reason); err != nil {
				s.log.Warn("process that maps a shared file not fetched", "pid", pid, "path", o.file.Path, "err", err)
				time.Sleep(recallPause)
			}
		}
	}
	s.log.Error("shared file not recalled: its mappers stay away", "path", o.file.Path)
}

// A recall is tried again for a few seconds: a process may be between vfork and
// exec, or moving already.
const (
	recallAttempts = 500
	recallPause    = 10 * time.Millisecond
)

// liveFiles finds the files whose copies are away among those of images.
func (s *Supervisor) liveFiles(images []*checkpoint.Image) ([]*sharedFile, error) {
	var all []*sharedFile
	seen := map[fileID]bool{}
	for _, im := range images {
		for _, f := range im.Files {
			id := fileID{f.Dev, f.Ino}
			if !f.Live || seen[id] {
				continue
			}
			seen[id] = true
			o := s.liveFile(f)
			if o == nil {
				return nil, fmt.Errorf("mapped file %s (inode %d) is not away", f.Path, f.Ino)
			}
			all = append(all, o)
		}
	}
	return all, nil
}

// settleShared makes the copies alike of the files that a group maps or has
// open, which stands still and is about to move.
func (s *Supervisor) settleShared(images []*checkpoint.Image) error {
	if s.shared.count.Load() == 0 {
		return nil
	}
	files, err := s.liveFiles(images)
	if err != nil {
		return err
	}
	for _, im := range images {
		for id := range openFilesOf(im.PID) {
			if o := s.awayFile(id); o != nil && !slices.Contains(files, o) {
				files = append(files, o)
			}
		}
	}
	for _, o := range files {
		if _, err := s.exchange(o, false); err != nil {
			return fmt.Errorf("content of %s: %w", o.file.Path, err)
		}
	}
	return nil
}

// sharedIsHome notes that a group which has been settled runs at home.
func (s *Supervisor) sharedIsHome(images []*checkpoint.Image) {
	files, err := s.liveFiles(images)
	if err != nil {
		return // noted already
	}
	for _, o := range files {
		o.mu.Lock()
		at, left := o.at, o.copy != nil && !o.closed
		s.closeShared(o)
		o.mu.Unlock()
		if left {
			s.dropLater(at, o.file)
		}
	}
}

// sharedIsAt notes that a group runs at a site: if it comes from another one,
// that one's copies are not needed any more, or if it stayed there, the new ones.
func (s *Supervisor) sharedIsAt(images []*checkpoint.Image, at *site) {
	files, err := s.liveFiles(images)
	if err != nil {
		return // home meanwhile
	}
	for _, o := range files {
		o.mu.Lock()
		was := o.before
		o.before = nil
		if was == nil {
			o.mu.Unlock()
			continue
		}
		other := was.at
		if was.at == at { // what it did not reach
			other = o.at
			o.at, o.copy, o.grants, o.touched = was.at, was.copy, was.grants, true
		}
		o.mu.Unlock()
		s.dropLater(other, o.file)
	}
}

// leftCopy is a copy that a node has and nobody there maps any more.
type leftCopy struct {
	at   *site
	file checkpoint.File
}

func (s *Supervisor) dropLater(at *site, f checkpoint.File) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.drops = append(s.shared.drops, leftCopy{at, f})
}

// dropCopies has nodes drop what a move has left there, before the next move
// may bring it back. moving is held.
func (s *Supervisor) dropCopies() {
	s.shared.mu.Lock()
	drops := s.shared.drops
	s.shared.drops = nil
	s.shared.mu.Unlock()
	for _, c := range drops {
		s.dropCopy(c.at, c.file)
	}
}

func (s *Supervisor) dropCopy(at *site, f checkpoint.File) {
	ctx, cancel := context.WithTimeout(at.sess.Context(), exchangeLimit)
	defer cancel()
	err := at.sess.Request(ctx, protocol.SharedSync, protocol.SharedChanges{File: f, Drop: true}, &protocol.SharedChanges{})
	if err != nil && at.sess.Err() == nil {
		s.log.Debug("copy of a shared file not dropped", "node", at.name, "path", f.Path, "err", err)
	}
}

// sharedDescriptor gives our descriptor of a file whose copy is away, for a
// shadow to open it, and the mode in which to.
func (s *Supervisor) sharedDescriptor(f checkpoint.File) (fd, mode int, err error) {
	o := s.liveFile(f)
	if o == nil {
		return -1, 0, fmt.Errorf("mapped file %s (inode %d) is not away", f.Path, f.Ino)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return -1, 0, errors.New("mapped file " + f.Path + " has come home")
	}
	if o.writable && !f.ReadOnly {
		return o.fd, unix.O_RDWR, nil
	}
	return o.fd, unix.O_RDONLY, nil
}

// named tells whether others could open a file by its name.
func (o *sharedFile) named() bool {
	if strings.HasPrefix(o.file.Path, "/memfd:") {
		return false
	}
	if _, ok := o.segment(); ok {
		return true // by its key, or by its number
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var st unix.Stat_t
	return !o.closed && unix.Fstat(o.fd, &st) == nil && st.Nlink > 0
}

// flushNamed makes home's copies right of all files that others can open: the
// job has ended.
func (s *Supervisor) flushNamed() {
	if s.shared.count.Load() == 0 {
		return
	}
	for _, o := range s.awayFiles() {
		if o.named() {
			if _, err := s.exchange(o, false); err != nil {
				s.log.Debug("shared file not written back", "path", o.file.Path, "err", err)
			}
		}
	}
}

// processIsHome fetches the mappers of all files that a process has open which
// runs at home from now on.
func (s *Supervisor) processIsHome(pid int) {
	if s.shared.count.Load() == 0 {
		return
	}
	open := openFilesOf(pid)
	for _, o := range s.awayFiles() {
		if open[o.id] {
			s.recall(o, fmt.Sprintf("process %d, which is at home, has a file open that it maps", pid))
		}
	}
}

// bringSharers brings those home that map files which a process has open, before
// it comes home itself: there its calls and mappings are the kernel's, who knows
// nothing of copies. Those who map them with it come along anyway. moving is held.
func (s *Supervisor) bringSharers(ctx context.Context, m *move, p *process) error {
	if s.shared.count.Load() == 0 {
		return nil
	}
	open := openFilesOf(p.pid)
	for _, o := range s.awayFiles() {
		if !open[o.id] && p.wantsSegment.Load() != int64(o.id.ino)+1 || o.leaving.Load() {
			continue
		}
		if _, segment := o.segment(); segment && open[o.id] {
			continue // the numbers agree by chance
		}
		mappers, err := s.exchange(o, true)
		if err != nil {
			return err
		}
		if slices.Contains(mappers, p.pid) {
			continue
		}
		for _, pid := range mappers {
			q := s.process(pid)
			if q == nil || q.getState() != away || p.getState() != away {
				continue // came along with another
			}
			reason := fmt.Sprintf("maps a file that process %d has open, which comes home", p.pid)
			if err := s.bringOne(ctx, m, q, q.site(), reason); err != nil {
				return fmt.Errorf("process %d, which maps %s: %w", pid, o.file.Path, err)
			}
			s.dropCopies() // before anybody who waits to map it is asked to come along
		}
	}
	return nil
}

// fetchHome brings a process home, and those that share memory with it.
func (s *Supervisor) fetchHome(pid int, reason string) error {
	s.moving.Lock()
	defer s.moving.Unlock()
	defer s.dropCopies()
	p := s.process(pid)
	if p == nil || p.getState() != away {
		return nil
	}
	at := p.site()
	return s.bring(at.sess.Context(), s.quietMove(), p, at, reason)
}

func imagesOf(procs []protocol.ProcImage) []*checkpoint.Image {
	all := make([]*checkpoint.Image, len(procs))
	for i := range procs {
		all[i] = &procs[i].Image
	}
	return all
}
