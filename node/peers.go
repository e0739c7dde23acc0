package node

import (
	"context"
	"net"

	"homing/kkc"
)

// A NetDialer connects as net.Dialer.DialContext does.
type NetDialer func(ctx context.Context, network, addr string) (net.Conn, error)

// Peers is how this node reaches others: by transfer connections alone, which
// home arranges between the two.
type Peers struct {
	id      *kkc.Identity
	net     NetDialer
	traffic traffic
}

// NewPeers prepares it for the node whose state is in dir; connect nil means the
// network.
func NewPeers(dir string, connect NetDialer) (*Peers, error) {
	id, err := kkc.LoadIdentity(dir)
	if err != nil {
		return nil, err
	}
	if connect == nil {
		connect = (&net.Dialer{}).DialContext
	}
	return &Peers{id: id, net: connect}, nil
}

// Fingerprint is that of this node's key.
func (p *Peers) Fingerprint() string { return p.id.Fingerprint }

// Dial makes a transfer connection to the node at addr, which must hold the key
// pin and have made the ticket for this node.
func (p *Peers) Dial(ctx context.Context, addr, pin, ticket string) (net.Conn, error) {
	d := kkc.Dialer{Identity: p.id, Pin: pin, Net: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := p.net(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &countingConn{Conn: c, traffic: &p.traffic}, nil
	}}
	return d.DialTransfer(ctx, addr, ticket)
}
