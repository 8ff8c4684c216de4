/** JSON from a file that people or their tools wrote: some editors put a byte order mark before it, which isn't JSON. */
export function parseUserJson(text: string): unknown {
  const value: unknown = JSON.parse(text.startsWith("\ufeff") ? text.slice(1) : text);
  return value;
}
