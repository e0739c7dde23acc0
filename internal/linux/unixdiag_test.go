package linux

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnixPeer(t *testing.T) {
	inode := func(fd int) uint32 {
		l, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(l[len("socket:["):len(l)-1], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	if peer, err := UnixPeer(inode(p[0])); err != nil || peer != inode(p[1]) {
		t.Errorf("peer %d, %v; want %d", peer, err, inode(p[1]))
	}
	unix.Close(p[1])
	if peer, err := UnixPeer(inode(p[0])); !errors.Is(err, ErrNoPeer) {
		t.Errorf("peer %d of a lonely socket, %v", peer, err)
	}
	if _, err := UnixPeer(1); !errors.Is(err, unix.ENOENT) {
		t.Errorf("peer of no socket: %v", err)
	}
}

func TestMayWrite(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ro, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ro)
	if err := unix.Ftruncate(fd, 4096); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		fd       int
		writable bool
	}{{fd, true}, {ro, false}} {
		mem, err := unix.Mmap(tt.fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		maps, err := Mappings(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, m := range maps {
			if m.Path == "/memfd:test (deleted)" {
				found = true
				if w, err := MayWrite(os.Getpid(), m.Start); err != nil || w != tt.writable {
					t.Errorf("%v, %v; want %v", w, err, tt.writable)
				}
			}
		}
		if !found {
			t.Error("mapping not found")
		}
		if err := unix.Munmap(mem); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := MayWrite(os.Getpid(), 1); err == nil {
		t.Error("a mapping at 1")
	}
}
