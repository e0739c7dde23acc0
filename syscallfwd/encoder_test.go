package syscallfwd

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// place marshals a call and gives back its image as a shadow would see it.
func place(t *testing.T, mem Memory, name string, args ...uint64) (*Call, [6]uint64, []byte) {
	t.Helper()
	var a [6]uint64
	copy(a[:], args)
	var e Encoder
	c, err := e.Marshal(LookupName(name), 1, a, mem, testImage)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	image := bytes.Repeat([]byte{0xa5}, int(c.Size))
	placed, err := c.Place(image, placeBase)
	if err != nil {
		t.Fatal(err)
	}
	return c, placed, image
}

const placeBase = 0x7000_0000_0000

func TestExecStrings(t *testing.T) {
	mem := &fakeMemory{}
	long := strings.Repeat("x", 200_000)
	argv := mem.put(words(mem.put(cstr("prog")), mem.put(cstr("")), mem.put(cstr(long)), mem.put(cstr(strings.Repeat("y", 9000))), 0))
	c, args, image := place(t, mem, "execve", mem.put(cstr("/bin/prog")), argv, mem.put(words(mem.put(cstr("A=b")), 0x3000, 1<<63, 0)))
	str := func(p uint64) string {
		if p < placeBase || p >= placeBase+uint64(c.Size) {
			return fmt.Sprintf("%#x", p)
		}
		return string(cString(image[p-placeBase:]))
	}
	list := func(p uint64) (s []string) {
		for p -= placeBase; le64(image[p:]) != 0; p += 8 {
			s = append(s, str(le64(image[p:])))
		}
		return s
	}
	got := list(args[1])
	if len(got) != 4 || got[0] != "prog" || got[1] != "" || len(got[2]) <= 128<<10 || got[3] != strings.Repeat("y", 9000) {
		t.Errorf("argv = %.20q", got)
	}
	if got := list(args[2]); !slices.Equal(got, []string{"A=b", fmt.Sprintf("%#x", Unmapped), fmt.Sprintf("%#x", uint64(BadAddr))}) {
		t.Errorf("envp = %q", got)
	}
	if str(args[0]) != "/bin/prog" {
		t.Errorf("path = %q", str(args[0]))
	}
	// An array that runs off the end of memory.
	_, args, image = place(t, mem, "execve", 0, mem.put(words(mem.put(cstr("a")), mem.put(cstr("b")))), 0)
	if le64(image[args[1]-placeBase+16:]) != Unmapped || args[0] != 0 || args[2] != 0 {
		t.Errorf("unterminated argv: %x, args %x", image[args[1]-placeBase:][:32], args)
	}
}

// An interrupted sleep gives the rest, one that ended or failed does not.
func TestInterruptedOutputs(t *testing.T) {
	for _, tt := range []struct {
		ret   int64
		wrote bool
	}{{0, false}, {-22, false}, {-4, true}, {-516, true}, {-14, false}} {
		for _, name := range []string{"nanosleep", "clock_nanosleep"} {
			mem := &fakeMemory{}
			rem := mem.put(make([]byte, 16))
			args := []uint64{mem.put(words(5, 0)), rem}
			if name == "clock_nanosleep" {
				args = append([]uint64{1, 0}, args...)
			}
			c, placed, image := place(t, mem, name, args...)
			copy(image[placed[len(args)-1]-placeBase:], words(3, 500))
			ret := c.Scatter(mem, &Reply{Ret: tt.ret, Outs: c.Gather(tt.ret, image, nil)})
			if ret != tt.ret || bytes.Equal(mem.at(rem, 16), words(3, 500)) != tt.wrote {
				t.Errorf("%s = %d: result %d, rest %x", name, tt.ret, ret, mem.at(rem, 16))
			}
		}
	}
	// The rest cannot be written: EFAULT instead of EINTR.
	mem := &fakeMemory{}
	rem := mem.put(make([]byte, 16))
	mem.find(rem).readOnly = true
	c, _, image := place(t, mem, "nanosleep", mem.put(words(5, 0)), rem)
	if ret := c.Scatter(mem, &Reply{Ret: -4, Outs: c.Gather(-4, image, nil)}); ret != -efault {
		t.Errorf("result %d", ret)
	}
	// select keeps quiet about it.
	c, placed, image := place(t, mem, "select", 0, 0, 0, 0, rem)
	copy(image[placed[4]-placeBase:], words(1, 1))
	if ret := c.Scatter(mem, &Reply{Ret: 1, Outs: c.Gather(1, image, nil)}); ret != 1 {
		t.Errorf("select = %d", ret)
	}
}

