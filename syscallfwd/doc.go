// Package syscallfwd holds the table of all x86-64 Linux system calls and the
// codecs that carry a call from a guest to its shadow and the answer back.
//
// # How a call travels
//
//  1. A call of a guest is trapped. The node looks up its row ([Lookup]): the
//     row's class says who executes it, its argument descriptors say what
//     memory the kernel would read and write.
//  2. [Encoder.Marshal] flattens the call into an image: a relocatable piece of
//     memory that holds every byte the kernel will read, followed by empty room
//     for every byte it may write. Arguments and words that are pointers into
//     the image are listed, and so are the ranges that must come back ([Out]).
//  3. The call crosses the wire ([Call.AppendBinary], [ParseCall]).
//  4. Home needs no knowledge of any call: [Call.Place] copies the image into
//     memory that the shadow can see, adds that memory's address to each listed
//     word and yields the six argument registers; the shadow executes them;
//     [Call.Gather] collects the ranges to send back, which depend only on the
//     result and on words inside the image.
//  5. The answer crosses the wire ([Reply.AppendBinary], [ParseReply]) and
//     [Call.Scatter] writes the ranges into the guest's memory where the kernel
//     would have written them, and decides the final result.
//
// Everything else that must know the shape of system calls (the seccomp filter,
// the call log, docs/syscalls.md) is derived from the same rows.
//
// # Faults
//
// The home kernel is the judge of every error, because only it knows the order
// of its checks (EBADF before EFAULT or after). A pointer the guest's memory
// cannot satisfy therefore travels as a pointer that faults at home too:
// [Unmapped] for one inside user space, [BadAddr] for one above it. NULL stays
// NULL. A length the kernel will reject travels unchanged.
// Memory to be written is looked at before the call, one byte a page and each
// page once, so that home takes nothing from a pipe or socket, and makes no
// descriptor, that then has nowhere to go. A buffer that faults in its middle
// travels as a vector whose second entry faults, because files and pipes treat
// that differently.
//
// What a fault after the call means is decided by Scatter: a data buffer
// written in part shortens the result, a structure that cannot be written is
// EFAULT, the remaining time of select is dropped silently, as in the kernel.
// One difference stays: data read into memory that is mapped but read-only are
// lost, where the kernel would have left them.
//
// # Locks
//
// None. An Encoder and the Call it returns belong to one guest thread.
//
// # Trust boundary
//
// ParseCall reads what a node sent, on the home side; ParseReply and Scatter
// what home sent, on the node. Both are bounded, never panic and are fuzzed.
// A parsed call can only make Place and Gather touch bytes inside its own
// image; it can of course name any call with any arguments: what a guest may
// ask of its shadow is not decided here. Reply bytes reach only the guest
// ranges that Marshal recorded, never more bytes than it recorded.
//
// # When the other node dies
//
// Nothing here holds state across calls: a Call without a Reply is dropped by
// the next Marshal.
package syscallfwd
