package syscallfwd

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestReadWrite(t *testing.T) {
	mem := &fakeMemory{}
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := uint64(f.Fd())
	if r := forwarded(t, mem, "write", fd, mem.put([]byte("hello world")), 11); r != 11 {
		t.Fatalf("write = %d", r)
	}
	buf := mem.put(make([]byte, 64))
	if r := forwarded(t, mem, "pread64", fd, buf, 64, 6); r != 5 {
		t.Fatalf("pread64 = %d", r)
	}
	if got := string(mem.at(buf, 6)); got != "world\x00" {
		t.Fatalf("pread64 read %q", got)
	}
	if r := forwarded(t, mem, "write", fd, 0x5000, 3); r != -int64(syscall.EFAULT) {
		t.Fatalf("write of unmapped memory = %d", r)
	}
}

func TestPaths(t *testing.T) {
	mem := &fakeMemory{}
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if r := forwarded(t, mem, "symlink", mem.put(cstr("there")), mem.put(cstr(link))); r != 0 {
		t.Fatalf("symlink = %d", r)
	}
	buf := mem.put(make([]byte, 16))
	if r := forwarded(t, mem, "readlink", mem.put(cstr(link)), buf, 16); r != 5 || string(mem.at(buf, 5)) != "there" {
		t.Fatalf("readlink = %d %q", r, mem.at(buf, 5))
	}
	st := mem.put(make([]byte, 256))
	if r := forwarded(t, mem, "statx", 0xffff_ffff_ffff_ff9c, mem.put(cstr(dir)), 0, 0x7ff, st); r != 0 {
		t.Fatalf("statx = %d", r)
	}
}

func tempFile(t *testing.T) uint64 {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return uint64(f.Fd())
}
