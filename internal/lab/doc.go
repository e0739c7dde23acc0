// Package lab gives a cluster on one machine: N throw-away execution nodes,
// isolated from each other and from home, around one command.
//
// # How it works
//
//  1. Run makes a private directory with a state directory for home, exported
//     to the command as HOMING_STATE, so that nothing of the user's own nodes
//     and keys is seen or changed. The directory is locked with flock(2); a
//     directory whose lock is free was left by a killed lab and is swept.
//  2. For each node it listens on a port of 127.0.0.1 in home's own network
//     namespace and introduces home and node to each other (Config.Trust), so
//     that no join token is needed.
//  3. Each node is this same executable, started as `homing lab-node` by one
//     clone(2) with CLONE_NEWNET, NEWNS, NEWPID, NEWIPC and NEWUTS, and with
//     CLONE_NEWUSER for an ordinary user. NodeMain makes a tmpfs, puts the
//     executable, a fresh /proc, /dev/null and the node's state into it, makes
//     it the root with pivot_root(2), drops the old one and executes
//     `homing node`. The node's network namespace holds nothing but a loopback
//     interface that is down: the only thing that connects it to home is the
//     listening socket it inherited, which stays in the namespace it was made
//     in (socket activation). So the lab costs nothing on the way, needs no
//     root, no bridge and no iproute2.
//  4. With a delay the lab keeps the public port itself and relays each
//     connection to the inherited one, holding back every byte for the delay
//     in each direction (relay.go).
//  5. Nodes reach each other by asking the lab for connections, over one more
//     inherited socket (direct.go). A test can refuse them, or have them cut.
//  6. A third socket serves the node's owner: it lies in the lab's directory,
//     HOMING_LAB_DIR, as NAME/node.sock.
//  7. The command runs in the lab's own process group with the lab's terminal,
//     so job control sees it as if the lab were not there. Then each node is
//     asked by SIGTERM to write its report and to end.
//
// # Threads and locks
//
// Nodes and command are started by the thread that calls Run, which must stay
// for the whole run: PR_SET_PDEATHSIG is sent when the starting thread ends.
// Run locks itself to it. A delayed connection has a locked thread of its own;
// nothing is shared between them, so there is no lock order.
//
// # Trust
//
// Everything here belongs to one user. A node's report is read with a limit
// and passed on as it is. Besides it and the channel only wishes for
// connections come from a node: it gets those to the lab's nodes alone.
//
// # When something dies
//
// A node that dies takes its pid namespace with it; the lab says so at the end
// and in the report. When the lab is killed, by whatever signal, the kernel
// kills each node's pid 1 (PR_SET_PDEATHSIG), with it all that runs in the
// node, its mounts and its network; the command is killed in the same way. What
// is left is one directory in the temporary directory, swept by the next lab.
package lab
