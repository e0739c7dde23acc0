package guest

import "homing/internal/fault"

// cut ends the session as a broken network does, for tests.
func (p *pod) cut() fault.Closer { return func() { p.sess.Close("cut by a test") } }
