package kkc

import "time"

// Protocol is the number of the channel's protocol. Both sides must have the
// same one.
const Protocol = 1

const (
	maxOpening    = 64 << 10 // opening message
	maxControl    = 64 << 20 // one control envelope
	maxLaneFrame  = 64 << 20 // one lane frame
	maxBulkFrame  = 256 << 10
	maxReason     = 1 << 10  // text of a bye or a refusal
	writeChunk    = 64 << 10 // never more at once on the shared connection (deps: it would delay calls)
	maxHandlers   = 4096     // transactions of the peer running at once
	maxLanes      = 1 << 15  // streams of one session
	acceptBacklog = 4096     // lanes opened, not yet accepted
)

// Limits are the times and amounts that a channel allows. Zero fields mean the
// default.
type Limits struct {
	Handshake        time.Duration // TLS and hello together, 10 s
	Keepalive        time.Duration // between two pings, 5 s
	KeepaliveTimeout time.Duration // a ping or a write took longer: the peer is gone, 20 s
	Bye              time.Duration // wait for the peer to see our bye, 1 s
	BulkConnect      time.Duration // from hello to the bulk connection, 20 s
	BulkStall        time.Duration // bulk data arrived that nobody takes, 60 s
	Transfer         time.Duration // from a ticket to its transfer connection, 30 s
	BulkParked       int           // bytes of bulk data kept for receivers yet to come, 32 MiB
	Handshakes       int           // connections of unknown origin at once, 64
}

func (l Limits) withDefaults() Limits {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&l.Handshake, 10*time.Second)
	def(&l.Keepalive, 5*time.Second)
	def(&l.KeepaliveTimeout, 20*time.Second)
	def(&l.Bye, time.Second)
	def(&l.BulkConnect, 20*time.Second)
	def(&l.BulkStall, time.Minute)
	def(&l.Transfer, 30*time.Second)
	if l.BulkParked <= 0 {
		l.BulkParked = 32 << 20
	}
	if l.Handshakes <= 0 {
		l.Handshakes = 64
	}
	return l
}
