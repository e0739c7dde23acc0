package filter

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"homing/syscallfwd"
)

// Answers of a filter and architectures, see seccomp(2) and linux/audit.h.
const (
	retErrno  = 0x00050000
	retNotify = 0x7fc00000
	retTrace  = 0x7ff00000
	retAllow  = 0x7fff0000

	archX8664   = 0xc000003e
	archI386    = 0x40000003
	archAarch64 = 0xc00000b7
	x32Bit      = 0x40000000
)

// machine runs a filter without a kernel.
type machine struct{ vm *bpf.VM }

func build(t *testing.T) machine {
	t.Helper()
	prog, err := Build()
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]bpf.RawInstruction, prog.Len())
	for i := range raw {
		b := prog[8*i:]
		raw[i] = bpf.RawInstruction{Op: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])}
	}
	ins, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter has instructions that BPF does not know")
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	return machine{vm}
}

// run gives the filter a call: struct seccomp_data, with each word in the byte
// order that packets have.
func (m machine) run(t *testing.T, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[0:], nr)
	binary.BigEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
	}
	ret, err := m.vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(ret)
}

// Every number has the answer that its row of the table stands for, whatever
// its arguments are.
func TestEveryCall(t *testing.T) {
	m := build(t)
	local := map[uint32]bool{}
	for _, nr := range syscallfwd.LocalNumbers() {
		local[nr] = true
	}
	if len(local) == 0 || !local[unix.SYS_BRK] || local[unix.SYS_READ] {
		t.Fatalf("local calls: %v", local)
	}
	for nr := range uint32(1024) {
		want := uint32(retNotify)
		switch {
		case nr == unix.SYS_MMAP:
			continue // TestMmap
		case nr == unix.SYS_CLOCK_GETTIME:
			continue // TestClocks
		case nr == unix.SYS_RT_SIGTIMEDWAIT:
			want = retTrace | 1
		case local[nr]:
			want = retAllow
		}
		for _, args := range [][]uint64{nil, {^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}} {
			if got := m.run(t, archX8664, nr, args...); got != want {
				t.Errorf("call %d(%#x): %#x, want %#x", nr, args, got, want)
			}
		}
	}
	if got := m.run(t, archX8664, 1<<20); got != retNotify {
		t.Errorf("a number that no kernel knows: %#x", got)
	}
}

// Clocks of processor time are told by us, whatever the upper half of the word is.
func TestClocks(t *testing.T) {
	m := build(t)
	for clock := int32(-40); clock < 20; clock++ {
		want := uint32(retNotify)
		if slices.Contains(clocks, int(clock)) {
			want = retAllow
		}
		for _, arg := range []uint64{uint64(uint32(clock)), uint64(int64(clock)), uint64(uint32(clock)) | 7<<32} {
			if got := m.run(t, archX8664, unix.SYS_CLOCK_GETTIME, arg, 0); got != want {
				t.Errorf("clock %d: %#x, want %#x", clock, got, want)
			}
		}
	}
}

func TestMmap(t *testing.T) {
	m := build(t)
	for name, tt := range map[string]struct {
		flags uint64
		want  uint32
	}{
		"anonymous":                  {unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, retAllow},
		"shared anonymous":           {unix.MAP_SHARED | unix.MAP_ANONYMOUS, retAllow},
		"anonymous, fixed, upper":    {unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED | 1<<40, retAllow},
		"file":                       {unix.MAP_PRIVATE, retNotify},
		"shared file":                {unix.MAP_SHARED, retNotify},
		"file, everything else":      {^uint64(unix.MAP_ANONYMOUS), retNotify},
		"no type":                    {0, retNotify},
		"bit of the upper word":      {unix.MAP_ANONYMOUS << 32, retNotify},
		"anonymous, type unknown":    {unix.MAP_ANONYMOUS, retAllow},
		"anonymous with a droppable": {unix.MAP_ANONYMOUS | 8, retAllow},
	} {
		if got := m.run(t, archX8664, unix.SYS_MMAP, 0, 4096, 3, tt.flags, 3, 0); got != tt.want {
			t.Errorf("%s: %#x, want %#x", name, got, tt.want)
		}
	}
}

// Other calling conventions do not exist.
func TestForeignArchitecture(t *testing.T) {
	m := build(t)
	for name, arch := range map[string]uint32{"i386": archI386, "aarch64": archAarch64, "none": 0} {
		for _, nr := range []uint32{0, 1, 3, 9, 11, 39, 60, 90, 192, 252} {
			if got := m.run(t, arch, nr, 0, 0, 0, unix.MAP_ANONYMOUS); got != retErrno|uint32(unix.ENOSYS) {
				t.Errorf("%s, call %d: %#x, want ENOSYS", name, nr, got)
			}
		}
	}
	for _, nr := range []uint32{0, 9, 39, 512} {
		if got := m.run(t, archX8664, x32Bit|nr, 0, 0, 0, unix.MAP_ANONYMOUS); got == retAllow {
			t.Errorf("x32 call %d is allowed", nr)
		}
	}
}

func TestFprog(t *testing.T) {
	p := Program(make([]byte, 8*300))
	b := p.Fprog(0x1f0000001010)
	if len(b) != 16 || binary.LittleEndian.Uint16(b) != 300 || binary.LittleEndian.Uint64(b[8:]) != 0x1f0000001010 {
		t.Errorf("struct sock_fprog is %x", b)
	}
}
