import { PREVIEW_LOGIN_PATH } from "../projects/preview.ts";
import { signGrant } from "../projects/preview-access.ts";
import type { ProjectRecord } from "../projects/project-record.ts";
import type { ControlContext } from "./context.ts";

export interface WantedLink {
  /** Null: the dev server's own. */
  port: number | null;
  /** It opens the preview for the first who comes by it. */
  once: boolean;
  /** Epoch milliseconds. */
  expiresAt: number;
  /** By which URL the caller came: links have its scheme and port. */
  askedAt: string;
}

/** What opens a private preview; null while PREVIEW_DOMAIN isn't set. */
export async function previewLink(
  { slug, previewEpoch: epoch }: ProjectRecord,
  { port, once, expiresAt, askedAt }: WantedLink,
  context: ControlContext,
): Promise<string | null> {
  const previewUrl = previewUrlOf(slug, port, askedAt, context);
  if (previewUrl === null) return null;
  const nonce = once ? crypto.randomUUID() : null;
  const token = await signGrant(
    { kind: "link", slug, port, nonce, epoch, expiresAt },
    context.config.controlToken,
  );
  const url = new URL(PREVIEW_LOGIN_PATH, previewUrl);
  url.searchParams.set("token", token);
  return url.href;
}

/** By the scheme and port that the caller came by. */
export function previewUrlOf(
  slug: string,
  port: number | null,
  askedAt: string,
  { config }: ControlContext,
): string | null {
  if (config.previewDomain === null) return null;
  const { protocol, port: ownPort } = new URL(askedAt);
  const label = port === null ? slug : `${port}--${slug}`;
  return `${protocol}//${label}.${config.previewDomain}${ownPort === "" ? "" : `:${ownPort}`}/`;
}
