const ID_LENGTH = 24;

/** `NAME-YYMMDD-HHMMSS` in UTC, cut to 24 characters; if it is taken, the next free second. */
export function generateDeploymentId(name: string, at: Date, taken: readonly string[]): string {
  for (let time = at.getTime(); ; time += 1_000) {
    const digits = new Date(time).toISOString().replace(/\D/g, "");
    const stamp = `${digits.slice(2, 8)}-${digits.slice(8, 14)}`;
    // The name is cut, not the stamp: the stamp tells deployments apart.
    const id = `${name.slice(0, ID_LENGTH - stamp.length - 1)}-${stamp}`;
    if (!taken.includes(id)) return id;
  }
}
