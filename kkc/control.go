package kkc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// envelope is one message on the control stream: a 4-byte big-endian length,
// then this as JSON.
type envelope struct {
	Seq  uint64          `json:"seq"`            // counts a side's messages from 1
	Ack  uint64          `json:"ack,omitempty"`  // Seq last received from the other side
	Type string          `json:"type,omitempty"` // whose handler is meant; or one of the types below
	Re   uint64          `json:"re,omitempty"`   // Seq of the request that this answers or cancels
	Want bool            `json:"want,omitempty"` // a request: answer it
	Err  string          `json:"err,omitempty"`  // an answer: the request failed
	Body json.RawMessage `json:"body,omitempty"`
}

// Types of the channel itself; no user's type begins so.
const (
	typeReply  = "~reply"
	typeCancel = "~cancel"
	typeBye    = "~bye"
)

type (
	requestFunc = func(context.Context, json.RawMessage) (any, error)
	asyncFunc   = func(json.RawMessage)
)

// control is the control stream: who may write (writeMu), who waits for an
// answer, which of the peer's requests are being worked on.
type control struct {
	s      *Session
	stream *yamux.Stream
	opened chan struct{} // stream is set, or the session over

	onRequest map[string]requestFunc // not changed once started
	onAsync   map[string]asyncFunc

	writeMu sync.Mutex
	sent    uint64 // Seq

	mu       sync.Mutex
	received uint64 // Seq
	waiting  map[uint64]chan envelope
	running  map[uint64]context.CancelFunc
}

func newControl(s *Session) *control {
	return &control{
		s: s, opened: make(chan struct{}),
		onRequest: map[string]requestFunc{}, onAsync: map[string]asyncFunc{},
		waiting: map[uint64]chan envelope{}, running: map[uint64]context.CancelFunc{},
	}
}

// Handle sets what answers the peer's requests of a type. Each runs in its own
// goroutine; its context ends when the peer no longer waits, or with the session.
func (s *Session) Handle(typ string, f func(ctx context.Context, body json.RawMessage) (any, error)) {
	s.handlerAllowed(typ)
	s.ctl.onRequest[typ] = f
}

// HandleAsync sets what takes the peer's asynchronous messages of a type. All
// run in order of arrival on the goroutine that reads the control stream: what
// the peer sent before a request, or before an answer, has been handled when
// that is delivered. So f must not block, and must not call [Session.Request].
func (s *Session) HandleAsync(typ string, f func(body json.RawMessage)) {
	s.handlerAllowed(typ)
	s.ctl.onAsync[typ] = f
}

func (s *Session) handlerAllowed(typ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || typ == "" || typ[0] == '~' {
		panic(fmt.Sprintf("kkc: handler %q: %v", typ, errStarted))
	}
}

// Send sends an asynchronous message.
func (s *Session) Send(typ string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("send %s: %w", typ, err)
	}
	if err := s.ctl.write(&envelope{Type: typ, Body: body}, nil); err != nil {
		return fmt.Errorf("send %s: %w", typ, err)
	}
	return nil
}

// Request makes a transaction: sends v, and stores the answer in reply, which
// may be nil. An error of the peer's handler comes back as *[RemoteError].
// When ctx ends first, the peer's handler is told so.
func (s *Session) Request(ctx context.Context, typ string, v, reply any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("request %s: %w", typ, err)
	}
	answer := make(chan envelope, 1)
	env := envelope{Type: typ, Want: true, Body: body}
	if err := s.ctl.write(&env, answer); err != nil {
		return fmt.Errorf("request %s: %w", typ, err)
	}
	select {
	case a := <-answer:
		return decodeAnswer(typ, a, reply)
	case <-ctx.Done():
		s.ctl.forget(env.Seq)
		s.ctl.write(&envelope{Type: typeCancel, Re: env.Seq}, nil) // if it fails, the session ends
		return fmt.Errorf("request %s: %w", typ, context.Cause(ctx))
	case <-s.done:
		select {
		case a := <-answer: // was there before the end
			return decodeAnswer(typ, a, reply)
		default:
		}
		s.ctl.forget(env.Seq)
		return fmt.Errorf("request %s: %w", typ, s.Err())
	}
}

func decodeAnswer(typ string, a envelope, reply any) error {
	if a.Err != "" {
		return &RemoteError{Type: typ, Text: a.Err}
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(a.Body, reply); err != nil {
		return fmt.Errorf("request %s: answer not understood: %w", typ, err)
	}
	return nil
}

// forget gives up waiting for the answer to a request.
func (c *control) forget(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, seq)
}

