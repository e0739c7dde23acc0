package shadow

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

func TestTraceLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "trace")
	log, err := openTrace(name)
	if err != nil {
		t.Fatal(err)
	}
	path := []byte("/etc/passwd\x00")
	open := &syscallfwd.Call{TID: 7, NR: unix.SYS_OPENAT, Args: [6]uint64{0xffffff9c}, ArgReloc: 2, Data: path, Size: uint32(len(path))}
	log.call(open, &syscallfwd.Reply{Ret: 3}, time.Now())
	read := &syscallfwd.Call{TID: 7, NR: unix.SYS_READ, Args: [6]uint64{3, 0, 9}, ArgReloc: 2, Size: 9, Outs: []syscallfwd.Out{{Len: 9, Kind: syscallfwd.OutResult}}}
	log.call(read, &syscallfwd.Reply{Ret: 2, Outs: []byte("\x02\x00\x00\x00hi")}, time.Now())
	file := &syscallfwd.Call{TID: 7, NR: unix.SYS_MMAP, Args: [6]uint64{0, 4096, 1, 2, 3}}
	log.call(file, &syscallfwd.Reply{Flags: protocol.ReplyFile, Outs: []byte(`{"Path":"/bin/true"}`)}, time.Now())
	log.call(file, &syscallfwd.Reply{Flags: protocol.ReplyRepatriate, Outs: []byte("no file")}, time.Now())
	log.call(&syscallfwd.Call{TID: 7, NR: unix.SYS_RT_SIGACTION, Args: [6]uint64{2, 1}}, &syscallfwd.Reply{}, time.Now())
	var info signals.Info
	info[0] = byte(unix.SIGTERM)
	log.signal(7, &info)
	log.call(&syscallfwd.Call{TID: 7, NR: unix.SYS_EXIT_GROUP, Args: [6]uint64{4}}, nil, time.Now())
	log.ended(7, 4<<8)
	log.ended(8, unix.WaitStatus(unix.SIGSEGV)|0x80)
	log.close()
	var none *traceLog
	none.note(1, "nobody listens")
	none.close()

	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	variable := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{6} | <\d+\.\d{6}>$`)
	want := `7 home openat(AT_FDCWD, "/etc/passwd", O_RDONLY, 00) = 3
7 home read(3, "hi", 9) = 2
7 away mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0) = ? (content of /bin/true)
7 home mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0) = ? (comes home: no file)
7 both rt_sigaction(SIGINT, {SIG_IGN, sa_flags=0x0}) = 0
7 home --- SIGTERM {si_code=0} ---
7 both exit_group(4) = ?
7 home +++ exited with 4 +++
8 home +++ killed by SIGSEGV (core dumped) +++
`
	if g := variable.ReplaceAllString(string(got), ""); g != want {
		t.Errorf("got\n%swant\n%s", g, want)
	}
	if n := strings.Count(string(got), " <0."); n != 5 {
		t.Errorf("%d lines have a duration, want 5", n)
	}
}
