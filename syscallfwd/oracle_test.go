package syscallfwd

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Linux is the oracle: each body of oracles runs twice, once with native calls
// and once with calls that travel as a guest's do. Both must log the same.

// program is what a body sees: memory of its own, and a way to make calls.
type program struct {
	t       *testing.T
	forward bool
	dir     string
	mem     []byte
	next    int
	none    uint64 // a page that cannot be touched, with writable memory before it
	ro      uint64 // a page that can only be read, with writable memory before it
	enc     Encoder
	log     strings.Builder
}

var oracles = map[string]func(p *program){}

// oracle registers a body.
func oracle(name string, body func(p *program)) bool {
	if oracles[name] != nil {
		panic("two bodies for " + name)
	}
	oracles[name] = body
	return true
}

func TestOracle(t *testing.T) {
	for name, body := range oracles {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			native, away := runBody(t, body, false), runBody(t, body, true)
			if native != away {
				t.Errorf("native:\n%s\nforwarded:\n%s", native, away)
			}
			if testing.Verbose() {
				t.Log("\n" + native)
			}
		})
	}
}

func runBody(t *testing.T, body func(p *program), forward bool) string {
	const size = 4 << 20
	mem, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(mem)
	p := &program{t: t, forward: forward, dir: t.TempDir(), mem: mem, next: 64}
	for i, prot := range []int{syscall.PROT_NONE, syscall.PROT_READ} {
		page := mem[size-(4*i+2)*pageSize:][:pageSize]
		if err := syscall.Mprotect(page, prot); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			p.none = ptr(page)
		} else {
			p.ro = ptr(page)
		}
	}
	body(p)
	return p.log.String()
}

// buf returns n bytes of memory, filled with a pattern so that it shows what
// the kernel left alone.
func (p *program) buf(n int) uint64 {
	p.next = (p.next + 7) &^ 7
	b := p.mem[p.next:][:n]
	p.next += n + 16
	for i := range b {
		b[i] = 0xee
	}
	if n == 0 {
		return ptr(p.mem[p.next:])
	}
	return ptr(b)
}

// zero returns n bytes of zeroed memory.
func (p *program) zero(n int) uint64 {
	a := p.buf(n)
	clear(p.at(a, n))
	return a
}

func (p *program) put(b []byte) uint64 {
	a := p.buf(len(b))
	copy(p.at(a, len(b)), b)
	return a
}

func (p *program) str(s string) uint64          { return p.put(cstr(s)) }
func (p *program) path(name string) uint64      { return p.str(p.dir + "/" + name) }
func (p *program) words(w ...uint64) uint64     { return p.put(words(w...)) }
func (p *program) at(addr uint64, n int) []byte { return p.mem[addr-ptr(p.mem):][:n] }
func (p *program) word(addr uint64) uint64      { return le64(p.at(addr, 8)) }
func (p *program) int32(addr uint64) int        { return int(int32(le32(p.at(addr, 4)))) }

// quiet makes a call whose result is not compared (ids, times).
func (p *program) quiet(name string, args ...any) int64 {
	p.t.Helper()
	var a [6]uint64
	for i, v := range args {
		switch v := v.(type) {
		case int:
			a[i] = uint64(v)
		case int64:
			a[i] = uint64(v)
		case uint64:
			a[i] = v
		default:
			p.t.Fatalf("%s: argument %d is a %T", name, i, v)
		}
	}
	entry := LookupName(name)
	if entry == nil {
		p.t.Fatalf("no row for %s", name)
	}
	if !p.forward {
		return rawSyscall(entry.Nr, a)
	}
	c, err := p.enc.Marshal(entry, 1, a, ownMemory{}, testImage)
	if err != nil {
		p.t.Fatalf("%s%x: %v", name, a, err)
	}
	return roundTrip(p.t, c, ownMemory{})
}

// call makes a call and logs its result.
func (p *program) call(name string, args ...any) int64 {
	p.t.Helper()
	r := p.quiet(name, args...)
	if r < 0 && r > -4096 {
		fmt.Fprintf(&p.log, "%s: %v\n", name, syscall.Errno(-r))
	} else {
		fmt.Fprintf(&p.log, "%s: %d\n", name, r)
	}
	return r
}

// must makes a call that only prepares others.
func (p *program) must(name string, args ...any) int64 {
	p.t.Helper()
	r := p.quiet(name, args...)
	if r < 0 && r > -4096 {
		p.t.Fatalf("%s: %v", name, syscall.Errno(-r))
	}
	return r
}

// show logs memory.
func (p *program) show(addr uint64, n int) {
	fmt.Fprintf(&p.log, "  %q\n", p.at(addr, n))
}

func (p *program) note(format string, args ...any) { fmt.Fprintf(&p.log, "  "+format+"\n", args...) }

func (p *program) close(fds ...int64) {
	for _, fd := range fds {
		p.must("close", fd)
	}
}

// file makes a file with content and returns its descriptor.
func (p *program) file(name, content string) int64 {
	fd := p.must("openat", atFdcwd, p.path(name), syscall.O_RDWR|syscall.O_CREAT, 0o644)
	if content != "" {
		p.must("pwrite64", fd, p.str(content), len(content), 0)
	}
	return fd
}

// pipe makes a pipe.
func (p *program) pipe(flags int) (r, w int64) {
	a := p.buf(8)
	p.must("pipe2", a, flags)
	return int64(p.int32(a)), int64(p.int32(a + 4))
}

// socketpair makes two connected sockets.
func (p *program) socketpair(typ int) (a, b int64) {
	sv := p.buf(8)
	p.must("socketpair", syscall.AF_UNIX, typ, 0, sv)
	return int64(p.int32(sv)), int64(p.int32(sv + 4))
}

const atFdcwd = -100
