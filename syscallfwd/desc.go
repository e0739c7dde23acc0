package syscallfwd

// The vocabulary in which the table's rows are written.

func row(nr uint32, name string, class Class, special, note string, args ...Arg) Entry {
	return Entry{Nr: nr, Name: name, Class: class, Args: args, Special: special, Note: note}
}

func value(k Kind, name string) Arg { return Arg{Kind: k, Name: name, Len: -1} }

func num(name string) Arg   { return value(KindInt, name) }
func size(name string) Arg  { return value(KindUint, name) }
func flags(name string) Arg { return value(KindHex, name) }
func mode(name string) Arg  { return value(KindOctal, name) }
func fd(name string) Arg    { return value(KindFd, name) }
func pid(name string) Arg   { return value(KindPid, name) }
func sig(name string) Arg   { return value(KindSig, name) }
func addr(name string) Arg  { return value(KindAddr, name) }

// str is a string, read to its NUL; more than 4096 bytes are cut, which every
// user of a string answers with an error (ENAMETOOLONG, ERANGE, EINVAL).
func str(name string) Arg { return Arg{Kind: KindStr, Name: name, Len: -1} }

func strs(name string) Arg { return Arg{Kind: KindStrArray, Name: name, Len: -1} }

// in is an object of n bytes that the kernel reads.
func in(name string, n uint32) Arg { return Arg{Kind: KindIn, Name: name, Size: n, Len: -1} }

// inN is an array of elements of n bytes; argument count says how many.
func inN(name string, count int8, n uint32) Arg {
	return Arg{Kind: KindIn, Name: name, Size: n, Len: count}
}

// inData is a buffer of which the kernel takes what is readable.
func inData(name string, count int8) Arg {
	return Arg{Kind: KindInData, Name: name, Size: 1, Len: count}
}

// out is an object of n bytes that the kernel writes.
func out(name string, n uint32) Arg { return Arg{Kind: KindOut, Name: name, Size: n, Len: -1} }

// outData is an array of which the kernel fills as many elements as it returns.
func outData(name string, count int8, n uint32) Arg {
	return Arg{Kind: KindOutData, Name: name, Size: n, Len: count}
}

func inout(name string, n uint32) Arg { return Arg{Kind: KindInOut, Name: name, Size: n, Len: -1} }

func inoutN(name string, count int8, n uint32) Arg {
	return Arg{Kind: KindInOut, Name: name, Size: n, Len: count}
}

// sockaddr is an address the kernel writes, with its length word after it.
func sockaddr(name string) Arg { return Arg{Kind: KindSockaddr, Name: name, Len: -1, Max: 128} }
func socklen(name string) Arg  { return Arg{Kind: KindSocklen, Name: name, Len: -1} }

func vec(k Kind, name string, count int8) Arg { return Arg{Kind: k, Name: name, Len: count} }

func custom(name string, fn codec) Arg { return Arg{Kind: KindCustom, Name: name, Len: -1, fn: fn} }

func (a Arg) with(f argFlags) Arg { a.flags |= f; return a }
func (a Arg) max(n uint32) Arg    { a.Max = n; return a }

// below says that the kernel refuses more than n bytes without touching any.
func (a Arg) below(n uint32) Arg { return a.max(n).with(argRefused) }

// int32 says that the length is a C int, and that the kernel rejects one below 0.
func (a Arg) int32() Arg  { return a.with(argLen32 | argSigned) }
func (a Arg) uint32() Arg { return a.with(argLen32) }
func (a Arg) always() Arg { return a.with(argAlways) }
func (a Arg) soft() Arg   { return a.with(argSoft) }
func (a Arg) split() Arg  { return a.with(argSplit) }
func (a Arg) clamp() Arg  { return a.with(argClamp) }
