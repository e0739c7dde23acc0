package syscallfwd

import "fmt"

// Class says who executes a call.
type Class uint8

const (
	// Local calls run in the guest's own kernel and are never trapped.
	Local Class = iota + 1
	// Forward calls run in the shadow.
	Forward
	// Both calls have an effect in the shadow and in the guest.
	Both
	// Emulate calls are answered by the node, with home's help.
	Emulate
	// Repatriate calls bring the whole process home, where they run natively.
	Repatriate
)

var classNames = [...]string{Local: "local", Forward: "forward", Both: "both", Emulate: "emulate", Repatriate: "repatriate"}

func (c Class) String() string {
	if int(c) < len(classNames) && classNames[c] != "" {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Entry is one row of the table: everything Homing knows about one call.
type Entry struct {
	Nr    uint32
	Name  string
	Class Class
	Args  []Arg
	// Special is a short tag for calls that the guest package treats itself.
	Special string
	// Note says what differs from native; it reaches docs/syscalls.md.
	Note string

	pointers bool // some argument needs a codec
}

// Splittable reports whether a call too big for one image may be made in
// parts (see [Encoder.MarshalPart]).
func (e *Entry) Splittable() bool {
	for i := range e.Args {
		if e.Args[i].flags&argSplit != 0 {
			return true
		}
	}
	return false
}

// Kind says how one argument is carried.
type Kind uint8

// Kinds up to KindAddr are values: the register travels as it is. They differ
// only in how a log prints them.
const (
	KindInt   Kind = iota // signed number
	KindUint              // unsigned number, a size or an id
	KindHex               // flags
	KindOctal             // file mode
	KindFd                // file descriptor
	KindPid               // process, thread or group id
	KindSig               // signal number
	KindAddr              // guest address that the shadow never dereferences

	KindStr         // in: string
	KindIn          // in: Size bytes, or length argument times Size
	KindInData      // in: data buffer; the readable part is taken
	KindOut         // out: Size bytes, or length argument times Size
	KindOutData     // out: as many bytes (times Size) as the result says
	KindInOut       // in and out: Size bytes, or length argument times Size
	KindSockaddr    // out: socket address, its length word is the next argument
	KindSocklen     // in and out: that length word (done with the argument before it)
	KindIovIn       // in: iovec array with data to send
	KindIovOut      // iovec array of buffers to fill
	KindMsgIn       // msghdr to send
	KindMsgOut      // msghdr to fill
	KindMmsgIn      // mmsghdr array to send
	KindMmsgOut     // mmsghdr array to fill
	KindFdSet       // in and out: fd_set, number of descriptors in argument 0
	KindPollFds     // in and out: struct pollfd array; only revents return
	KindSigmaskTemp // temporary signal mask: applied by the guest, travels as NULL
	KindSigmaskPair // pselect6's pointer to mask and size: likewise
	KindStrArray    // in: NULL-terminated array of strings
	KindCustom      // by a function of its own (fn)
	numKinds
)

var kindNames = [...]string{
	KindInt: "int", KindUint: "uint", KindHex: "flags", KindOctal: "mode", KindFd: "fd", KindPid: "pid",
	KindSig: "signal", KindAddr: "address", KindStr: "string", KindIn: "in", KindInData: "in data",
	KindOut: "out", KindOutData: "out data", KindInOut: "in/out", KindSockaddr: "out sockaddr",
	KindSocklen: "in/out length", KindIovIn: "in iovec", KindIovOut: "out iovec", KindMsgIn: "in msghdr",
	KindMsgOut: "out msghdr", KindMmsgIn: "in mmsghdr", KindMmsgOut: "out mmsghdr", KindFdSet: "in/out fd_set",
	KindPollFds: "in/out pollfd", KindSigmaskTemp: "temporary mask", KindSigmaskPair: "temporary mask",
	KindStrArray: "in strings", KindCustom: "by command",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// argFlags refine a Kind.
type argFlags uint16

const (
	argLen32   argFlags = 1 << iota // the length argument is a C int or unsigned: its upper half is ignored
	argSigned                       // a negative length is an error the kernel finds before it looks at memory
	argClamp                        // what does not fit may be left out: the length argument is lowered
	argSplit                        // the call may be made in parts
	argSoft                         // a fault when writing back does not change the result
	argAlways                       // written back on errors too
	argOnIntr                       // written back only when the call was interrupted
	argPos                          // written back only when the result is above 0
	argPrefill                      // the kernel may leave some bytes alone: they travel both ways
	argPartial                      // a readable first part is enough
	argMust                         // a fault when writing back makes any result EFAULT
	argRefused                      // more than Max is an error found before memory is touched
	argRecv                         // recv: MSG_TRUNC in argument 3 may leave the buffer alone
)

// Arg describes one argument of a call.
type Arg struct {
	Kind Kind
	Name string
	// Size is the size of the object, or of one element.
	Size uint32
	// Max bounds what the kernel touches, whatever the length says; 0: no bound.
	Max uint32
	// Len is the index of the argument that holds the number of elements, or -1.
	Len int8

	flags argFlags
	fn    codec
}

// codec marshals argument i.
type codec func(e *Encoder, i int, a *Arg) error

// maxNr bounds the index of rows; numbers above it are unknown.
const maxNr = 512

var byNr [maxNr]*Entry

// Table holds one row for each system call of x86-64, by ascending number.
var Table = buildTable()

// buildTable joins the parts of the table and checks what a typing error could
// break: order, holes in arguments, length arguments that are pointers.
func buildTable() []Entry {
	var t []Entry
	for _, part := range [][]Entry{rows0(), rows100(), rows200(), rows300()} {
		t = append(t, part...)
	}
	for i := range t {
		e := &t[i]
		if err := e.check(); err != nil {
			panic(fmt.Sprintf("syscallfwd: row %d %s: %v", e.Nr, e.Name, err))
		}
		if i > 0 && t[i-1].Nr >= e.Nr {
			panic(fmt.Sprintf("syscallfwd: row %d %s is out of order or double", e.Nr, e.Name))
		}
		for j := range e.Args {
			if e.Args[j].Kind > KindAddr {
				e.pointers = true
			}
		}
		byNr[e.Nr] = e
	}
	return t
}

func (e *Entry) check() error {
	switch {
	case e.Nr >= maxNr:
		return fmt.Errorf("number above %d", maxNr-1)
	case e.Name == "" || e.Class < Local || e.Class > Repatriate:
		return fmt.Errorf("no name or class")
	case len(e.Args) > 6:
		return fmt.Errorf("%d arguments", len(e.Args))
	}
	for i, a := range e.Args {
		switch {
		case a.Kind >= numKinds || a.Name == "":
			return fmt.Errorf("argument %d has no kind or name", i)
		case int(a.Len) >= len(e.Args) || a.Len >= 0 && e.Args[a.Len].Kind > KindAddr:
			return fmt.Errorf("argument %d takes its length from %d", i, a.Len)
		case a.Kind == KindCustom && a.fn == nil:
			return fmt.Errorf("argument %d has no codec", i)
		case a.Kind == KindSockaddr && (i+1 >= len(e.Args) || e.Args[i+1].Kind != KindSocklen):
			return fmt.Errorf("argument %d has no length word", i)
		}
	}
	return nil
}

// Lookup returns the row of a call; nil means unknown, to be treated as
// [Repatriate].
func Lookup(nr uint32) *Entry {
	if nr >= maxNr {
		return nil
	}
	return byNr[nr]
}

// LookupName returns the row of a call by its name, or nil.
func LookupName(name string) *Entry {
	for i := range Table {
		if Table[i].Name == name {
			return &Table[i]
		}
	}
	return nil
}

// LocalNumbers returns the numbers of all calls that the guest's own kernel
// serves without a trap, for the seccomp filter. Calls that are local for some
// arguments only (mmap of anonymous memory) are not among them.
func LocalNumbers() []uint32 {
	var nrs []uint32
	for i := range Table {
		if Table[i].Class == Local {
			nrs = append(nrs, Table[i].Nr)
		}
	}
	return nrs
}
