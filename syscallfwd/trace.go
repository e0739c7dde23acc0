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
	return AppendResult(AppendTraceCall(b, c, ret, image), ret)
}

// AppendTraceCall appends the same without the result.
func AppendTraceCall(b []byte, c *Call, ret int64, image []byte) []byte {
	e := Lookup(c.NR)
	if e == nil {
		return fmt.Appendf(b, "syscall_%#x(%#x, %#x, %#x, %#x, %#x, %#x)", c.NR, c.Args[0], c.Args[1], c.Args[2], c.Args[3], c.Args[4], c.Args[5])
	}
	b = append(b, e.Name...)
	b = append(b, '(')
	for i := range e.Args {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = c.appendArg(b, e, i, ret, image)
	}
	return append(b, ')')
}

// Rebuild returns the image as the call left it behind, as far as the reply
// tells: in buf if that is large enough.
func (c *Call) Rebuild(r *Reply, buf []byte) []byte {
	if uint64(cap(buf)) < uint64(c.Size) {
		buf = make([]byte, c.Size)
	}
	buf = buf[:c.Size]
	clear(buf[copy(buf, c.Data):])
	outs := r.Outs
	for i := range c.Outs {
		if len(outs) < 4 {
			break
		}
		n := min(uint64(le32(outs)), uint64(len(outs)-4))
		copy(buf[min(uint64(c.Outs[i].Off), uint64(len(buf))):], outs[4:4+n])
		outs = outs[4+n:]
	}
	return buf
}

func (c *Call) appendArg(b []byte, e *Entry, i int, ret int64, image []byte) []byte {
	a, v := &e.Args[i], c.Args[i]
	switch a.Kind {
	case KindInt:
		return strconv.AppendInt(b, int64(v), 10)
	case KindUint:
		return strconv.AppendUint(b, v, 10)
	case KindHex:
		if names := flagNames(e.Nr, i); names != nil {
			return appendFlags(b, v, names)
		}
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
		if v == 0 {
			return append(b, "NULL"...)
		}
		return appendHex(b, v)
	}
	if c.ArgReloc&(1<<i) == 0 {
		return appendPointer(b, v)
	}
	switch a.Kind {
	case KindStr:
		return appendQuoted(b, cString(c.bytes(v, c.Data)), traceStr)
	case KindStrArray:
		return c.appendStrings(b, v, a.Name == "envp")
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

// traceStrings is how many elements of an array of strings a line shows.
const traceStrings = 16

// appendStrings appends argv, or how many variables envp has.
func (c *Call) appendStrings(b []byte, off uint64, count bool) []byte {
	open := len(b)
	b = append(b, '[')
	for n := 0; ; n++ {
		w := c.bytes(off+8*uint64(n), c.Data)
		if len(w) < 8 || le64(w) == 0 {
			if count {
				return fmt.Appendf(b[:open], "[/* %d vars */]", n)
			}
			return append(b, ']')
		}
		switch {
		case count || n > traceStrings:
			continue
		case n == traceStrings:
			b = append(b, ", ..."...)
			continue
		case n > 0:
			b = append(b, ", "...)
		}
		if s := c.bytes(le64(w), c.Data); s != nil {
			b = appendQuoted(b, cString(s), traceStr)
		} else {
			b = appendPointer(b, le64(w))
		}
	}
}

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

// AppendResult appends " = " and a result, an error by its name.
func AppendResult(b []byte, ret int64) []byte {
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
