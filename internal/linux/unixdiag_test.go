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
