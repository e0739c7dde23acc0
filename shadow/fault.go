package shadow

import "homing/internal/fault"

// cut ends the session as a broken network does, for tests.
func (at *site) cut() fault.Closer { return func() { at.sess.Close("cut by a test") } }
