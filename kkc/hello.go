package kkc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Roles of a [Hello].
const (
	RoleHome = "home"
	RoleNode = "node"
)

// Hello is how the two sides introduce themselves. Fields may be added to it;
// none may change its meaning.
type Hello struct {
	Protocol int               `json:"protocol"` // filled in if zero
	Version  string            `json:"version"`  // of the program, for people
	Role     string            `json:"role"`     // RoleHome or RoleNode
	Name     string            `json:"name"`
	Kernel   string            `json:"kernel,omitempty"` // uname -r
	Arch     string            `json:"arch,omitempty"`   // GOARCH
	CPU      []string          `json:"cpu,omitempty"`    // feature flags
	Secret   string            `json:"secret,omitempty"` // of the join token, at first contact
	Clock    int64             `json:"clock,omitempty"`  // CLOCK_REALTIME in ns when this was sent; filled in
	Facts    map[string]string `json:"facts,omitempty"`  // whatever else the sides tell each other
}

// Peer is who is at the other end, as far as the channel itself can prove.
type Peer struct {
	Fingerprint string // of the key it holds
	Addr        string // remote network address
}

// What a connection is for.
const (
	kindSession  = "session"
	kindBulk     = "bulk"
	kindTransfer = "transfer"
)

// opening is the first message on each connection, from the dialling side.
type opening struct {
	Kind   string `json:"kind"`
	Hello  Hello  `json:"hello"`
	Ticket string `json:"ticket,omitempty"` // kindBulk, kindTransfer
}

// answer is the node's reply to it.
type answer struct {
	Refused string `json:"refused,omitempty"` // why not; else
	Hello   Hello  `json:"hello"`
	Ticket  string `json:"ticket,omitempty"` // for the bulk connection
}

// openingMagic stands before both messages, and stays the same in all versions.
const openingMagic = "homing\r\n"

var errNotOpening = errors.New("not an opening message of homing")

// writeOpening sends v as one write.
func writeOpening(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("opening message: %w", err)
	}
	if len(body) > maxOpening {
		return fmt.Errorf("opening message of %d bytes, limit %d", len(body), maxOpening)
	}
	b := append([]byte(openingMagic), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[len(openingMagic):], uint32(len(body)))
	if _, err := w.Write(append(b, body...)); err != nil {
		return fmt.Errorf("send opening message: %w", err)
	}
	return nil
}

// readOpening reads one message into v, and not a byte beyond it.
func readOpening(r io.Reader, v any) error {
	var head [len(openingMagic) + 4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read opening message: %w", err)
	}
	if string(head[:len(openingMagic)]) != openingMagic {
		return errNotOpening
	}
	n := binary.BigEndian.Uint32(head[len(openingMagic):])
	if n > maxOpening {
		return fmt.Errorf("%w: it would have %d bytes", errNotOpening, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("read opening message: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", errNotOpening, err)
	}
	return nil
}

// checkProtocol is the node's check; its error says what is to be done.
func checkProtocol(node, home Hello) error {
	if node.Protocol == home.Protocol {
		return nil
	}
	return fmt.Errorf("it speaks protocol %d (homing %s), this side %d (homing %s): install the same version on both",
		node.Protocol, orUnknown(clean(node.Version)), home.Protocol, orUnknown(clean(home.Version)))
}

func orUnknown(s string) string {
	if s == "" {
		return "of unknown version"
	}
	return s
}

// clean makes a peer's text fit to be shown: one line, printable, limited.
func clean(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason]
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) {
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
