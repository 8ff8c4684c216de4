import type { IncomingMessage } from "node:http";

export interface ApiAnswer<T = unknown> {
  status: number;
  /** Null: none. */
  body: T;
  headers?: Record<string, string>;
}

export type Route<T = unknown> = (
  request: IncomingMessage,
  url: URL,
  parts: string[],
) => Promise<ApiAnswer<T>>;
