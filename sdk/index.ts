/**
 * The app contract for TypeScript backends, on anything that speaks web Request and Response.
 *
 * Servers have doors of their own: `attachSignalbox(server)` of `@signalbox/sdk/node` for `node:http`, and
 * `signalbox({ upgradeWebSocket })` of `@signalbox/sdk/hono` for Hono.
 */
export { createSignalbox, type Signalbox, type SignalboxOptions } from "./contract.ts";
export type { ControlConnection, ControlMessage, ControlSocket } from "./control-socket.ts";
export { type SessionHandle, type SessionOptions, Sessions, type SessionsOptions } from "./sessions.ts";
export type { Environment, Settings } from "./settings.ts";
