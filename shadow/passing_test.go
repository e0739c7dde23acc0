package shadow

import (
	"encoding/binary"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/syscallfwd"
)

// message lays out a msghdr at off that carries rights, as a call's image has it.
func message(data []byte, off, control int, fds ...int) {
	rights := syscall.UnixRights(fds...)
	binary.LittleEndian.PutUint64(data[off+32:], uint64(control))
	binary.LittleEndian.PutUint64(data[off+40:], uint64(len(rights)))
	copy(data[control:], rights)
}

func TestPassedDescriptors(t *testing.T) {
	one := &syscallfwd.Call{NR: unix.SYS_SENDMSG, Args: [6]uint64{3, 8}, ArgReloc: 2, Data: make([]byte, 256)}
	message(one.Data, 8, 128, 4, 5)
	if fds := passedDescriptors(one); !slices.Equal(fds, []int{4, 5}) {
		t.Error(fds)
	}
	two := &syscallfwd.Call{NR: unix.SYS_SENDMMSG, Args: [6]uint64{3, 0, 2}, ArgReloc: 2, Data: make([]byte, 256)}
	message(two.Data, 0, 128, 6)
	message(two.Data, 64, 192, 7)
	if fds := passedDescriptors(two); !slices.Equal(fds, []int{6, 7}) {
		t.Error(fds)
	}
	for _, hostile := range []uint64{250, 1 << 40, ^uint64(0)} {
		one.Args[1] = hostile
		passedDescriptors(one)
		binary.LittleEndian.PutUint64(two.Data[32:], hostile)
		binary.LittleEndian.PutUint64(two.Data[104:], hostile)
		two.Args[2] = hostile
		passedDescriptors(two)
	}
}

func TestSharedKeys(t *testing.T) {
	private := linux.Mapping{Ino: 5, Dev: 2, Path: "/dev/shm/x", Prot: unix.PROT_WRITE}
	for name, tt := range map[string]struct {
		m      linux.Mapping
		shares bool
	}{
		"private":              {private, false},
		"posix":                {linux.Mapping{Ino: 5, Dev: 2, Path: "/dev/shm/x", Shared: true}, true},
		"memfd":                {linux.Mapping{Ino: 5, Dev: 1, Path: "/memfd:x (deleted)", Shared: true}, true},
		"segment 0":            {linux.Mapping{Dev: 1, Path: "/SYSV00000000 (deleted)", Shared: true, Prot: unix.PROT_READ}, true},
		"anonymous":            {linux.Mapping{Ino: 5, Dev: 1, Path: "/dev/zero (deleted)", Shared: true}, true},
		"database":             {linux.Mapping{Ino: 5, Dev: 9, Path: "/var/db", Shared: true, Prot: unix.PROT_WRITE}, true},
		"locale, to read":      {linux.Mapping{Ino: 5, Dev: 9, Path: "/usr/lib/locale/x", Shared: true, Prot: unix.PROT_READ}, false},
		"a device's memory":    {linux.Mapping{Path: "anon_inode:[perf_event]", Shared: true, Prot: unix.PROT_WRITE, Ino: 3}, false},
		"anonymous of our own": {linux.Mapping{Ino: 5, Dev: 1, Path: "/memfd:homing-shared (deleted)", Shared: true}, true},
	} {
		if _, shares := sharedKey(tt.m); shares != tt.shares {
			t.Errorf("%s: %v", name, shares)
		}
	}
}
