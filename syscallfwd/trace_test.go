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
		{`openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC, 00) = 3`, "openat", 3, [6]uint64{0xffff_ff9c, path, 0x80000}},
		{`open("/etc/passwd", O_WRONLY|O_CREAT, 0644) = -1 ENOENT (no such file or directory)`, "open", -2, [6]uint64{path, 0x41, 0o644}},
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

func TestTraceStringsAndFlags(t *testing.T) {
	mem := &fakeMemory{}
	strs := func(ss ...string) uint64 {
		var w []uint64
		for _, s := range ss {
			w = append(w, mem.put(cstr(s)))
		}
		return mem.put(words(append(w, 0)...))
	}
	var e Encoder
	args := [6]uint64{mem.put(cstr("/bin/sh")), strs("sh", "-c", "exit 3"), strs("A=1", "B=2")}
	c, err := e.Marshal(LookupName("execve"), 1, args, mem, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(AppendTrace(nil, c, 0, nil)), `execve("/bin/sh", ["sh", "-c", "exit 3"], [/* 2 vars */]) = 0`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, tt := range []struct {
		want string
		call Call
	}{
		{`mmap(NULL, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE|MAP_FIXED, 3, 0) = 0`, Call{NR: 9, Args: [6]uint64{0, 4096, 5, 0x12, 3}}},
		{`mmap(NULL, 4096, PROT_NONE, 0x0, 3, 0) = 0`, Call{NR: 9, Args: [6]uint64{0, 4096, 0, 0, 3}}},
		{`clone(CLONE_VM|CLONE_VFORK|SIGCHLD, NULL, NULL, NULL, NULL) = 0`, Call{NR: 56, Args: [6]uint64{0x4111}}},
		{`clone(0x12, NULL, NULL, NULL, NULL) = 0`, Call{NR: 56, Args: [6]uint64{0x12}}},
		{`open(NULL, O_RDWR|0x80000000, 00) = 0`, Call{NR: 2, Args: [6]uint64{0, 0x80000002}}},
		{`open(NULL, O_RDONLY|O_TMPFILE, 00) = 0`, Call{NR: 2, Args: [6]uint64{0, 0o20200000}}},
	} {
		if got := string(AppendTrace(nil, &tt.call, 0, nil)); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

func TestRebuild(t *testing.T) {
	c := Call{Data: []byte("in"), Size: 16, Outs: []Out{{Off: 4, Len: 4}, {Off: 12, Len: 4}}}
	image := make([]byte, 16)
	copy(image, "in\x00\x00ab\x00\x00\x00\x00\x00\x00zyxw")
	r := Reply{Outs: c.Gather(0, image, nil)}
	if got := c.Rebuild(&r, []byte("dirty and much too short")[:0]); string(got) != string(image) {
		t.Errorf("got %q, want %q", got, image)
	}
	c.Rebuild(&Reply{Outs: []byte{0xff, 0xff, 0xff, 0xff, 1}}, nil) // does not panic
}