// poll writes revents when a signal ended it, and nothing but revents ever.
func TestPollRevents(t *testing.T) {
	mem := &fakeMemory{}
	fds := mem.put(words(3|1<<32|0x7<<48, 4|1<<32))
	c, placed, image := place(t, mem, "poll", fds, 2, 100)
	p := image[placed[0]-placeBase:]
	p[6], p[8+6] = 0, 4
	mem.find(fds).data[0] = 9 // another thread changes fd meanwhile
	if ret := c.Scatter(mem, &Reply{Ret: -4, Outs: c.Gather(-4, image, nil)}); ret != -4 {
		t.Errorf("result %d", ret)
	}
	if got := mem.at(fds, 16); !bytes.Equal(got, words(9|1<<32, 4|1<<32|4<<48)) {
		t.Errorf("fds = %x", got)
	}
}

// Read-only memory is found only when the call is over.
func TestShortened(t *testing.T) {
	mem := &fakeMemory{}
	a, b := mem.put(make([]byte, 4)), mem.put(make([]byte, 4))
	mem.find(b).readOnly = true
	c, _, image := place(t, mem, "readv", 0, mem.put(words(a, 4, b, 4)), 2)
	if ret := c.Scatter(mem, &Reply{Ret: 8, Outs: c.Gather(8, image, nil)}); ret != 4 {
		t.Errorf("readv = %d", ret)
	}
	c, _, image = place(t, mem, "read", 0, b, 4)
	if ret := c.Scatter(mem, &Reply{Ret: 4, Outs: c.Gather(4, image, nil)}); ret != -efault {
		t.Errorf("read = %d", ret)
	}
	c, _, image = place(t, mem, "getresuid", a, b, a)
	if ret := c.Scatter(mem, &Reply{Ret: 0, Outs: c.Gather(0, image, nil)}); ret != -efault {
		t.Errorf("getresuid = %d", ret)
	}
	// A reply that is shorter than it should be writes nothing and is no error.
	if ret := c.Scatter(mem, &Reply{Ret: 0, Outs: []byte{4, 0, 0}}); ret != 0 {
		t.Errorf("getresuid = %d", ret)
	}
}

func TestUnsupported(t *testing.T) {
	mem := &fakeMemory{}
	p := mem.put(make([]byte, 256))
	for _, tt := range []struct {
		name string
		args [6]uint64
	}{
		{"ioctl", [6]uint64{0, 0xdeadbeef, p}},
		{"ioctl", [6]uint64{0, 0x2285, p}},     // SG_IO
		{"ioctl", [6]uint64{0, 0x40304580, p}}, // EVIOCSFF
		{"ioctl", [6]uint64{0, 0xc0606610, p}}, // PAGEMAP_SCAN
		{"ioctl", [6]uint64{0, 0x8946, p}},     // SIOCETHTOOL
		{"fcntl", [6]uint64{0, 1024 + 20, p}},
		{"prctl", [6]uint64{22, 2, p}},
		{"prctl", [6]uint64{35, 1, p}},
		{"personality", [6]uint64{0x40000}},
		{"unshare", [6]uint64{0x10000000}},
		{"keyctl", [6]uint64{23, p}},
		{"sendmsg", [6]uint64{0, p, 0x4000000}},
		{"sendto", [6]uint64{0, p, 1, 0x4000000}},
		{"sendmmsg", [6]uint64{0, p, 1, 0x4000000}},
		{"setsockopt", [6]uint64{0, 283, 4, p, 32}},
		{"getsockopt", [6]uint64{0, 6, 35, p, p}},
		{"io_uring_setup", [6]uint64{8, p}},
		{"futex", [6]uint64{p}},
		{"sysfs", [6]uint64{2, 0, p}},
		{"landlock_add_rule", [6]uint64{0, 9, p}},
		{"quotactl", [6]uint64{0x123456, 0, 0, p}},
	} {
		var e Encoder
		if _, err := e.Marshal(LookupName(tt.name), 1, tt.args, mem, 1<<16); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s%x: %v", tt.name, tt.args, err)
		}
	}
}

// Buffers of O_DIRECT keep their alignment inside the image.
func TestAlignment(t *testing.T) {
	mem := &fakeMemory{}
	page, sector := mem.putAlign(make([]byte, 8192), 4096), mem.putAlign(make([]byte, 512), 512)
	_, args, _ := place(t, mem, "pread64", 3, page, 8192, 0)
	if args[1]%4096 != 0 {
		t.Errorf("read at %#x", args[1])
	}
	for _, name := range []string{"preadv", "pwritev"} {
		_, args, image := place(t, mem, name, 3, mem.put(words(sector, 512, page, 4096)), 2, 0)
		v := image[args[1]-placeBase:]
		if le64(v)%512 != 0 || le64(v[16:])%512 != 0 {
			t.Errorf("%s at %#x, %#x", name, le64(v), le64(v[16:]))
		}
	}
}

