import type { z } from "zod";

/** One call of Railway's GraphQL API. */
export interface Operation<Variables, Result> {
  /** The name in the text; how errors and Railway's own logs call it. */
  name: string;
  text: string;
  /** It is safe to repeat. After a lost answer to any other, look instead of repeating it. */
  safe: boolean;
  result: z.ZodType<Result>;
  /** Only a type: what the text's variables are. */
  variables?: Variables;
}

/**
 * Defines an operation from its text; whether it changes anything stands there.
 *
 * @example
 * const me = operation<{}>()("query me { me { id } }", z.object({ me: z.object({ id: z.string() }) }));
 */
export function operation<Variables>() {
  return <Result>(text: string, result: z.ZodType<Result>): Operation<Variables, Result> => {
    const [, kind, name] = /^\s*(query|mutation)\s+(\w+)/.exec(text) ?? [];
    if (kind === undefined || name === undefined) throw new Error(`An operation without a name: ${text}`);
    return { name, text, safe: kind === "query", result };
  };
}

/** Lists of Railway's API come as edges with nodes. */
export interface Connection<T> {
  edges: { node: T }[];
}

export function nodesOf<T>(connection: Connection<T>): T[] {
  return connection.edges.map(({ node }) => node);
}
