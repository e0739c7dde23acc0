package syscallfwd

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// flagName names one value of the bits in mask.
type flagName struct {
	mask, value uint64
	name        string
}

func bit(v uint64, name string) flagName { return flagName{v, v, name} }

var openFlags = []flagName{
	{unix.O_ACCMODE, unix.O_RDONLY, "O_RDONLY"},
	{unix.O_ACCMODE, unix.O_WRONLY, "O_WRONLY"},
	{unix.O_ACCMODE, unix.O_RDWR, "O_RDWR"},
	bit(unix.O_CREAT, "O_CREAT"),
	bit(unix.O_EXCL, "O_EXCL"),
	bit(unix.O_NOCTTY, "O_NOCTTY"),
	bit(unix.O_TRUNC, "O_TRUNC"),
	bit(unix.O_APPEND, "O_APPEND"),
	bit(unix.O_NONBLOCK, "O_NONBLOCK"),
	bit(unix.O_SYNC, "O_SYNC"),
	bit(unix.O_DSYNC, "O_DSYNC"),
	bit(unix.O_DIRECT, "O_DIRECT"),
	bit(0o100000, "O_LARGEFILE"),
	bit(unix.O_TMPFILE, "O_TMPFILE"),
	bit(unix.O_DIRECTORY, "O_DIRECTORY"),
	bit(unix.O_NOFOLLOW, "O_NOFOLLOW"),
	bit(unix.O_NOATIME, "O_NOATIME"),
	bit(unix.O_CLOEXEC, "O_CLOEXEC"),
	bit(unix.O_PATH, "O_PATH"),
}

var protFlags = []flagName{
	{7, unix.PROT_NONE, "PROT_NONE"},
	bit(unix.PROT_READ, "PROT_READ"),
	bit(unix.PROT_WRITE, "PROT_WRITE"),
	bit(unix.PROT_EXEC, "PROT_EXEC"),
}

var mapFlags = []flagName{
	{unix.MAP_TYPE, unix.MAP_SHARED, "MAP_SHARED"},
	{unix.MAP_TYPE, unix.MAP_PRIVATE, "MAP_PRIVATE"},
	{unix.MAP_TYPE, unix.MAP_SHARED_VALIDATE, "MAP_SHARED_VALIDATE"},
	bit(unix.MAP_FIXED, "MAP_FIXED"),
	bit(unix.MAP_ANONYMOUS, "MAP_ANONYMOUS"),
	bit(unix.MAP_GROWSDOWN, "MAP_GROWSDOWN"),
	bit(unix.MAP_DENYWRITE, "MAP_DENYWRITE"),
	bit(unix.MAP_LOCKED, "MAP_LOCKED"),
	bit(unix.MAP_NORESERVE, "MAP_NORESERVE"),
	bit(unix.MAP_POPULATE, "MAP_POPULATE"),
	bit(unix.MAP_STACK, "MAP_STACK"),
	bit(unix.MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"),
}

// cloneFlags are those of clone(2); the lowest byte is the exit signal.
var cloneFlags = []flagName{
	bit(unix.CLONE_VM, "CLONE_VM"),
	bit(unix.CLONE_FS, "CLONE_FS"),
	bit(unix.CLONE_FILES, "CLONE_FILES"),
	bit(unix.CLONE_SIGHAND, "CLONE_SIGHAND"),
	bit(unix.CLONE_PIDFD, "CLONE_PIDFD"),
	bit(unix.CLONE_VFORK, "CLONE_VFORK"),
	bit(unix.CLONE_PARENT, "CLONE_PARENT"),
	bit(unix.CLONE_THREAD, "CLONE_THREAD"),
	bit(unix.CLONE_SYSVSEM, "CLONE_SYSVSEM"),
	bit(unix.CLONE_SETTLS, "CLONE_SETTLS"),
	bit(unix.CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"),
	bit(unix.CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"),
	bit(unix.CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"),
	bit(unix.CLONE_IO, "CLONE_IO"),
	{0xff, uint64(unix.SIGCHLD), "SIGCHLD"},
}

// flagNames names the flags of argument i of a call, as far as it is known.
func flagNames(nr uint32, i int) []flagName {
	switch {
	case nr == unix.SYS_OPEN && i == 1, nr == unix.SYS_OPENAT && i == 2:
		return openFlags
	case nr == unix.SYS_MMAP && i == 2:
		return protFlags
	case nr == unix.SYS_MMAP && i == 3:
		return mapFlags
	case nr == unix.SYS_CLONE && i == 0:
		return cloneFlags
	}
	return nil
}

// appendFlags appends A|B|0x…: names, then the bits without one.
func appendFlags(b []byte, v uint64, names []flagName) []byte {
	start, left := len(b), v
	for _, f := range names {
		if v&f.mask != f.value || f.value != 0 && left&f.value == 0 {
			continue
		}
		left &^= f.value
		if len(b) > start {
			b = append(b, '|')
		}
		b = append(b, f.name...)
	}
	switch {
	case left == 0 && len(b) > start:
		return b
	case len(b) > start:
		b = append(b, '|')
	}
	return strconv.AppendUint(append(b, "0x"...), left, 16)
}
