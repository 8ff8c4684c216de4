/** Of an app, for `call`. */
export function appPath(name: string, rest = ""): string {
  return `/apps/${encodeURIComponent(name)}${rest}`;
}
