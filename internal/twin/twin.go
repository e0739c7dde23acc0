// Package twin keeps two copies of a file's content alike that are written at
// two places: one at home, by system calls, one on a node, by the programs
// that map it.
//
//  1. Each side has its copy and, in memory, its base: what both copies were
//     when they were last compared.
//  2. What a side has changed since then is the difference between its copy and
//     its base, byte for byte. [Copy.Changes] finds it and takes it over into
//     the base; [Copy.Apply] puts the other side's into copy and base.
//  3. So writes of both sides to different bytes come together even where they
//     share a page or a word, and nothing is watched while programs write.
//
// The size of the file is home's alone; [Copy.Resize] follows it.
//
// Changes are a sequence of runs: how many bytes to skip, how many are changed
// (both as uvarint), and those bytes. It comes from a peer and is bounded by the
// size of the copy. A Copy is used by one goroutine at a time.
package twin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

type page [pageSize]byte

var zeros page

// Copy is one side's copy of a file.
type Copy struct {
	fd   int
	mem  []byte // instead of fd
	size int64
	base map[int64]*page // pages that are not all zeros, by number
	buf  []byte
}

// New makes a copy of the file behind fd, which stays the caller's. Its base is
// a file of zeros.
func New(fd int, size int64) *Copy {
	return &Copy{fd: fd, size: size, base: map[int64]*page{}}
}

// Size is the size last heard of.
func (c *Copy) Size() int64 { return c.size }

// Use takes another descriptor of the same file.
func (c *Copy) Use(fd int) { c.fd = fd }

// UseMemory takes memory instead, as long as the file; nil: there is none now.
func (c *Copy) UseMemory(mem []byte) { c.mem = mem }

// Resize notes another size of the file; what the base has beyond it is dropped.
func (c *Copy) Resize(size int64) {
	if size < c.size {
		for n, p := range c.base {
			at := n * pageSize
			if at >= size {
				delete(c.base, n)
			} else if at+pageSize > size {
				clear(p[size-at:])
			}
		}
	}
	c.size = size
}

// chunk is how much is read at once.
const chunk = 64 * pageSize

// Changes returns what has changed since the last time and takes it over into
// the base.
func (c *Copy) Changes() ([]byte, error) {
	var e encoder
	if c.mem != nil {
		var p page
		for at := int64(0); at < c.size; at += pageSize {
			n := copy(p[:], c.mem[at:c.size]) // programs may write to it meanwhile
			c.compare(&e, at, p[:n])
		}
		return e.b, nil
	}
	if c.buf == nil {
		c.buf = make([]byte, chunk)
	}
	for at := int64(0); at < c.size; {
		data, err := unix.Seek(c.fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO || err == nil && data > c.size {
			data = c.size
		} else if err != nil {
			return nil, fmt.Errorf("find the data of a shared file: %w", err)
		}
		c.hole(&e, at, data)
		if data >= c.size {
			break
		}
		at = data &^ (pageSize - 1)
		end, err := unix.Seek(c.fd, data, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("find the data of a shared file: %w", err)
		}
		end = min((end+pageSize-1)&^(pageSize-1), c.size)
		for at < end {
			n, err := unix.Pread(c.fd, c.buf[:min(chunk, end-at)], at)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read a shared file: %w", err)
			}
			if n == 0 { // shorter than it was
				at = end
			}
			for off := 0; off < n; off += pageSize {
				c.compare(&e, at+int64(off), c.buf[off:min(off+pageSize, n)])
			}
			at += int64(n)
		}
	}
	return e.b, nil
}

// hole looks at pages that read as zeros now and may not have been when the base
// was made: the program has punched a hole.
func (c *Copy) hole(e *encoder, from, to int64) {
	first, last := (from+pageSize-1)/pageSize, to/pageSize
	if to >= c.size {
		last = (c.size + pageSize - 1) / pageSize
	}
	var were []int64
	if int64(len(c.base)) < last-first {
		for n := range c.base {
			if n >= first && n < last {
				were = append(were, n)
			}
		}
		slices.Sort(were)
	} else {
		for n := first; n < last; n++ {
			if c.base[n] != nil {
				were = append(were, n)
			}
		}
	}
	for _, n := range were {
		c.compare(e, n*pageSize, zeros[:min(pageSize, c.size-n*pageSize)])
	}
}

