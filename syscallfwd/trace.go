package syscallfwd

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// How much of a string and of a buffer a log line shows.
const (
	traceStr  = 128
	traceData = 32
)

// AppendTrace appends a line in the manner of strace(1): call, arguments,
// result. c is the call as it came over the wire; image what the call left
// behind, or nil to show nothing of what the kernel wrote.
func AppendTrace(b []byte, c *Call, ret int64, image []byte) []byte {
	e := Lookup(c.NR)
	if e == nil {
		b = fmt.Appendf(b, "syscall_%#x(%#x, %#x, %#x, %#x, %#x, %#x)", c.NR, c.Args[0], c.Args[1], c.Args[2], c.Args[3], c.Args[4], c.Args[5])
		return appendResult(b, ret)
	}
	b = append(b, e.Name...)
	b = append(b, '(')
	for i := range e.Args {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = c.appendArg(b, e, i, ret, image)
	}
	b = append(b, ')')
	return appendResult(b, ret)
}

func (c *Call) appendArg(b []byte, e *Entry, i int, ret int64, image []byte) []byte {
	a, v := &e.Args[i], c.Args[i]
	switch a.Kind {
	case KindInt:
		return strconv.AppendInt(b, int64(v), 10)
	case KindUint:
		return strconv.AppendUint(b, v, 10)
	case KindHex:
		if d, ok := ioctls[uint32(v)]; ok && e.Nr == nrIoctl {
			return append(b, d.name...)
		}
		return appendHex(b, v)
	case KindOctal:
		return append(b, "0"+strconv.FormatUint(v, 8)...)
	case KindFd:
		if int32(v) == -100 {
			return append(b, "AT_FDCWD"...)
		}
		return strconv.AppendInt(b, int64(int32(v)), 10)
	case KindPid:
		return strconv.AppendInt(b, int64(int32(v)), 10)
	case KindSig:
		if name := unix.SignalName(unix.Signal(v)); name != "" {
			return append(b, name...)
		}
		return strconv.AppendUint(b, v, 10)
	case KindAddr:
		return appendHex(b, v)
	}
	if c.ArgReloc&(1<<i) == 0 {
		return appendPointer(b, v)
	}
	switch a.Kind {
	case KindStr:
		return appendQuoted(b, cString(c.bytes(v, c.Data)), traceStr)
	case KindInData:
		return appendQuoted(b, limit(c.bytes(v, c.Data), c.Args[a.Len]), traceData)
	case KindOutData:
		if a.Size == 1 && ret > 0 {
			return appendQuoted(b, limit(c.bytes(v, image), uint64(ret)), traceData)
		}
	case KindSocklen:
		if w := c.bytes(v, image); len(w) >= 4 {
			return fmt.Appendf(b, "[%d]", le32(w))
		}
	}
	return append(b, "{...}"...)
}

const nrIoctl = 16

// bytes returns what image holds from offset off on.
func (c *Call) bytes(off uint64, image []byte) []byte {
	if n := uint64(min(len(image), int(c.Size))); off < n {
		return image[off:n]
	}
	return nil
}

func limit(p []byte, n uint64) []byte { return p[:min(uint64(len(p)), n)] }

func cString(p []byte) []byte {
	for i, ch := range p {
		if ch == 0 {
			return p[:i]
		}
	}
	return p
}

func appendHex(b []byte, v uint64) []byte {
	return strconv.AppendUint(append(b, "0x"...), v, 16)
}

func appendPointer(b []byte, v uint64) []byte {
	switch v {
	case 0:
		return append(b, "NULL"...)
	case Unmapped, BadAddr:
		return append(b, "<bad address>"...)
	}
	return appendHex(b, v)
}

// appendQuoted appends at most n bytes of p as a string.
func appendQuoted(b, p []byte, n int) []byte {
	if len(p) > n {
		return append(strconv.AppendQuoteToASCII(b, string(p[:n])), "..."...)
	}
	return strconv.AppendQuoteToASCII(b, string(p))
}

// restartNames are results that only the kernel's own signal code sees.
var restartNames = map[int64]string{-512: "ERESTARTSYS", -513: "ERESTARTNOINTR", -514: "ERESTARTNOHAND", -516: "ERESTART_RESTARTBLOCK"}

func appendResult(b []byte, ret int64) []byte {
	b = append(b, " = "...)
	if name, ok := restartNames[ret]; ok {
		return append(append(b, "? "...), name...)
	}
	if ret < 0 && ret >= -4095 {
		errno := unix.Errno(-ret)
		return fmt.Appendf(b, "-1 %s (%s)", unix.ErrnoName(errno), errno.Error())
	}
	return strconv.AppendInt(b, ret, 10)
}
