package syscallfwd

import "testing"

func TestTrace(t *testing.T) {
	mem := &fakeMemory{}
	path := mem.put(cstr("/etc/passwd"))
	data := mem.put([]byte("a line\n and more than thirty-two bytes"))
	for _, tt := range []struct {
		want, call string
		ret        int64
		args       [6]uint64
	}{
		{`openat(AT_FDCWD, "/etc/passwd", 0x80000, 00) = 3`, "openat", 3, [6]uint64{0xffff_ff9c, path, 0x80000}},
		{`open("/etc/passwd", 0x41, 0644) = -1 ENOENT (no such file or directory)`, "open", -2, [6]uint64{path, 0x41, 0o644}},
		{`write(1, "a line\n and more than thirty-two"..., 38) = 38`, "write", 38, [6]uint64{1, data, 38}},
		{`write(1, <bad address>, 38) = -1 EFAULT (bad address)`, "write", -14, [6]uint64{1, 0x3000, 38}},
		{`read(0, "abc", 10) = 3`, "read", 3, [6]uint64{0, data, 10}},
		{`read(0, {...}, 10) = ? ERESTARTSYS`, "read", -512, [6]uint64{0, data, 10}},
		{`kill(-5, SIGTERM) = 0`, "kill", 0, [6]uint64{1<<64 - 5, 15}},
		{`kill(5, 99) = -1 EINVAL (invalid argument)`, "kill", -22, [6]uint64{5, 99}},
		{`ioctl(0, TIOCGWINSZ, {...}) = 0`, "ioctl", 0, [6]uint64{0, 0x5413, data}},
		{`stat(NULL, {...}) = 0`, "stat", 0, [6]uint64{0, mem.put(make([]byte, 144))}},
		{`getppid() = 1`, "getppid", 1, [6]uint64{}},
		{`lseek(3, -1, 1) = 7`, "lseek", 7, [6]uint64{3, 1<<64 - 1, 1}},
	} {
		var e Encoder
		c, err := e.Marshal(LookupName(tt.call), 1, tt.args, mem, 1<<16)
		if err != nil {
			t.Fatal(err)
		}
		image := make([]byte, c.Size)
		if _, err := c.Place(image, 1<<40); err != nil {
			t.Fatal(err)
		}
		if tt.call == "read" {
			copy(image, "abcdef")
		}
		if got := string(AppendTrace(nil, c, tt.ret, image)); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
		AppendTrace(nil, c, tt.ret, nil)
	}
	got := string(AppendTrace(nil, &Call{NR: 400}, 0, nil))
	if want := `syscall_0x190(0x0, 0x0, 0x0, 0x0, 0x0, 0x0) = 0`; got != want {
		t.Errorf("got %s", got)
	}
}
