/** Where the dashboard is, and no app. */
export interface OperatorHost {
  name: string;
  /** Null: any port. */
  port: string | null;
}

/** Host names in lower case as browsers spell them; a port where it isn't the scheme's own. */
export function parseOperatorHost(text: string): OperatorHost | null {
  const spelled = `http://${text}`;
  if (!URL.canParse(spelled)) return null;
  const { host, hostname, port } = new URL(spelled);
  if (host !== text || hostname.endsWith(".") || port === "443") return null;
  return { name: hostname, port: port === "" ? null : port };
}
