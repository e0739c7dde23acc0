package protocol

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/twin"
	"homing/kkc"
)

// Files whose one copy is away with the processes that map them shared: see
// package shadow, shared.go.
const (
	SharedGet  = "shared.get"  // T node → home: SharedRef → SharedChanges: what is in the file
	SharedSync = "shared.sync" // T home → node: SharedChanges → SharedChanges: both copies become alike
)

// SharedRef names a file whose one copy is away.
type SharedRef struct {
	File checkpoint.File
	// Moves: processes that map it are arriving at the node; else one there was
	// allowed to map it.
	Moves bool
}

// SharedChanges are what a side has changed of a file since both copies were
// alike, see package twin.
type SharedChanges struct {
	File   checkpoint.File
	Size   int64 // of the file at home
	Data   []byte
	Bulk   uint64 // transfer that carries the data instead, if they are many
	Length int    // of the data in it
	// Ask wants to know who maps the file. If nobody does, and the node has heard
	// of all Grants mappings that home has allowed, it drops its copy.
	Ask     bool
	Grants  uint64
	Mappers []int // of an answer: their pids
	Dropped bool  // likewise
	// Drop: its mappers have left the node, and so has what they wrote.
	Drop bool
	// Gone, in home's answer: the file is home again, ask anew what to do.
	Gone bool
}

// maxInline is how much data of a file travels in the message itself.
const maxInline = 32 << 10

// Put fills in data. If there are many, send must be called once the message is
// on its way, or about to be.
func (m *SharedChanges) Put(sess *kkc.Session, data []byte) (send func()) {
	if len(data) <= maxInline {
		m.Data = data
		return func() {}
	}
	m.Bulk, m.Length = sess.NextBulkID(), len(data)
	return func() { _ = sess.BulkSend(m.Bulk, data) } // a failure ends the session
}

// Take receives the data of a message that came from the peer and puts them into c.
func (m *SharedChanges) Take(ctx context.Context, sess *kkc.Session, c *twin.Copy) error {
	data := m.Data
	if m.Bulk != 0 {
		// A changed byte costs two more at worst.
		if m.Length < 0 || int64(m.Length)/3 > c.Size()+maxInline {
			return errors.New("more changes than the file has bytes")
		}
		var si unix.Sysinfo_t
		if err := unix.Sysinfo(&si); err != nil || uint64(m.Length) > si.Totalram*uint64(si.Unit)/2 {
			return fmt.Errorf("%d bytes of changes of %s: more than this machine can hold", m.Length, m.File.Path)
		}
		data = make([]byte, m.Length)
		if err := sess.BulkRecv(ctx, m.Bulk, data); err != nil {
			return fmt.Errorf("changes of %s: %w", m.File.Path, err)
		}
	}
	return c.Apply(data)
}
