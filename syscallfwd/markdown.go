package syscallfwd

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

//go:generate go run ./gendocs ../docs/syscalls.md

const markdownHead = `<!-- Generated from package syscallfwd by "go generate ./syscallfwd"; do not edit. -->
# System calls

Each call of x86-64 Linux, who executes it when its process is away from home, and what then differs from native.
A call that is not listed, because it is newer than the table, is treated as *repatriate*.

| class | who executes |
|---|---|
| local | the guest's own kernel, without a trap |
| forward | the shadow at home |
| both | the shadow and the guest |
| emulate | the node, with home's help |
| repatriate | the process comes home and makes the call natively; it stays until it is moved again |

An argument is shown with its direction where memory is carried: ← read by the kernel, → written, ↔ both; what a length counts stands in brackets.

For all forwarded calls: the home kernel finds every error, in its own order; a pointer that cannot be read faults there too.
Memory to be written is looked at before the call as well, so nothing is taken from a pipe or socket that has nowhere to go; only memory that is mapped but read-only is noticed when the call is over, and what was read by then is lost.

`

// RenderMarkdown writes docs/syscalls.md.
func RenderMarkdown(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(markdownHead)
	counts := map[Class]int{}
	for i := range Table {
		counts[Table[i].Class]++
	}
	fmt.Fprintf(&b, "%d calls: ", len(Table))
	for c := Local; c <= Repatriate; c++ {
		if c > Local {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d %s", counts[c], c)
	}
	b.WriteString(".\n\n| nr | call | class | what differs |\n|---|---|---|---|\n")
	for i := range Table {
		e := &Table[i]
		fmt.Fprintf(&b, "| %d | `%s` | %s | %s |\n", e.Nr, e.signature(), e.Class, e.Note)
	}
	renderIoctls(&b)
	_, err := w.Write(b.Bytes())
	return err
}

// signature is the call as manual pages print it, with the carried memory marked.
func (e *Entry) signature() string {
	args := make([]string, len(e.Args))
	for i := range e.Args {
		a := &e.Args[i]
		args[i] = a.arrow() + a.Name
		if a.Len >= 0 {
			args[i] += "[" + e.Args[a.Len].Name + "]"
		}
	}
	return e.Name + "(" + strings.Join(args, ", ") + ")"
}

func (a *Arg) arrow() string {
	switch a.Kind {
	case KindStr, KindIn, KindInData, KindIovIn, KindMsgIn, KindStrArray, KindSigmaskTemp, KindSigmaskPair:
		return "←"
	case KindOut, KindOutData, KindSockaddr, KindIovOut:
		return "→"
	case KindInOut, KindSocklen, KindMsgOut, KindMmsgIn, KindMmsgOut, KindFdSet, KindPollFds, KindCustom:
		return "↔"
	}
	return ""
}

func renderIoctls(b *bytes.Buffer) {
	b.WriteString("\n## ioctl\n\nThese commands are carried; any other brings the process home:\n\n")
	byKind := map[ioctlKind][]string{}
	for _, d := range ioctls {
		byKind[d.kind] = append(byKind[d.kind], d.name)
	}
	for _, k := range []struct {
		kind ioctlKind
		text string
	}{
		{ioValue, "with a number or nothing"},
		{ioIn, "with a structure that is read"},
		{ioOut, "with a structure that is written, or both"},
		{ioFunc, "with more than one structure"},
	} {
		names := byKind[k.kind]
		slices.Sort(names)
		fmt.Fprintf(b, "- %s: %s\n", k.text, strings.Join(slices.Compact(names), ", "))
	}
	b.WriteString("- of whole families, as their numbers tell size and direction: input devices (E), real-time clocks (p), watchdogs (W), hidraw (H), PTP clocks (=), file system identity (0x15), namespaces (0xb7), pidfd (0xff), epoll (0x8a)\n")
}
