package guest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/twin"
)

// Shared mappings of files that belong to the job alone: the node has the one
// copy that programs map, a memfd; package shadow, shared.go, tells the story.

// sharedFiles are the files that this pod has the copy of. Lock order: mu is a
// leaf, sharedFile.mu may be held while it is taken.
type sharedFiles struct {
	mu     sync.Mutex
	files  map[turn]*sharedFile
	mapped map[inode]*sharedFile // as the maps of bodies show them
}

// turn is a file, as home numbers it, each time that it is away.
type turn struct {
	inode
	n uint64
}

func turnOf(f checkpoint.File) turn { return turn{inode{f.Dev, f.Ino}, f.Turn} }

type sharedFile struct {
	file  checkpoint.File
	ready chan struct{}
	err   error
	rw    int // memfd
	ro    int // the same, for descriptors that home has open for reading
	as    inode

	mu   sync.Mutex
	copy *twin.Copy
	// Guarded by sharedFiles.mu:
	grants  uint64
	coming  bool          // an image that maps it is being loaded
	leaving chan struct{} // closed when those who map it have left, or stay; nil: they do not move
}

// sharedName is the name of the memfds; those of shared anonymous memory have another.
const sharedName = "homing-file"

// holdInterval is how often who waits to map a file looks whether he is to come
// along with those who leave with it.
const holdInterval = time.Millisecond

// fetchLimit bounds how long the content of a file may take to arrive.
const fetchLimit = 5 * time.Minute

// content returns a descriptor by which a body can map a file of home: of its
// content, or of the one copy. th is the thread whom home has allowed to map it,
// nil if it is for an image.
func (p *pod) content(f checkpoint.File, th *thread) (fd int, err error) {
	if !f.Live {
		return p.host.cache.get(p.sess, f)
	}
	s := &p.shared
	key := turnOf(f)
	s.mu.Lock()
	o := s.files[key]
	for o != nil && o.leaving != nil && th != nil && !th.proc.isFreezing() { // else it comes along
		outcome := o.leaving
		s.mu.Unlock()
		select {
		case <-outcome:
		case <-time.After(holdInterval):
		case <-p.sess.Done():
			return -1, errors.New("session ended")
		}
		s.mu.Lock()
		o = s.files[key]
	}
	mine := o == nil
	if mine {
		o = &sharedFile{file: f, ready: make(chan struct{}), rw: -1, ro: -1}
		o.file.ReadOnly = false
		if s.files == nil {
			s.files, s.mapped = map[turn]*sharedFile{}, map[inode]*sharedFile{}
		}
		s.files[key] = o
	}
	if th != nil {
		th.granted.Store(o) // until its next call: by then it has mapped it
		o.grants++
	} else {
		o.coming = true
	}
	s.mu.Unlock()
	if mine {
		o.err = p.fetchShared(o, th == nil)
		s.mu.Lock()
		if o.err != nil {
			delete(s.files, key)
		} else {
			s.mapped[o.as] = o
		}
		s.mu.Unlock()
		close(o.ready)
	}
	select {
	case <-o.ready:
	case <-p.sess.Done():
		return -1, errors.New("session ended")
	}
	switch {
	case o.err != nil:
		return -1, o.err
	case f.ReadOnly:
		return o.ro, nil
	}
	return o.rw, nil
}

// fetchShared makes the copy of a file and fills it with what home has.
func (p *pod) fetchShared(o *sharedFile, moves bool) (err error) {
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if o.rw, err = unix.MemfdCreate(sharedName, unix.MFD_CLOEXEC); err != nil {
		return fmt.Errorf("copy of a shared file: %w", err)
	}
	if o.ro, err = unix.Open("/proc/self/fd/"+itoa(o.rw), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("copy of a shared file: %w", err)
	}
	if o.as, err = mappedAs(o.ro); err != nil {
		return fmt.Errorf("copy of a shared file: %w", err)
	}
	ctx, cancel := context.WithTimeout(p.sess.Context(), fetchLimit)
	defer cancel()
	// Nobody compares the copies before home has sent the content.
	o.mu.Lock()
	defer o.mu.Unlock()
	var m protocol.SharedChanges
	if err := p.sess.Request(ctx, protocol.SharedGet, protocol.SharedRef{File: o.file, Moves: moves}, &m); err != nil {
		return err
	}
	if m.Gone {
		return errGone
	}
	o.copy = twin.New(o.rw, 0)
	if err := o.resize(m.Size); err != nil {
		return err
	}
	return m.Take(ctx, p.sess, o.copy)
}

// errGone says that a file has come home since it was allowed to be mapped here.
var errGone = errors.New("the file is home again")

// holdShared keeps others from mapping what a group maps that is about to leave.
func (p *pod) holdShared(group []*proc) {
	s := &p.shared
	for _, pr := range group {
		maps, err := linux.Mappings(pr.body)
		if err != nil {
			continue // it has ended
		}
		s.mu.Lock()
		for _, m := range maps {
			if o := s.mapped[inode{m.Dev, m.Ino}]; o != nil && o.leaving == nil {
				o.leaving = make(chan struct{})
			}
		}
		s.mu.Unlock()
	}
}

// freeShared lets others map again what a group maps that stays.
func (p *pod) freeShared() {
	s := &p.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.files {
		o.release()
	}
}

// sharedArrived notes that processes which have arrived run: what they map shows.
func (p *pod) sharedArrived() {
	s := &p.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.files {
		o.coming = false
	}
}

// release tells those who wait to map a file that its mappers have left, or stay.
func (o *sharedFile) release() {
	if o.leaving != nil {
		close(o.leaving)
		o.leaving = nil
	}
}

