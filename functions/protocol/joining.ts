/** How a visitor's WebSocket gets a connection of its own between hub and runner. See PROTOCOL.md, section 6. */

/** Of the hub's 101: the secret with which this connection's runner joins WebSockets. Absent: it can't. */
export const JOIN_HEADER = "x-signalbox-join";
/** Beside the address of the runner's socket. */
export const JOIN_NAME = "join";
