// Package kkc is the kernel-to-kernel channel: everything that a supervisor at
// home and an execution node say to each other passes through a [Session].
//
// # Mechanism
//
//  1. Each machine has an [Identity], made at first use: an ed25519 key and a
//     certificate which it signs itself. Its name is its fingerprint, the
//     SHA-256 of the public key. A [Token] carries a node's address and
//     fingerprint, and a secret which proves at first contact that the node's
//     owner gave it away.
//  2. Home dials ([Dial]); TLS 1.3 with certificates on both sides. Home
//     accepts exactly the key it has pinned. The node accepts any key here, so
//     that it can refuse with a sentence instead of a TLS alert.
//  3. Inside TLS both send one opening message ([Hello]): a magic number, a
//     length, JSON. Its form never changes; it carries the protocol number, by
//     which differing versions recognise and refuse each other. [Server.Hello]
//     admits or refuses; the text of its error is what the user reads at home.
//  4. On this connection yamux now multiplexes a control stream and lanes.
//     Under it, joinConn makes one TCP write of yamux's two.
//     The control stream carries JSON envelopes of two shapes: asynchronous
//     messages and transactions. A [Lane] carries binary frames in order, one
//     for each guest thread.
//  5. The answer to the hello holds a ticket: 32 random bytes, good once, for
//     some seconds, for the same key only. With it home dials a second
//     connection for bulk data, so that pages never delay a call. This goes on
//     behind the caller's back; bulk transfers wait for it.
//  6. A move gets a connection of its own ([Session.DialTransfer]): raw TLS, both
//     ways. The waiting node has made a ticket for it ([Session.Expect]), as
//     above, for one key; that may be another node's, which is admitted for
//     nothing else.
//  7. A session ends by a bye message, or it is broken: an end of file without
//     one is an error that names what became of the connection ([EndError]).
//
// All messages, frames and bulk frames have sequence numbers, and frames say
// what was last received, so that resuming a session after a broken connection
// will need no other format. For now a gap ends the session.
//
// # Cost
//
// The steady figure is that of one processor: a lane's round trip of 64 bytes
// between two processes takes 11 to 12.6 µs, TLS alone 7.4 to 8.3: 1.5 times as
// long, because yamux hands each frame to a goroutine that writes and takes it
// from one that reads. On two processors both are ruled by where the kernel
// wakes the other side, and vary from run to run: 14 to 31 µs (median 24), TLS
// alone 8 to 28 (median 22), on a machine that had other work at the time. Bulk
// transfers went at 0.97 to 1.44 times the speed of TLS alone (2.0 to 3.6 GB/s,
// within one process); a transfer connection is TLS alone. A session is made and ended in 0.7 to 0.9 ms. Measure
// again on a quiet machine before relying on these: bench_test.go,
// bench_process_test.go.
//
// # Lock order
//
// No lock is held while another package's code runs, and none while waiting for
// the network but those which put senders into a row: control.writeMu,
// Lane.writeMu, bulk.writeMu. Under these Session.mu and control.mu may be taken, and
// nothing under that. bulk.mu, Server.mu and Expectation.mu stand alone.
//
// # Trust
//
// Whoever reaches the port may send anything: until the hello is accepted a
// connection has a deadline, 64 KiB of opening message and one of a limited
// number of places. An accepted peer is authenticated, but may still be
// hostile: every length is checked against a limit before memory is taken for
// it, what is parked for a slow receiver is limited, and whatever does not
// follow the protocol ends the session (never the process).
//
// # Failure
//
// A peer that vanishes is noticed by the connection's end or, if nothing comes
// at all, by the keepalive after [Limits].KeepaliveTimeout. All blocked calls
// then return an error that wraps the session's [EndError].
package kkc
