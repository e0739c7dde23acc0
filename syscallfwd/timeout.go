package syscallfwd

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// Calls that wait for a time given as a length, not as a moment. Who makes one
// again for a thread that has moved must give it what is left of its time only.
// select, pselect6 and ppoll are not among them: the kernel itself writes what
// is left to where the time was given (select(2)).

type timeKind uint8

const (
	timespec timeKind = iota // a pointer to a struct timespec
	millis                   // an int; negative: for ever
)

type timeArg struct {
	arg  int
	kind timeKind
}

func timeArgOf(nr uint32, args *[6]uint64) (timeArg, bool) {
	switch nr {
	case unix.SYS_NANOSLEEP:
		return timeArg{0, timespec}, true
	case unix.SYS_CLOCK_NANOSLEEP:
		return timeArg{2, timespec}, args[1]&unix.TIMER_ABSTIME == 0
	case unix.SYS_POLL:
		return timeArg{2, millis}, int32(args[2]) > 0
	case unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT:
		return timeArg{3, millis}, int32(args[3]) > 0
	case unix.SYS_EPOLL_PWAIT2, unix.SYS_SEMTIMEDOP:
		return timeArg{3, timespec}, args[3] != 0
	case unix.SYS_RT_SIGTIMEDWAIT:
		return timeArg{2, timespec}, args[2] != 0
	case unix.SYS_FUTEX:
		const wait, commandMask = 0, 0x7f
		return timeArg{3, timespec}, args[1]&commandMask == wait && args[3] != 0
	}
	return timeArg{}, false
}

// Timeout is the time for which a call waits at most; false if it is not one of
// those that are given a length of time.
func (c *Call) Timeout() (time.Duration, bool) {
	a, ok := timeArgOf(c.NR, &c.Args)
	if !ok {
		return 0, false
	}
	if a.kind == millis {
		return time.Duration(int32(c.Args[a.arg])) * time.Millisecond, true
	}
	b, ok := c.timespec(a)
	if !ok {
		return 0, false
	}
	return decodeTimespec(b), true
}

// SetTimeout changes the time for which a call waits at most.
func (c *Call) SetTimeout(d time.Duration) {
	a, ok := timeArgOf(c.NR, &c.Args)
	if !ok {
		return
	}
	if a.kind == millis {
		c.Args[a.arg] = uint64(Millis(d))
		return
	}
	if b, ok := c.timespec(a); ok {
		EncodeTimespec(b, d)
	}
}

// timespec is where in the image the time stands.
func (c *Call) timespec(a timeArg) ([]byte, bool) {
	off := c.Args[a.arg]
	if c.ArgReloc&(1<<a.arg) == 0 || off+16 > uint64(len(c.Data)) {
		return nil, false
	}
	return c.Data[off : off+16], true
}

// TimeoutIn is Timeout for a call that a thread makes itself, and says which
// argument tells the time, and whether that is a number of milliseconds.
func TimeoutIn(nr uint32, args [6]uint64, mem Memory) (d time.Duration, arg int, isMillis, ok bool) {
	a, ok := timeArgOf(nr, &args)
	if !ok {
		return 0, 0, false, false
	}
	if a.kind == millis {
		return time.Duration(int32(args[a.arg])) * time.Millisecond, a.arg, true, true
	}
	d, ok = ReadTimespec(mem, args[a.arg])
	return d, a.arg, false, ok
}

// ReadTimespec reads a struct timespec.
func ReadTimespec(mem Memory, addr uint64) (time.Duration, bool) {
	var b [16]byte
	if n, err := mem.Read(addr, b[:]); err != nil || n < len(b) {
		return 0, false
	}
	return decodeTimespec(b[:]), true
}

func decodeTimespec(b []byte) time.Duration {
	sec, ns := int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))
	const most = 1 << 33 // seconds: what a Duration holds
	if sec < 0 || ns < 0 || sec > most {
		return 1<<63 - 1
	}
	return time.Duration(sec)*time.Second + time.Duration(ns)
}

// EncodeTimespec writes a struct timespec.
func EncodeTimespec(b []byte, d time.Duration) {
	d = max(d, 0)
	binary.LittleEndian.PutUint64(b, uint64(d/time.Second))
	binary.LittleEndian.PutUint64(b[8:], uint64(d%time.Second))
}

// Millis is a time in whole milliseconds, not less than it is.
func Millis(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}