// write numbers and sends an envelope; an answer to it will go to answer.
func (c *control) write(env *envelope, answer chan envelope) error {
	select {
	case <-c.opened: // before anybody but a closing server has the session
	default:
		return errors.New("no control stream yet")
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.s.Err(); err != nil && env.Type != typeBye {
		return err
	}
	if c.stream == nil {
		return c.s.streamError("control stream", io.EOF)
	}
	env.Seq = c.sent + 1
	c.mu.Lock()
	env.Ack = c.received
	c.mu.Unlock()
	b, err := encodeEnvelope(env)
	if err != nil {
		return err
	}
	c.sent++
	if answer != nil {
		c.mu.Lock()
		c.waiting[env.Seq] = answer
		c.mu.Unlock()
	}
	for len(b) > 0 {
		n := min(len(b), writeChunk)
		if _, err := c.stream.Write(b[:n]); err != nil {
			c.forget(env.Seq)
			return c.s.streamError("control stream", err)
		}
		b = b[n:]
	}
	return nil
}

func (c *control) bye(reason string) {
	body, _ := json.Marshal(reason)                    // a string cannot fail
	c.write(&envelope{Type: typeBye, Body: body}, nil) // if it cannot be said, so be it
}

func encodeEnvelope(env *envelope) ([]byte, error) {
	var b bytes.Buffer
	b.Write([]byte{0, 0, 0, 0})
	if err := json.NewEncoder(&b).Encode(env); err != nil {
		return nil, err
	}
	n := b.Len() - 4
	if n > maxControl {
		return nil, fmt.Errorf("message of %d bytes, limit %d", n, maxControl)
	}
	binary.BigEndian.PutUint32(b.Bytes(), uint32(n))
	return b.Bytes(), nil
}

// readEnvelope reads one envelope; want is the Seq that is due.
func readEnvelope(r io.Reader, want uint64) (envelope, error) {
	var env envelope
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return env, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxControl {
		return env, badPeer("control message of %d bytes, limit %d", n, maxControl)
	}
	var body bytes.Buffer // grows with what really comes
	if _, err := io.CopyN(&body, r, int64(n)); err != nil {
		return env, io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(body.Bytes(), &env); err != nil {
		return env, badPeer("control message not understood: %v", err)
	}
	if env.Seq != want {
		return env, badPeer("control message number %d where %d is due", env.Seq, want)
	}
	return env, nil
}

// openStream gets the control stream: home opens it before anything else, so at
// the node it is the first to come.
func (c *control) openStream() (err error) {
	defer close(c.opened)
	if c.s.home {
		c.stream, err = c.s.mux.OpenStream()
	} else {
		c.stream, err = c.s.mux.AcceptStream()
		if err == nil && c.stream.StreamID() != 1 {
			err = badPeer("first stream is not the control stream")
		}
	}
	return err
}

// readLoop delivers the peer's messages until the session ends, and finds out
// how it ended.
func (c *control) readLoop() {
	err := c.deliverAll()
	var bad *protocolError
	switch {
	case err == nil: // bye
	case errors.As(err, &bad):
		c.s.fail(&EndError{ByPeer: true, Reason: "peer broke the protocol: " + bad.text})
	default:
		c.s.broken()
	}
}

// deliverAll returns nil after a bye.
func (c *control) deliverAll() error {
	<-c.opened
	if c.stream == nil {
		return io.EOF
	}
	r := bufio.NewReaderSize(c.stream, 16<<10)
	for seq := uint64(1); ; seq++ {
		env, err := readEnvelope(r, seq)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.received = seq
		c.mu.Unlock()
		if env.Type == typeBye {
			var reason string
			json.Unmarshal(env.Body, &reason) // a bye without a good reason is still a bye
			close(c.s.peerBye)
			c.s.fail(&EndError{Clean: true, ByPeer: true, Reason: clean(reason)})
			return nil
		}
		if err := c.deliver(env); err != nil {
			return err
		}
	}
}

func (c *control) deliver(env envelope) error {
	switch {
	case env.Type == typeReply:
		c.mu.Lock()
		answer := c.waiting[env.Re]
		delete(c.waiting, env.Re)
		c.mu.Unlock()
		if answer != nil { // else nobody waits any more
			answer <- env
		}
	case env.Type == typeCancel:
		c.mu.Lock()
		cancel := c.running[env.Re]
		c.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	case env.Want:
		return c.startRequest(env)
	default:
		f := c.onAsync[env.Type]
		if f == nil {
			c.s.log.Warn("message of unknown type dropped", "type", clean(env.Type))
			return nil
		}
		slow := time.AfterFunc(time.Second, func() {
			c.s.log.Warn("handler of asynchronous messages blocks the session", "type", env.Type)
		})
		f(env.Body)
		slow.Stop()
	}
	return nil
}

// startRequest runs the handler for one of the peer's requests, and answers it.
func (c *control) startRequest(env envelope) error {
	ctx, cancel := context.WithCancel(c.s.ctx)
	c.mu.Lock()
	full := len(c.running) >= maxHandlers
	if !full {
		c.running[env.Seq] = cancel
	}
	c.mu.Unlock()
	if full {
		cancel()
		return badPeer("more than %d requests at once", maxHandlers)
	}
	go func() {
		reply := c.answerTo(ctx, env)
		c.mu.Lock()
		delete(c.running, env.Seq)
		c.mu.Unlock()
		cancel()
		if err := c.write(reply, nil); err != nil && c.s.Err() == nil {
			c.s.log.Error("cannot answer", "type", env.Type, "err", err)
			c.write(&envelope{Type: typeReply, Re: env.Seq, Err: err.Error()}, nil)
		}
	}()
	return nil
}

func (c *control) answerTo(ctx context.Context, env envelope) *envelope {
	reply := &envelope{Type: typeReply, Re: env.Seq}
	f := c.onRequest[env.Type]
	if f == nil {
		reply.Err = fmt.Sprintf("requests of type %q are unknown here", clean(env.Type))
		return reply
	}
	v, err := f(ctx, env.Body)
	if err == nil {
		reply.Body, err = json.Marshal(v)
	}
	if err != nil {
		reply.Body = nil
		if reply.Err = err.Error(); reply.Err == "" {
			reply.Err = "failed, without a reason given"
		}
	}
	return reply
}
