/** The address of the caller, where somebody trustworthy says it; null where nobody does. */
export function clientAddress(request: Request, trust: { trustClientAddress: boolean }): string | null {
  return trust.trustClientAddress ? request.headers.get("cf-connecting-ip") : "127.0.0.1";
}
