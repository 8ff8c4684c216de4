import { Problem } from "../errors.ts";

/** How much of a too large body is read and discarded before the sender is cut off. */
const DISCARD_LIMIT_BYTES = 4 * 1024 * 1024;

/** The body as JSON text of bounded size; `{}` if it is empty. */
export async function readJson(request: Request, limitBytes: number): Promise<string> {
  const tooLarge = new Problem("body_too_large", `The body is larger than ${limitBytes} bytes.`, {
    errors: [{ field: "body", message: `must be at most ${limitBytes} bytes` }],
  });
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size <= limitBytes) chunks.push(chunk);
    // A client that is still writing may never see an early answer.
    else if (size > limitBytes + DISCARD_LIMIT_BYTES) throw tooLarge;
  }
  if (size > limitBytes) throw tooLarge;
  if (size === 0) return "{}";
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type)) {
    throw new Problem("unsupported_media_type", "Send JSON: `Content-Type: application/json`.", {
      errors: [{ field: "header.content-type", message: "must be application/json" }],
    });
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(
      await new Blob(chunks).arrayBuffer(),
    );
    JSON.parse(text);
    return text;
  } catch {
    throw new Problem("invalid_json", "The body isn't valid JSON.", {
      errors: [{ field: "body", message: "isn't valid JSON" }],
    });
  }
}
