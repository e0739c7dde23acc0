package protocol

import (
	"log/slog"
	"sync"

	"homing/kkc"
)

// Outbox sends asynchronous messages of a session in order without ever
// blocking its user: a tracer's thread must not wait for the network. Lock
// order: mu is a leaf.
type Outbox struct {
	sess *kkc.Session
	log  *slog.Logger
	wake chan struct{}

	mu    sync.Mutex
	queue []message
}

type message struct {
	typ string
	v   any
}

// NewOutbox starts a sender; it ends with the session.
func NewOutbox(sess *kkc.Session, log *slog.Logger) *Outbox {
	o := &Outbox{sess: sess, log: log, wake: make(chan struct{}, 1)}
	go o.run()
	return o
}

// Send queues a message.
func (o *Outbox) Send(typ string, v any) {
	o.mu.Lock()
	o.queue = append(o.queue, message{typ, v})
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Flush waits until everything queued before has been handed to the session.
func (o *Outbox) Flush() {
	done := make(chan struct{})
	o.Send("", done)
	select {
	case <-done:
	case <-o.sess.Done():
	}
}

func (o *Outbox) run() {
	for {
		select {
		case <-o.wake:
		case <-o.sess.Done():
			return
		}
		o.mu.Lock()
		q := o.queue
		o.queue = nil
		o.mu.Unlock()
		for _, m := range q {
			if done, ok := m.v.(chan struct{}); ok {
				close(done)
				continue
			}
			if err := o.sess.Send(m.typ, m.v); err != nil {
				o.log.Debug("message not sent", "type", m.typ, "err", err) // the session has ended
			}
		}
	}
}
