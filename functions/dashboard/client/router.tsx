import { useEffect, useState, type PropsWithChildren } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

export const HOME = "/_signalbox";

/** The path below `/_signalbox`, in its decoded parts: `/_signalbox/apps/shop` is `["apps", "shop"]`. */
export function useRoute(): string[] {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const listener = (): void => setPath(location.pathname);
    addEventListener("popstate", listener);
    return () => removeEventListener("popstate", listener);
  }, []);
  return path
    .slice(HOME.length)
    .split("/")
    .filter((part) => part !== "")
    .map(decode);
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** `navigate("apps", name)`: every part is encoded. */
export function navigate(...parts: string[]): void {
  const address = addressOf(...parts);
  if (address !== location.pathname) history.pushState(null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
  scrollTo(0, 0);
}

export function addressOf(...parts: string[]): string {
  return `${HOME}/${parts.map(encodeURIComponent).join("/")}`;
}

export function Link({
  to,
  children,
  ...rest
}: PropsWithChildren<{ to: string[]; class?: string; "aria-current"?: "page" | undefined }>): JSX.Element {
  const go = (event: MouseEvent): void => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    navigate(...to);
  };
  return (
    <a href={addressOf(...to)} onClick={go} {...rest}>
      {children}
    </a>
  );
}
