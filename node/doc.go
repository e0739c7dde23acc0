// Package node is the daemon that lends a machine (`homing node`), and what
// both sides remember about each other: which nodes a home knows, which homes a
// node admits.
//
// # How it works
//
//  1. All state is small files in one directory (StateDir), each written whole
//     by rename(2): the machine's key (kkc.LoadIdentity), homes/KEY.json for
//     each home that a node admits, tokens/HASH.json for each join token not
//     yet used, nodes.toml for the nodes a home knows, daemon.json for what the
//     running daemon says about itself. So commands and daemon need no
//     other way to talk about these, and a file that can be read is complete.
//  2. `homing node token` writes the hash of a random secret and prints the
//     secret with the node's address and key as one line. `homing join` calls
//     that address, accepts that key alone, and shows the secret. The node
//     removes the token's file; whoever succeeds in that owns the token's one
//     use and has its key written to homes. From then on keys alone are used.
//  3. The daemon holds the state directory by a lock that ends with it
//     (fcntl(2), F_SETLK). `homing node revoke` removes files and sends the lock's
//     holder SIGHUP; the daemon then ends each session whose home is not
//     admitted any more.
//  4. A session of an admitted home is handed to the guest server
//     (Config.Guests), which runs the home's programs in a pod.
//  5. The node's owner speaks to the daemon over the socket node.sock in the state
//     directory: `homing evict` has it send all guests home and refuse others for
//     a while (Lending).
//  6. At SIGTERM or SIGINT the daemon says bye to all homes, waits until their
//     guests are gone, writes its report where it was asked to, and exits 0.
//
// # Locks
//
// nodeDaemon.mu guards the table of sessions, Lending.mu a time; nothing is called
// while one of them is held. controller.evicting puts evictions into a row.
// The files need no lock but the daemon's.
//
// # Trust
//
// A peer's hello is foreign: its name is shown and stored only after cleanName,
// its secret is looked up by hash. Whoever holds a join token can use this
// machine once the token has been redeemed by him; whoever can write the state
// directory, or connect to the socket in it, is the node's owner.
//
// # When something dies
//
// A killed daemon leaves its state directory usable: the lock is gone, and
// daemon.json is believed only while the lock is held. Its pods end with it, for
// each pod's pid 1 dies with its parent. A home notices by the lost connection.
package node
