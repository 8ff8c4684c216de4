import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";

export interface ApiAnswer<T = unknown> {
  status: number;
  /** Null: none. */
  body: T;
  headers?: Record<string, string>;
  /** In place of the body. */
  stream?: Readable;
}

export type Route<T = unknown> = (
  request: IncomingMessage,
  url: URL,
  parts: string[],
) => Promise<ApiAnswer<T>>;
