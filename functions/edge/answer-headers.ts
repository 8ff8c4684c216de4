import { dropListed } from "./request-headers.ts";

/** Takes out what a backend said to us only. The platform drops the other headers of one hop. */
export function dropHopByHop(headers: Headers): void {
  dropListed(headers);
  headers.delete("proxy-authenticate");
  headers.delete("proxy-connection");
}

/** Says that another value of these headers could have led to another answer, beside what the backend says. */
export function addVary(headers: Headers, names: readonly string[]): void {
  const given = headers.get("vary");
  if (given === null) return headers.set("vary", names.join(", "));
  const listed = given.split(",").map((name) => name.trim().toLowerCase());
  if (listed.includes("*")) return;
  const missing = names.filter((name) => !listed.includes(name));
  if (missing.length > 0) headers.set("vary", [given, ...missing].join(", "));
}
