const ID_LENGTH = 24;

/** `NAME-YYMMDD-HHMMSS` in UTC, cut to 24 characters; the next free second when that one is taken. */
export function generateDeploymentId(name: string, at: Date, taken: readonly string[]): string {
  for (let time = at.getTime(); ; time += 1_000) {
    const digits = new Date(time).toISOString().replace(/\D/g, "");
    const stamp = `${digits.slice(2, 8)}-${digits.slice(8, 14)}`;
    // The name is what gives way: the stamp is what tells deployments apart.
    const id = `${name.slice(0, ID_LENGTH - stamp.length - 1)}-${stamp}`;
    if (!taken.includes(id)) return id;
  }
}