// mappedFile tells which file of home a mapping of a process shows that is about
// to leave, and how it was opened.
func (p *pod) mappedFile(pr *proc, m linux.Mapping) (checkpoint.File, bool) {
	f, ok := p.origin(m.Dev, m.Ino)
	if ok && f.Live && m.Shared && m.Prot&unix.PROT_WRITE == 0 {
		writable, err := linux.MayWrite(pr.body, m.Start)
		f.ReadOnly = err == nil && !writable
	}
	return f, ok
}

// aboutToMap lists processes that may just be mapping shared files, with their
// inodes here.
func (p *pod) aboutToMap() map[*proc]map[uint64]bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := map[*proc]map[uint64]bool{}
	for _, th := range p.threads {
		if o := th.granted.Load(); o != nil {
			select {
			case <-o.ready:
				if all[th.proc] == nil {
					all[th.proc] = map[uint64]bool{}
				}
				all[th.proc][o.as.ino] = true
			default: // it has not even come
			}
		}
	}
	return all
}

// resize gives the copy the size that the file has at home.
func (o *sharedFile) resize(size int64) error {
	if size < 0 {
		return errors.New("negative size")
	}
	if size == o.copy.Size() {
		return nil
	}
	if err := unix.Ftruncate(o.rw, size); err != nil {
		return fmt.Errorf("size of a shared file: %w", err)
	}
	o.copy.Resize(size)
	return nil
}

func (o *sharedFile) close() {
	if o.rw >= 0 {
		_ = unix.Ftruncate(o.rw, 0) // bodies may still have a descriptor that nobody knows of
		unix.Close(o.rw)
	}
	if o.ro >= 0 {
		unix.Close(o.ro)
	}
	o.rw, o.ro = -1, -1
}

// syncShared serves SharedSync: home's changes come in, ours go out.
func (p *pod) syncShared(ctx context.Context, m protocol.SharedChanges) (any, error) {
	s := &p.shared
	key := turnOf(m.File)
	s.mu.Lock()
	o := s.files[key]
	s.mu.Unlock()
	if o == nil {
		return nil, fmt.Errorf("file %s (inode %d) is not here", m.File.Path, m.File.Ino)
	}
	<-o.ready // home has sent its content already
	if o.err != nil {
		return nil, o.err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.Drop {
		s.mu.Lock()
		delete(s.files, key)
		delete(s.mapped, o.as)
		o.release()
		s.mu.Unlock()
		o.close()
		return protocol.SharedChanges{File: o.file, Dropped: true}, nil
	}
	if err := o.resize(m.Size); err != nil {
		return nil, err
	}
	if err := m.Take(ctx, p.sess, o.copy); err != nil {
		return nil, err
	}
	reply := protocol.SharedChanges{File: o.file, Size: m.Size}
	if m.Ask {
		var busy bool
		reply.Mappers, busy = p.mappersOf(o)
		s.mu.Lock()
		if len(reply.Mappers) > 0 {
			o.coming = false
		}
		if !busy && !o.coming && o.grants == m.Grants {
			reply.Dropped = true
			delete(s.files, key)
			delete(s.mapped, o.as)
		}
		s.mu.Unlock()
	}
	// After the look at who maps it: what a last mapper wrote is in it.
	data, err := o.copy.Changes()
	if err != nil {
		return nil, err
	}
	if reply.Dropped {
		o.close()
	}
	go reply.Put(p.sess, data)()
	return reply, nil
}

// mappersOf lists the processes that map a file. busy: there may be more, whose
// thread has been told to map it.
func (p *pod) mappersOf(o *sharedFile) (pids []int, busy bool) {
	p.mu.RLock()
	procs := make([]*proc, 0, len(p.procs))
	for _, pr := range p.procs {
		procs = append(procs, pr)
	}
	for _, th := range p.threads {
		busy = busy || th.granted.Load() == o
	}
	p.mu.RUnlock()
	for _, pr := range procs {
		maps, err := linux.Mappings(pr.body)
		if err != nil {
			continue // it is ending
		}
		for _, m := range maps {
			if m.Dev == o.as.dev && m.Ino == o.as.ino {
				pids = append(pids, pr.pid)
				break
			}
		}
	}
	return pids, busy || len(pids) > 0
}

// shownAs tells how home's kernel would print a mapping of a body.
func (p *pod) shownAs(dev, ino uint64) (checkpoint.File, bool) {
	f, ok := p.origin(dev, ino)
	if f.Dev == checkpoint.SegmentDev {
		f.Dev = unix.Mkdev(0, 1)
	}
	return f, ok
}

// origin tells which file of home a mapping of a body shows.
func (p *pod) origin(dev, ino uint64) (checkpoint.File, bool) {
	s := &p.shared
	s.mu.Lock()
	o := s.mapped[inode{dev, ino}]
	s.mu.Unlock()
	if o != nil {
		return o.file, true
	}
	return p.host.cache.origin(dev, ino)
}

// sharesFile tells whether a mapping is of a file whose one copy is here: all its
// mappers move together.
func sharesFile(path string) bool { return strings.HasPrefix(path, "/memfd:"+sharedName) }

// mapsShared tells whether a process maps such a file.
func mapsShared(pr *proc) bool {
	maps, err := linux.Mappings(pr.body)
	if err != nil {
		return false // it is ending
	}
	return slices.ContainsFunc(maps, func(m linux.Mapping) bool { return sharesFile(m.Path) })
}

// closeShared drops all copies: the pod has ended.
func (p *pod) closeShared() {
	s := &p.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.files {
		select {
		case <-o.ready:
			o.close()
		default: // whoever fetches it closes it: the session has ended
		}
	}
	s.files, s.mapped = nil, nil
}