// compare adds what differs in a page to e, and to the base.
func (c *Copy) compare(e *encoder, at int64, now []byte) {
	n := at / pageSize
	was := c.base[n]
	old := zeros[:len(now)]
	if was != nil {
		old = was[:len(now)]
	}
	if bytes.Equal(now, old) {
		return
	}
	if was == nil {
		was = new(page)
		c.base[n] = was
	}
	for i := same(now, old, 0); i < len(now); {
		j := differ(now, old, i)
		e.add(at+int64(i), now[i:j])
		i = same(now, old, j)
	}
	copy(was[:], now)
	if *was == zeros {
		delete(c.base, n)
	}
}

// same returns how far a and b agree from i on: an index behind it.
func same(a, b []byte, i int) int {
	for ; i+8 <= len(a); i += 8 {
		if binary.LittleEndian.Uint64(a[i:]) != binary.LittleEndian.Uint64(b[i:]) {
			break
		}
	}
	for i < len(a) && a[i] == b[i] {
		i++
	}
	return i
}

// differ returns how far a and b differ in every byte from i on.
func differ(a, b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(a); i += 8 {
		x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:])
		if (x-ones)&^x&tops != 0 { // a byte of x is 0
			break
		}
	}
	for i < len(a) && a[i] != b[i] {
		i++
	}
	return i
}

// encoder builds changes.
type encoder struct {
	b  []byte
	at int64 // where the last run ended
}

func (e *encoder) add(at int64, p []byte) {
	e.b = binary.AppendUvarint(e.b, uint64(at-e.at))
	e.b = binary.AppendUvarint(e.b, uint64(len(p)))
	e.b = append(e.b, p...)
	e.at = at + int64(len(p))
}

var errMalformed = errors.New("malformed changes of a shared file")

// maxSize bounds positions: the largest file that Linux knows is smaller.
const maxSize = 1 << 60

// windowSize is how much of the copy is mapped at once to be written to.
const windowSize = 16 << 20

// Apply puts the other side's changes into the copy and the base.
// Bytes that are not part of it are not written to: programs may be writing
// there. If the file cannot hold them, an error says so.
func (c *Copy) Apply(changes []byte) (err error) {
	mem := c.mem
	var from int64
	defer func() {
		if mem != nil && c.mem == nil {
			_ = unix.Munmap(mem)
		}
	}()
	// A file system without room answers a store with SIGBUS.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("write to a shared file: %v; is its file system full?", r)
		}
	}()
	at := int64(0)
	for len(changes) > 0 {
		skip, k := binary.Uvarint(changes)
		if k <= 0 {
			return errMalformed
		}
		n, l := binary.Uvarint(changes[k:])
		if l <= 0 || n > uint64(len(changes)-k-l) || skip > maxSize || at > maxSize {
			return errMalformed
		}
		at += int64(skip)
		run := changes[k+l:][:n]
		changes = changes[k+l+int(n):]
		if at+int64(n) > c.size {
			if at >= c.size {
				at += int64(n)
				continue // cut off meanwhile
			}
			c.note(at, run[:c.size-at])
		} else {
			c.note(at, run)
		}
		run = run[:min(int64(n), c.size-at)]
		for done := int64(0); done < int64(len(run)); {
			pos := at + done
			if mem == nil || pos < from || pos >= from+int64(len(mem)) {
				if mem != nil {
					_ = unix.Munmap(mem)
				}
				from = pos &^ (pageSize - 1)
				if mem, err = unix.Mmap(c.fd, from, int(min(windowSize, c.size-from)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
					mem = nil
					return fmt.Errorf("map a shared file: %w", err)
				}
			}
			done += int64(copy(mem[pos-from:], run[done:]))
		}
		at += int64(n)
	}
	return nil
}

// note puts bytes into the base.
func (c *Copy) note(at int64, p []byte) {
	for len(p) > 0 {
		n, off := at/pageSize, at%pageSize
		was := c.base[n]
		if was == nil {
			was = new(page)
			c.base[n] = was
		}
		k := copy(was[off:], p)
		p, at = p[k:], at+int64(k)
	}
}
