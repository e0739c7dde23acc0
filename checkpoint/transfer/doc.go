// Package transfer moves the contents of a process's memory over one duplex
// connection, in every direction: home to node, node to node, node to home. It
// knows nothing of system calls, of home or of pods: it is given process
// numbers, mappings, a connection, and callbacks for what only a tracer can do.
//
//  1. A connection carries one transfer at a time and any number one after the
//     other: of each process a [Source] at one end, a [Destination] at the other.
//  2. Stop-copy: the process is stopped, [Source.Final] sends the pages it is
//     given, [Destination.Receive] writes them into the new body. Reading, the
//     connection and writing overlap; a few frames of 1 MiB are all that either
//     end holds. Pages of zeros are named, not sent. Frames are compressed only
//     while the connection is slower than the compressor.
//  3. Pre-copy: while the process runs, a [Tracker] tells which pages were
//     written since it last looked (userfaultfd write protection, resolved by
//     the kernel, and PAGEMAP_SCAN), and [Source.Precopy] sends them in rounds
//     until what is left fits the wanted freeze, or until more rounds do not
//     help. Then the process is stopped and Final sends what is left, and which
//     pages are no more.
//  4. Post-copy: Final with Lazy names the pages of private anonymous mappings
//     instead of sending them. [Destination.Postcopy] registers those ranges
//     with a userfaultfd of the new body, the process runs, and a touched page
//     is asked for; [Source.Serve] answers, ahead of the background push of the
//     rest, which follows the faults. Hybrid is 3 and then 4.
//
// What the caller does in a process with ptrace: make the userfaultfd in it
// ([UserfaultCall]), take the descriptor by pidfd_getfd, close it in there.
// Everything else is done from outside.
//
// Lock order: Puller.mu, then space.mu. Trust: frames come from the peer. Every
// address lies in a mapping that Body.Layout returned, every length is bounded,
// totals are compared at the end of each round. When the other end dies: before
// Receive has returned nothing has run, the source thaws; during post-copy
// [Puller.Wait] returns a [*LostError]: the process cannot go on, and every
// thread that touches a missing page waits until the owner has killed it.
//
// # The source
//
//	func NewSource(conn net.Conn, pid int, opt Options) *Source
//	func (s *Source) Precopy(ctx context.Context, t *Tracker, layout func() ([]byte, error), aim Aim) (Outcome, error)
//	func (s *Source) Final(ctx context.Context, f Final) (Round, error)
//	func (s *Source) Serve(ctx context.Context) (Round, error) // after Final with Lazy; until the destination has everything
//
//	type Final struct {
//		Layout  []byte            // for Body.Layout of the destination; nil: it has its mappings
//		VMAs    []checkpoint.VMA  // of the stopped process
//		Pages   []linux.Range     // Image.Pages
//		Tracker *Tracker          // of the rounds before, nil if there were none
//		Lazy    bool              // post-copy
//	}
//
//	func NewTracker(pid int, u *linux.Userfault) (*Tracker, error) // u: made in pid
//	func (t *Tracker) Arm() error
//	func (t *Tracker) Dirty() (pages []linux.Range, bytes uint64, err error)
//	func (t *Tracker) Disarm() error
//
// # The destination
//
//	func NewDestination(conn net.Conn, body Body, opt Options) *Destination
//	func (d *Destination) Receive(ctx context.Context) (Arrival, error) // all rounds up to Final
//	func (d *Destination) Postcopy(u *linux.Userfault) (*Puller, error) // before the process runs; if Arrival.Missing
//	func (p *Puller) Wait() error                                       // until everything is here
//	func (p *Puller) Finish(ctx context.Context) error                  // hurry, and wait: before the process moves again
//	func (p *Puller) Need(ctx context.Context, addr, n uint64) error    // before its memory is accessed by /proc/PID/mem
//	func (p *Puller) Forks() bool                                       // false: Finish before the process forks
//	func (p *Puller) Stop()                                             // the process is gone, or executes another program
//
//	type Body struct {
//		PID    int
//		VMAs   []checkpoint.VMA
//		Layout func(layout []byte) (pid int, vmas []checkpoint.VMA, err error) // (re)build the mappings; may be nil
//		Drop   func([]linux.Range) error // injected madvise(MADV_DONTNEED); needed for hybrid
//	}
//
// # What this machine can do, and which strategy to take
//
//	func Probe() Support
//	func Choose(want Strategy, c Conditions) (Strategy, string)
package transfer
