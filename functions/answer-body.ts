/** More bytes than an answer of its kind can have. */
export class AnswerTooLarge extends Error {
  override name = "AnswerTooLarge";
}

/** The body as text; throws {@link AnswerTooLarge} when it is larger than `limitBytes`. */
export async function textWithin(response: Response, limitBytes: number): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body) {
    bytes += chunk.byteLength;
    if (bytes > limitBytes) throw new AnswerTooLarge();
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** The first bytes of the body as text; the rest is never read. */
export async function textStart(response: Response, bytesWanted: number): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let left = bytesWanted;
  // Leaving the loop cancels the body.
  for await (const chunk of response.body) {
    text += decoder.decode(chunk.subarray(0, left), { stream: true });
    left -= chunk.byteLength;
    if (left <= 0) break;
  }
  return text;
}

/** What a text says as JSON; null where it says nothing, to be judged like any other answer that isn't the expected one. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // see above
  }
}