func TestTooBig(t *testing.T) {
	mem := &fakeMemory{}
	p := mem.put(make([]byte, 1<<17))
	for _, tt := range []struct {
		name string
		args [6]uint64
	}{
		{"read", [6]uint64{0, p, 1 << 17}},
		{"write", [6]uint64{0, p, 1 << 17}},
		{"readv", [6]uint64{0, mem.put(words(p, 1<<16, p, 1<<16)), 2}},
		{"writev", [6]uint64{0, mem.put(words(p, 1<<16, p, 1<<16)), 2}},
		{"poll", [6]uint64{p, 1 << 14, 0}},
	} {
		var e Encoder
		if _, err := e.Marshal(LookupName(tt.name), 1, tt.args, mem, 1<<16); !errors.Is(err, ErrTooBig) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// What may be left out is left out.
	for _, tt := range []struct {
		name string
		args [6]uint64
		n    int
	}{
		{"getdents64", [6]uint64{0, p, 1 << 17}, 2},
		{"epoll_wait", [6]uint64{0, p, 1 << 13, 0}, 2},
		{"recvfrom", [6]uint64{0, p, 1 << 17}, 2},
		{"msgrcv", [6]uint64{0, p, 1 << 16}, 2},
	} {
		var e Encoder
		c, err := e.Marshal(LookupName(tt.name), 1, tt.args, mem, 1<<16)
		if err != nil || c.Args[tt.n] >= tt.args[tt.n] || c.Size > 1<<16 {
			t.Errorf("%s: %v, %+v", tt.name, err, c)
		}
	}
}

// A big transfer made in parts is the transfer.
func TestParts(t *testing.T) {
	const limit = 20_000
	content := make([]byte, 100_000)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	mem := &fakeMemory{}
	src, dst := mem.put(content), mem.put(make([]byte, len(content)))
	split := func(p uint64) uint64 {
		return mem.put(words(p, 1000, p+1000, 0, p+1000, 70_000, p+71_000, 29_000))
	}
	f := tempFile(t)
	for _, tt := range []struct {
		write, read  string
		wargs, rargs []uint64
	}{
		{"pwrite64", "pread64", []uint64{f, src, 100_000, 5}, []uint64{f, dst, 100_000, 5}},
		{"pwritev", "preadv", []uint64{f, split(src), 4, 5}, []uint64{f, split(dst), 4, 5}},
		{"pwritev2", "preadv2", []uint64{f, split(src), 4, 5, 0, 0}, []uint64{f, split(dst), 4, 5, 0, 0}},
	} {
		if n := inParts(t, mem, tt.write, limit, tt.wargs...); n != 100_000 {
			t.Fatalf("%s = %d", tt.write, n)
		}
		clear(mem.find(dst).data)
		if n := inParts(t, mem, tt.read, limit, tt.rargs...); n != 100_000 || !bytes.Equal(mem.at(dst, len(content)), content) {
			t.Errorf("%s = %d", tt.read, n)
		}
	}
	sv := [2]int{}
	sv, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(sv[0])
	defer syscall.Close(sv[1])
	for _, name := range []string{"sendto", "sendmsg", "write", "writev"} {
		args := []uint64{uint64(sv[0]), src, 100_000}
		switch name {
		case "sendmsg":
			args = []uint64{uint64(sv[0]), mem.put(words(0, 0, split(src), 4, 0, 0, 0))}
		case "writev":
			args = []uint64{uint64(sv[0]), split(src), 4}
		}
		if n := inParts(t, mem, name, limit, args...); n != 100_000 {
			t.Fatalf("%s = %d", name, n)
		}
		clear(mem.find(dst).data)
		if n := inParts(t, mem, "read", limit, uint64(sv[1]), dst, 100_000); n != 100_000 || !bytes.Equal(mem.at(dst, len(content)), content) {
			t.Errorf("after %s: read = %d", name, n)
		}
	}
	if Lookup(7).Splittable() || !Lookup(0).Splittable() {
		t.Error("poll splits or read does not")
	}
}

// inParts makes a call as the caller of MarshalPart does.
func inParts(t *testing.T, mem Memory, name string, limit uint32, args ...uint64) int64 {
	t.Helper()
	var a [6]uint64
	copy(a[:], args)
	var e Encoder
	done := uint64(0)
	for range 1000 {
		c, part, more, err := e.MarshalPart(LookupName(name), 1, a, mem, limit, done)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.Size > limit {
			t.Fatalf("%s: image of %d", name, c.Size)
		}
		n := roundTrip(t, c, mem)
		if n < 0 {
			return n
		}
		done += uint64(n)
		if uint64(n) < part || !more {
			return int64(done)
		}
	}
	t.Fatalf("%s does not end", name)
	return 0
}
