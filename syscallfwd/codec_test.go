package syscallfwd

import (
	"errors"
	"testing"
)

func TestTempSigmask(t *testing.T) {
	mem := &fakeMemory{}
	mask := mem.put(words(0xabc))
	pair := mem.put(words(mask, 8))
	for _, tt := range []struct {
		name string
		args [6]uint64
		want uint64
		ok   bool
	}{
		{"ppoll", [6]uint64{0, 0, 0, mask, 8}, 0xabc, true},
		{"ppoll", [6]uint64{0, 0, 0, mask, 4}, 0, false},
		{"ppoll", [6]uint64{0, 0, 0, 0, 8}, 0, false},
		{"ppoll", [6]uint64{0, 0, 0, 0x3000, 8}, 0, false},
		{"epoll_pwait", [6]uint64{0, 0, 0, 0, mask, 8}, 0xabc, true},
		{"epoll_pwait2", [6]uint64{0, 0, 0, 0, mask, 8}, 0xabc, true},
		{"pselect6", [6]uint64{0, 0, 0, 0, 0, pair}, 0xabc, true},
		{"pselect6", [6]uint64{0, 0, 0, 0, 0, 0}, 0, false},
		{"pselect6", [6]uint64{0, 0, 0, 0, 0, 0x3000}, 0, false},
		{"pselect6", [6]uint64{0, 0, 0, 0, 0, mem.put(words(0, 8))}, 0, false},
		{"poll", [6]uint64{}, 0, false},
	} {
		if got, ok := TempSigmask(LookupName(tt.name), tt.args, mem); got != tt.want || ok != tt.ok {
			t.Errorf("%s%x: %x %v", tt.name, tt.args, got, ok)
		}
	}
}

// Shapes that cannot be executed here: what matters is what becomes of the
// argument, and how much of it travels.
func TestShapes(t *testing.T) {
	mem := &fakeMemory{}
	p := mem.put(make([]byte, 2048))
	fiemap := mem.put(append(words(0, 0, 0, 2), make([]byte, 2*56)...))
	dedupe := mem.put(append(words(0, 0, 3), make([]byte, 3*32)...))
	for _, tt := range []struct {
		name string
		args [6]uint64
		arg  int
		data int // bytes that travel; -1: the argument is a value
	}{
		{"ioctl", [6]uint64{0, 0xc020660b, fiemap}, 2, 32 + 2*56},
		{"ioctl", [6]uint64{0, 0xc0189436, dedupe}, 2, 24 + 3*32},
		{"ioctl", [6]uint64{0, 0x80084502, p}, 2, 8},  // EVIOCGID
		{"ioctl", [6]uint64{0, 0x40044590, p}, 2, 4},  // EVIOCGRAB
		{"ioctl", [6]uint64{0, 0x80247009, p}, 2, 36}, // RTC_RD_TIME
		{"ioctl", [6]uint64{0, 0x40049409, 7}, 2, -1}, // FICLONE
		{"ioctl", [6]uint64{0, 0x400454ca, p}, 2, 40}, // TUNSETIFF
		{"ioctl", [6]uint64{0, 0x8914, p}, 2, 40},     // SIOCSIFFLAGS
		{"ioctl", [6]uint64{0, 0xff01, 0}, 2, -1},     // PIDFD_GET_…
		{"landlock_add_rule", [6]uint64{3, 2, p}, 2, 16},
		{"kcmp", [6]uint64{1, 2, 7, 3, p}, 4, 12},
		{"kcmp", [6]uint64{1, 2, 0, 3, 4}, 4, -1},
		{"reboot", [6]uint64{1, 2, 0xa1b2c3d4, p}, 3, 1},
		{"reboot", [6]uint64{1, 2, 0, 5}, 3, -1},
		{"quotactl", [6]uint64{0x80000200, 0, 0, p}, 3, 1},
		{"quotactl", [6]uint64{0x80000300, 0, 0, 5}, 3, -1},
		{"quotactl", [6]uint64{0x80000400, 0, 0, p}, 3, 4},
		{"quotactl", [6]uint64{0x80000500, 0, 0, p}, 3, 24},
		{"quotactl", [6]uint64{0x80000600, 0, 0, p}, 3, 24},
		{"quotactl", [6]uint64{0x80000700, 0, 0, p}, 3, 72},
		{"quotactl", [6]uint64{0x80000800, 0, 0, p}, 3, 72},
		{"quotactl_fd", [6]uint64{3, 0x580100, 0, p}, 3, 4},
		{"quotactl_fd", [6]uint64{3, 0x580300, 0, p}, 3, 112},
		{"quotactl_fd", [6]uint64{3, 0x580400, 0, p}, 3, 112},
		{"quotactl_fd", [6]uint64{3, 0x580500, 0, p}, 3, 80},
		{"fcntl", [6]uint64{3, 15, p}, 2, 8},
		{"fcntl", [6]uint64{3, 1036, p}, 2, 8},
		{"prctl", [6]uint64{15, p}, 1, 16},
		{"mount", [6]uint64{0, 0, 0, 0, p}, 4, pageSize},
		{"add_key", [6]uint64{0, 0, p, 100, 1}, 2, 100},
		{"mq_notify", [6]uint64{3, p}, 1, 64},
		{"statmount", [6]uint64{0, p, 100}, 1, 0},
	} {
		var e Encoder
		c, err := e.Marshal(LookupName(tt.name), 1, tt.args, mem, 1<<16)
		if err != nil {
			t.Errorf("%s%x: %v", tt.name, tt.args, err)
			continue
		}
		isValue := c.ArgReloc&(1<<tt.arg) == 0
		if isValue != (tt.data < 0) || !isValue && len(c.Data) != tt.data || isValue && c.Args[tt.arg] != tt.args[tt.arg] {
			t.Errorf("%s%x: args %x relocs %b, %d bytes of data", tt.name, tt.args, c.Args, c.ArgReloc, len(c.Data))
		}
	}
}

// Where a prctl option runs.
func TestPrctlClass(t *testing.T) {
	for option, want := range map[uint64]Class{
		1: Forward, 15: Both, 22: Repatriate, 35: Repatriate, 38: Both, 41: Local, 59: Repatriate,
		0x53564d41: Local, 0x59616d61: Forward, 999: Repatriate,
	} {
		if got := PrctlClass(option); got != want {
			t.Errorf("option %d: %v", option, got)
		}
	}
}

// The image never exceeds its limit, whatever the calls ask for.
func TestImageLimit(t *testing.T) {
	mem := &fakeMemory{}
	p := mem.put(make([]byte, 1<<14))
	for i := range Table {
		var e Encoder
		c, err := e.Marshal(&Table[i], 1, [6]uint64{p, p, 2000, p, 4000, p}, mem, 1024)
		if err != nil && !errors.Is(err, ErrTooBig) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", Table[i].Name, err)
		}
		if err == nil && c.Size > 1024 {
			t.Errorf("%s: image of %d", Table[i].Name, c.Size)
		}
	}
}
