// Package transfer moves the contents of a process's memory over one duplex
// connection, in every direction: home to node, node to node, node to home. It
// knows nothing of system calls, of home or of pods: it is given process
// numbers, mappings, a connection, and callbacks for what only a tracer can do.
//
//  1. A connection carries one transfer at a time and any number one after the
//     other: of each process a [Source] at one end, a [Destination] at the other.
//  2. Stop-copy: the process is stopped, [Source.Final] sends the pages it is
//     given, [Destination.Receive] writes them into the new body. Reading, the
//     connection and writing overlap; a few frames of 256 KiB are all that
//     either end holds. Pages of zeros are named, not sent. Frames are compressed only
//     while the connection is slower than the compressor.
//  3. Pre-copy: while the process runs, a [Tracker] tells which pages were
//     written since it last looked (userfaultfd write protection, resolved by
//     the kernel, and PAGEMAP_SCAN), and [Source.Precopy] sends them in rounds
//     until what is left fits the wanted freeze, or until more rounds do not
//     help. Then the process is stopped and Final sends what is left, and which
//     pages are no more.
//  4. Post-copy: Final with Lazy names the pages of private anonymous mappings
//     instead of sending them. [Destination.Receive] registers those ranges with
//     a userfaultfd of the new body, the process runs, and its [Puller] asks for
//     a page that is touched, and its neighbours; [Source.Serve] answers, ahead
//     of what it sends unasked, which goes on where the faults are. Hybrid is 3
//     and then 4.
//
// What only a tracer can do is the caller's: to make a userfaultfd in a process
// (inject [UserfaultCall], take the descriptor by pidfd_getfd, close it in
// there), to make mappings, to drop pages. Everything else is done from outside.
//
// # The source
//
//	s := transfer.NewSource(conn, pid, opt)
//	defer s.Close()
//	// Pre-copy, while it runs. layout describes its mappings as they are now.
//	t, err := transfer.NewTracker(pid, userfault, hidden)
//	out, err := s.Precopy(ctx, t, layout, transfer.Aim{})
//	// Stop it, capture im. Then what the destination lacks: without a Tracker
//	// everything, with Lazy without what can be asked for.
//	f, err := s.Final(ctx, transfer.Final{Image: im, Layout: described, Tracker: t, Lazy: out.Lazy(want, conditions)})
//	// All is in place. Home commits; the destination runs; the Tracker is
//	// disarmed if the process goes on here.
//	if f.Lazy > 0 {
//		_, err = s.Serve(ctx) // the stopped process is needed until it returns
//	}
//
// # The destination
//
//	d := transfer.NewDestination(conn, transfer.Body{Layout: layout, Userfault: userfault, Drop: drop}, opt)
//	defer d.Close()
//	a, err := d.Receive(ctx) // error: nothing has run, the body is to be thrown away
//	// Threads, registers; commit; run.
//	if a.Puller != nil {
//		err = a.Puller.Wait() // *LostError: kill it
//	}
//
// While there is a Puller: Need before the process's memory is read through
// /proc/PID/mem, Finish before it is captured or moved, and before it forks
// unless Forks; Stop when it has ended or executes another program. munmap,
// mremap, madvise, mprotect and brk need no care.
//
// # Order and trust
//
// Lock order: each lock is taken alone, but that conn is written under Puller.wmu,
// and read, in a round, by the worker whose turn it is. Frames
// come from the peer: every address lies in a mapping that Body has, every
// length is bounded, and memory is taken as bytes arrive; the totals and a
// checksum of what was named are compared at the end of each round; the contents
// are TLS's business. When the other end dies: before Receive has returned
// nothing has run, and the source thaws. During post-copy Wait returns a
// [*LostError]: the process cannot go on, and every thread that touches a missing
// page waits until the owner has killed it. When the destination's own program
// dies, the kernel ends the registrations and missing pages would read as zeros:
// its bodies must not outlive it.
package transfer
