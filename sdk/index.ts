/**
 * The app contract for TypeScript backends.
 *
 * `attachSignalbox(server)` for `node:http`, `signalbox({ upgradeWebSocket })` from `./hono.ts` for Hono,
 * `createSignalbox()` for anything that speaks web Request and Response.
 */
export { attachSignalbox } from "./node.ts";
export { createSignalbox, type Signalbox, type SignalboxOptions } from "./contract.ts";
export type { ControlConnection, ControlMessage, ControlSocket } from "./control-socket.ts";
export { type SessionHandle, type SessionOptions, Sessions, type SessionsOptions } from "./sessions.ts";
export { SessionStore, type SessionStoreOptions, SessionStoreUnavailable } from "./session-store.ts";
export type { Environment, Settings } from "./settings.ts";
export type { ReloadCallback, ReloadNotice, ReloadReason, SignalboxClient } from "./browser/api.ts";
