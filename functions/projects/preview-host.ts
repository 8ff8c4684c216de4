import { SLUG_PATTERN } from "../protocol/limits.ts";

/** `PORT--NAME`: no project's slug begins so. */
export const PORT_LABEL = /^(\d{1,5})--(.*)$/;

/** What a preview's host shows. */
export interface PreviewHost {
  /** Empty: no project can be called so. */
  slug: string;
  /** Null: the dev server's own. */
  port: number | null;
}

/** `NAME.PREVIEW_DOMAIN` or `PORT--NAME.PREVIEW_DOMAIN`; null for every other host. */
export function previewOf(host: string, domain: string | null): PreviewHost | null {
  if (domain === null || !host.endsWith(`.${domain}`)) return null;
  const label = host.slice(0, -domain.length - 1);
  const [, digits, named] = PORT_LABEL.exec(label) ?? [];
  const slug = named ?? label;
  const port = digits === undefined ? null : Number(digits);
  const isPort = port === null || (port > 0 && port <= 65_535 && digits === String(port));
  return { slug: isPort && SLUG_PATTERN.test(slug) ? slug : "", port };
}
