import type { Context, MiddlewareHandler } from "hono";
import type { WSContext, WSEvents } from "hono/ws";
import type { ControlConnection, ControlSocket } from "./control-socket.ts";
import {
  createSignalbox,
  INTERNAL_TOKEN_HEADER,
  SESSION_PATH,
  type Signalbox,
  type SignalboxOptions,
} from "./contract.ts";

export interface HonoSignalboxOptions extends SignalboxOptions {
  /** The runtime's own helper, e.g. `upgradeWebSocket` of `@hono/node-server`. */
  upgradeWebSocket: (context: Context, events: WSEvents) => Promise<Response>;
  /** One of `createSignalbox()`, where the app needs it too: for its sessions, its script tag. Default: one from these options. */
  signalbox?: Signalbox;
}

interface Pinging {
  ping(): void;
  terminate(): void;
  on(event: "pong", listener: () => void): unknown;
}

/**
 * Gives a Hono app the app contract.
 *
 * @example
 * app.use(signalbox({ upgradeWebSocket }));
 * serve({ fetch: app.fetch, websocket: { server: new WebSocketServer({ noServer: true }) } });
 * @throws {Error} naming the setting, when one is malformed.
 */
export function signalbox(options: HonoSignalboxOptions): MiddlewareHandler {
  const box = options.signalbox ?? createSignalbox(options);
  return async (context, next) => {
    const url = new URL(context.req.url);
    const upgrade = context.req.header("upgrade")?.toLowerCase();
    const isIn = box.admits(
      context.req.method,
      url.pathname,
      context.req.header(INTERNAL_TOKEN_HEADER) ?? null,
    );
    if (isIn && url.pathname === SESSION_PATH && upgrade === "websocket") {
      return options.upgradeWebSocket(context, controlEvents(box, url));
    }
    return box.respond(context.req.raw) ?? next();
  };
}

function controlEvents(box: Signalbox, url: URL): WSEvents {
  let connection: ControlConnection | undefined;
  return {
    onOpen(_event, socket) {
      connection = box.connect(controlSocket(socket), url);
      if (isPinging(socket.raw)) socket.raw.on("pong", () => connection?.ponged());
    },
    onMessage(event) {
      if (typeof event.data === "string") connection?.received(event.data);
    },
    onClose(event) {
      connection?.closed(event.code);
    },
  };
}

function controlSocket(socket: WSContext): ControlSocket {
  const raw = socket.raw;
  return {
    send: (text) => socket.send(text),
    close: (code, reason) => socket.close(code, reason),
    // Without protocol pings the runtime's own keep-alive has to find dead peers.
    ...(isPinging(raw) && { ping: () => raw.ping(), terminate: () => raw.terminate() }),
  };
}

function isPinging(raw: unknown): raw is Pinging {
  return (
    typeof raw === "object" &&
    raw !== null &&
    ["ping", "terminate", "on"].every((name) => typeof Reflect.get(raw, name) === "function")
  );
}
